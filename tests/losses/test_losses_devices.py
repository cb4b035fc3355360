"""Rule 1: eight devices with different rows equal one with all of them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import losses, parallel

DEVICES, LOCAL, D = 8, 3, 5
ROWS = DEVICES * LOCAL


def _cases(axis_name):
  """name -> loss(a, b, batch), each with the axis where it has one."""

  def case(function, *names, **options):
    def loss(a, b, batch):
      chosen = {name: batch[name] for name in names}
      return function(a, b, axis_name=axis_name, **chosen, **options)

    return loss

  return {
    'info_nce': case(losses.info_nce, temperature=0.3),
    'info_nce/weights': case(losses.info_nce, 'weights'),
    'info_nce/groups': case(losses.info_nce, 'groups'),
    'info_nce/both': case(losses.info_nce, 'weights', 'groups'),
    'nt_xent': case(losses.nt_xent, temperature=0.3),
    'nt_xent/weights': case(losses.nt_xent, 'weights'),
    'info_nce/blocks': case(losses.info_nce, 'weights', 'groups', block_size=5),
    'nt_xent/blocks': case(losses.nt_xent, 'weights', block_size=5),
    'negative_cosine': case(losses.negative_cosine),
    'negative_cosine/weights': case(losses.negative_cosine, 'weights'),
    'retrieval': lambda a, b, batch: losses.retrieval_accuracy(
      a, b, axis_name=axis_name
    ),
    'retrieval/both': lambda a, b, batch: losses.retrieval_accuracy(
      a,
      b,
      weights=batch['weights'],
      groups=batch['groups'],
      axis_name=axis_name,
    ),
    'retrieval/blocks': lambda a, b, batch: losses.retrieval_accuracy(
      a, b, weights=batch['weights'], axis_name=axis_name, block_size=5
    ),
  }


def _step(state, batch, *, axis_name):
  """Value and gradients of every case, averaged as a train step would."""

  def objective(params, loss):
    a, b = batch['x'] @ params['a'], batch['y'] @ params['b']
    value = loss(a, b, batch)
    return (value if isinstance(value, jax.Array) else value[0]), value

  found = {}
  for name, loss in _cases(axis_name).items():
    (_, value), grads = jax.value_and_grad(objective, has_aux=True)(state, loss)
    found[name] = parallel.mean((value, grads), axis_name)
  return state, found


def _batch():
  """Every device differs in rows, in scale, in weight and in its groups."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(ROWS, D)) + np.arange(ROWS)[:, None] / 8
  weights = np.ones(ROWS)
  weights[:LOCAL] = 0  # A device with nothing but padding,
  weights[LOCAL : 2 * LOCAL] = [1, 0, 0]  # one with little,
  weights[-1] = 2.5
  groups = np.arange(ROWS) // 5  # and groups that straddle devices.
  return {
    'x': x.astype(np.float32),
    'y': (x + rng.normal(size=(ROWS, D))).astype(np.float32),
    'weights': weights.astype(np.float32),
    'groups': groups.astype(np.int32),
  }


@pytest.fixture(scope='module')
def found():
  def run(mapping):
    rng = np.random.default_rng(1)
    params = {
      name: jnp.asarray(rng.normal(size=(D, 4)), jnp.float32) for name in 'ab'
    }
    step = parallel.compile_step(_step, mapping=mapping)
    return jax.device_get(step(params, _batch())[1])

  assert jax.device_count() == DEVICES
  return {mapping: run(mapping) for mapping in parallel.MAPPINGS}


@pytest.mark.parametrize('mapping', ['shard_map', 'pmap'])
@pytest.mark.parametrize('case', list(_cases(None)))
def test_eight_devices_equal_one(found, mapping, case):
  one, many = found['jit'][case], found[mapping][case]
  chex.assert_trees_all_close(many, one, rtol=1e-5, atol=1e-6)
  if not case.startswith('retrieval'):
    smallest = min(np.abs(g).max() for g in jax.tree.leaves(one[1]))
    assert smallest > 1e-3, 'gradients too small to tell anything apart'


def test_weighted_mean_over_devices():
  """100 with weight 7 and 10 with weight 3: 73, not the mean of the two."""

  def step(state, batch, *, axis_name):
    value = losses.weighted_mean(batch['value'], batch['weight'], axis_name)
    return state, parallel.mean(value, axis_name)

  batch = {
    'value': np.array([100, 100, 10, 10], np.float32),
    'weight': np.array([3, 4, 3, 0], np.float32),
  }
  for mapping, devices in (('jit', 1), ('pmap', 2), ('shard_map', 2)):
    call = parallel.compile_step(
      step, mapping=mapping, devices=jax.devices()[:devices]
    )
    assert call(jnp.zeros(()), batch)[1] == pytest.approx(73)
