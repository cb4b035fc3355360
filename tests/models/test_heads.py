"""The article's head, and a BatchNorm that knows padding and devices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from ssljax.errors import UserError
from ssljax.models.heads import Mlp, Predictor, Projector
from ssljax.models.norm import BatchNorm

WIDTH, D = 6, 4


def _rows(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _leaky(x):
  return np.where(x > 0, x, 0.18 * x)


def test_the_articles_head():
  """Dense without bias, LeakyReLU 0.18, Dense, and nothing else."""
  head = Projector(width=WIDTH, batch_norm=False)
  x = _rows(3, 5, D)
  variables = head.init(jax.random.key(0), x, train=True)
  shapes = jax.tree.map(jnp.shape, variables)
  assert shapes == {
    'params': {
      'Dense_0': {'kernel': (D, WIDTH)},
      'Dense_1': {'kernel': (WIDTH, WIDTH), 'bias': (WIDTH,)},
    }
  }
  first, second = (variables['params'][f'Dense_{i}'] for i in (0, 1))
  expected = _leaky(x @ first['kernel']) @ second['kernel'] + second['bias']
  for train in (True, False):
    found = head.apply(variables, x, train=train)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernels_start_glorot_uniform():
  """Keras's default: even in ±sqrt(6 / (in + out)), biases 0."""
  head = Projector(width=200, batch_norm=False)
  params = head.init(jax.random.key(0), _rows(2, 100), train=True)['params']
  for name, inputs in (('Dense_0', 100), ('Dense_1', 200)):
    kernel, limit = params[name]['kernel'], np.sqrt(6 / (inputs + 200))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)
  np.testing.assert_array_equal(params['Dense_1']['bias'], 0)


def test_the_default_head_against_numpy():
  """Dense, BatchNorm, LeakyReLU, Dense, BatchNorm, with Keras's constants."""
  head = Projector(width=WIDTH)
  x = 3 + _rows(4, 5, D)
  variables = head.init(jax.random.key(0), x, train=False)
  params = jax.tree.map(
    lambda p: p + 0.1 * _rows(*p.shape), variables['params']
  )
  statistics = {}

  def norm(x, name):
    mean, var = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    # The running values start at 0 and 1, and keep 0.99 of what they are.
    statistics[name] = {'mean': 0.01 * mean, 'var': 0.99 + 0.01 * var}
    x = (x - mean) / np.sqrt(var + 1e-3)
    return x * params[name]['scale'] + params[name]['bias']

  hidden = _leaky(norm(x @ params['Dense_0']['kernel'], 'BatchNorm_0'))
  dense = params['Dense_1']
  expected = norm(hidden @ dense['kernel'] + dense['bias'], 'BatchNorm_1')
  found, updated = head.apply(
    variables | {'params': params}, x, train=True, mutable=['batch_stats']
  )
  np.testing.assert_allclose(found, expected, atol=2e-5)
  for name, values in statistics.items():
    for key, value in values.items():
      np.testing.assert_allclose(
        updated['batch_stats'][name][key], value, atol=1e-5
      )


@pytest.mark.parametrize('hidden_norm', [True, False])
@pytest.mark.parametrize('output_norm', [True, False])
def test_the_articles_predictor_against_numpy(hidden_norm, output_norm):
  """Dense without bias, LeakyReLU, BatchNorm, Dense: LeakyReLU comes first."""
  head = Predictor(WIDTH, 3, hidden_norm=hidden_norm, output_norm=output_norm)
  x = 2 + _rows(4, 5, D)
  variables = head.init(jax.random.key(0), x, train=True)
  params = jax.tree.map(
    lambda p: p + 0.1 * _rows(*p.shape, seed=1), variables['params']
  )
  assert set(params['Dense_0']) == {'kernel'}
  assert len(variables.get('batch_stats', {})) == hidden_norm + output_norm
  names = iter(('BatchNorm_0', 'BatchNorm_1'))

  def norm(x):
    name = next(names)
    x = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3)
    return x * params[name]['scale'] + params[name]['bias']

  hidden = _leaky(x @ params['Dense_0']['kernel'])
  if hidden_norm:
    hidden = norm(hidden)
  expected = hidden @ params['Dense_1']['kernel'] + params['Dense_1']['bias']
  if output_norm:
    expected = norm(expected)
  found, _ = head.apply(
    variables | {'params': params}, x, train=True, mutable=['batch_stats']
  )
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
  ('options', 'kernels', 'biases', 'norms'),
  [
    # MoCo v1, v2; SimCLR and BYOL; SimSiam's projector; an affine end.
    ({'widths': (WIDTH,)}, 1, ['Dense_0'], {}),
    (
      {'widths': (5, WIDTH), 'hidden_norm': False},
      2,
      ['Dense_0', 'Dense_1'],
      {},
    ),
    ({'widths': (5, WIDTH)}, 2, ['Dense_1'], {'BatchNorm_0': True}),
    (
      {'widths': (5, 4, WIDTH), 'output_norm': 'plain'},
      3,
      [],
      {'BatchNorm_0': True, 'BatchNorm_1': True, 'BatchNorm_2': False},
    ),
    (
      {'widths': (5, WIDTH), 'output_norm': 'affine', 'hidden_norm': False},
      2,
      ['Dense_0'],
      {'BatchNorm_0': True},
    ),
    (
      {'widths': (5, WIDTH), 'output_bias': False},
      2,
      [],
      {'BatchNorm_0': True},
    ),
  ],
)
def test_the_papers_heads_against_numpy(options, kernels, biases, norms):
  """Dense, BatchNorm, ReLU, ..., Dense; `norms` says which of them learn."""
  head = Mlp(**options)
  x = 2 + _rows(8, D)
  variables = head.init(jax.random.key(0), x, train=False)
  params = jax.tree.map(
    lambda p: p + 0.3 * _rows(*p.shape, seed=1), variables['params']
  )
  names = [f'Dense_{i}' for i in range(kernels)]
  assert [name for name in names if 'bias' in params[name]] == biases
  learned = {name for name, affine in norms.items() if affine}
  assert set(params) == {*names, *learned}
  assert set(variables.get('batch_stats', {})) == set(norms)
  order = iter(norms)

  def norm(x):
    own = params.get(next(order), {'scale': 1, 'bias': 0})
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    return x * own['scale'] + own['bias']

  expected = x.astype(np.float64)
  for name in names:
    last = name == names[-1]
    dense = params[name]
    expected = expected @ dense['kernel'] + dense.get('bias', 0)
    if options.get('output_norm') if last else options.get('hidden_norm', True):
      expected = norm(expected)
    expected = expected if last else np.maximum(expected, 0)
  found, _ = head.apply(
    {**variables, 'params': params}, x, train=True, mutable=['batch_stats']
  )
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_output_norm_that_is_none_of_them():
  with pytest.raises(UserError, match=r"'plian'.*'plain'"):
    Mlp(output_norm='plian').init(jax.random.key(0), _rows(2, D), train=False)


@pytest.mark.parametrize('kind', ['projector', 'predictor', 'mlp'])
def test_heads_pass_their_groups_and_constants_on(kind):
  """Each half of the batch is as it would be alone."""
  make = {
    'projector': functools.partial(Projector, WIDTH),
    'predictor': functools.partial(Predictor, WIDTH, 5),
    'mlp': functools.partial(Mlp, (5, WIDTH)),
  }[kind]
  x = _rows(8, D) + np.repeat([0, 3], 4)[:, None].astype(np.float32)
  variables = make().init(jax.random.key(0), x, train=False)
  call = functools.partial(
    make(groups=2).apply, variables, train=True, mutable=['batch_stats']
  )
  plain = functools.partial(
    make().apply, variables, train=True, mutable=['batch_stats']
  )
  found, state = call(x)
  expected = np.concatenate([plain(half)[0] for half in (x[:4], x[4:])])
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # The running values start at 0 and 1, and keep this much of what they are.
  kept = 0.9 if kind == 'mlp' else 0.99
  hidden = x @ variables['params']['Dense_0']['kernel']
  if kind == 'predictor':
    hidden = _leaky(hidden)
  halves = np.split(hidden, 2)
  mean, var = (
    np.mean([statistic(half, axis=0) for half in halves], axis=0)
    for statistic in (np.mean, np.var)
  )
  running = state['batch_stats']['BatchNorm_0']
  np.testing.assert_allclose(running['mean'], (1 - kept) * mean, atol=1e-5)
  np.testing.assert_allclose(running['var'], kept + (1 - kept) * var, rtol=1e-5)


def test_batch_norm_equals_flax_without_a_mask():
  """Also for a mean that is large beside the spread (rule 16).

  Float32 numbers of about 1000 are 6e-5 apart, and so are their means.
  """
  x = 1000 + _rows(64, D)
  mine = BatchNorm()
  flax = nn.BatchNorm(momentum=0.99, epsilon=1e-3, use_fast_variance=False)
  variables = mine.init(jax.random.key(0), x, train=True)
  found, mine_state = mine.apply(
    variables, x, train=True, mutable=['batch_stats']
  )
  expected, flax_state = flax.apply(
    variables, x, use_running_average=False, mutable=['batch_stats']
  )
  np.testing.assert_allclose(found, expected, atol=4e-4)
  for a, b in zip(
    jax.tree.leaves(mine_state), jax.tree.leaves(flax_state), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-6)
  reference = (x - x.mean(0)) / np.sqrt(x.astype(np.float64).var(0) + 1e-3)
  np.testing.assert_allclose(found, reference, atol=1e-3)


def test_batch_norm_does_not_see_what_the_mask_hides():
  """Rule 30, and padding may hold anything."""
  x = _rows(4, 5, D)
  mask = np.arange(20).reshape(4, 5) % 3 > 0
  norm = BatchNorm()
  variables = norm.init(jax.random.key(0), x, train=True)
  found, state = norm.apply(
    variables,
    np.where(mask[..., None], x, np.inf).astype(np.float32),
    train=True,
    mask=mask,
    mutable=['batch_stats'],
  )
  rows = x[mask]
  expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3)
  np.testing.assert_allclose(np.asarray(found)[mask], expected, atol=1e-5)
  np.testing.assert_allclose(
    state['batch_stats']['mean'], 0.01 * rows.mean(0), atol=1e-6
  )


def test_evaluation_reads_the_running_statistics_and_leaves_them():
  norm = BatchNorm()
  x = _rows(8, D)
  variables = {
    'params': {'scale': jnp.full(D, 2.0), 'bias': jnp.full(D, 1.0)},
    'batch_stats': {'mean': jnp.full(D, 0.5), 'var': jnp.full(D, 4.0)},
  }
  # Nothing is mutable: an attempt to write would raise.
  found = norm.apply(variables, x, train=False)
  expected = 2 * (x - 0.5) / np.sqrt(4 + 1e-3) + 1
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('hidden', ['unevenly', 'a device', 'all'])
def test_batch_norm_over_devices_equals_one(hidden):
  """Values, statistics and gradients, where devices show different counts."""
  x = _rows(16, 3, D) * np.linspace(1, 4, 16)[:, None, None]
  x = x.astype(np.float32)
  mask = np.random.default_rng(1).random((16, 3)) > 0.4
  if hidden == 'a device':
    mask[:2] = False
  elif hidden == 'all':
    mask[:] = False
  variables = BatchNorm().init(jax.random.key(0), x, train=True)
  target = _rows(16, 3, D, seed=2)

  def run(x, mask, target, axis_name):
    norm = BatchNorm(axis_name=axis_name)

    def loss(x):
      y, state = norm.apply(
        variables, x, train=True, mask=mask, mutable=['batch_stats']
      )
      return jnp.sum(mask[..., None] * y * target), (y, state['batch_stats'])

    grads, (y, state) = jax.grad(loss, has_aux=True)(x)
    return grads, y, state

  mesh = jax.make_mesh((8,), ('devices',), axis_types=(AxisType.Auto,))
  rows = PartitionSpec('devices')
  several = jax.jit(
    jax.shard_map(
      functools.partial(run, axis_name='devices'),
      mesh=mesh,
      in_specs=rows,
      out_specs=(rows, rows, PartitionSpec()),
      check_vma=False,
    )
  )(x, mask, target)
  one = jax.jit(functools.partial(run, axis_name=None))(x, mask, target)
  for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(one), strict=True):
    assert np.isfinite(b).all()
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
