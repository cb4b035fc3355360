"""What the loop does around a method: states, epochs, steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssljax import core, optim
from ssljax.core import Method

BATCH = {'image': np.zeros((2, 4), np.uint8)}


def _method(renewed=(), calls=None, log=None):
  """Three parts, one of which has a `head` inside it."""

  def init(key, batch):
    del batch
    keys = jax.random.split(key, 3)
    params = {
      'encoder': {'head': {'kernel': jax.random.normal(keys[0], (2, 2))}},
      'head': {'kernel': jax.random.normal(keys[1], (2, 2))},
      'prototypes': jax.random.normal(keys[2], (2, 2)),
    }
    return params, {'batch_stats': {'encoder': jnp.zeros(2)}, 'count': 0}

  def loss(params, method_state, batch, key, step):
    del batch
    value = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    metrics = {'draw': jax.random.uniform(key), 'seen': step}
    return value, (method_state, metrics)

  def after_step(params, method_state, step):
    del params
    return {**method_state, 'count': step}

  def before_epoch(params, method_state, features, key):
    del key
    if calls is not None:
      calls.append(features())
    params = {name: params[name] for name in params}
    for name in renewed:
      params[name] = jax.tree.map(jnp.ones_like, params[name])
    return params, method_state, renewed

  return Method(init, loss, lambda *_: None, after_step, before_epoch)


def _trained(method, optimizer, steps=2):
  state = core.create_state(
    jax.random.key(0), BATCH, method=method, optimizer=optimizer
  )
  draws = []
  for _ in range(steps):
    state, metrics = core.train_step(
      state, BATCH, method=method, optimizer=optimizer
    )
    draws.append(float(metrics['draw']))
  return state, draws


OPTIMIZERS = {
  'adamw': {},
  'clip and rates': {'clip': 1.0, 'rates': {'head': 0.5}},
  'frozen': {'freeze': ('prototypes',)},
}


@pytest.mark.parametrize('options', OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_only_renewed_parts_start_anew(options):
  optimizer = optim.optimizer(
    'adamw', learning_rate=0.1, steps=10, decay='constant', **options
  )
  method = _method(renewed=('head',))
  before, _ = _trained(method, optimizer)
  after = core.begin_epoch(before, None, method=method, optimizer=optimizer)
  chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
  changed, kept = set(), set()
  new = jax.tree_util.tree_leaves_with_path(after.opt_state)
  for (path, a), b in zip(new, jax.tree.leaves(before.opt_state), strict=True):
    names = tuple(k.key for k in path if hasattr(k, 'key') and k.key in PARTS)
    if np.array_equal(a, b):
      kept.add(names)
    else:
      changed.add(names)
      np.testing.assert_array_equal(a, 0)
  assert changed == {('head',)}
  # A part's name deeper down is another part's business, and the step count,
  # which the schedule reads, belongs to all.
  assert kept >= {('encoder', 'head'), ()}
  np.testing.assert_array_equal(after.params['head']['kernel'], 1)
  chex.assert_trees_all_equal(after.params['encoder'], before.params['encoder'])


PARTS = ('encoder', 'head', 'prototypes')


def test_a_part_that_is_one_array_can_be_renewed():
  optimizer = optax.adam(0.1)
  method = _method(renewed=('prototypes',))
  before, _ = _trained(method, optimizer)
  after = core.begin_epoch(before, None, method=method, optimizer=optimizer)
  np.testing.assert_array_equal(after.opt_state[0].mu['prototypes'], 0)
  chex.assert_trees_all_equal(
    after.opt_state[0].mu['head'], before.opt_state[0].mu['head']
  )


def test_nothing_renewed_leaves_the_optimizer_alone():
  optimizer = optax.adam(0.1)
  method = _method()
  before, _ = _trained(method, optimizer)
  after = core.begin_epoch(before, None, method=method, optimizer=optimizer)
  chex.assert_trees_all_equal(after._replace(key=0), before._replace(key=0))


def test_features_are_computed_for_who_asks():
  calls = []
  optimizer = optax.sgd(0.1)
  state, _ = _trained(_method(), optimizer)

  def features(params, method_state):
    assert params is state.params
    assert method_state is state.method_state
    return 'features'

  core.begin_epoch(
    state, features, method=_method(calls=calls), optimizer=optimizer
  )
  assert calls == ['features']

  def refuse(*_):
    raise AssertionError('a pass over the data that nobody asked for')

  method = _method()._replace(before_epoch=Method.__new__.__defaults__[1])
  after = core.begin_epoch(state, refuse, method=method, optimizer=optimizer)
  assert after.params is state.params


def test_a_step_counts_and_draws_anew():
  state, draws = _trained(_method(), optax.sgd(0.1), steps=3)
  assert state.step == 3
  assert state.method_state['count'] == 3  # After the step, its number.
  assert len(set(draws)) == 3
  again, same = _trained(_method(), optax.sgd(0.1), steps=3)
  assert same == draws
  chex.assert_trees_all_equal(again.params, state.params)


def _with_target(method):
  """`method` with a momentum copy of two of its parts, as BYOL has one."""

  def init(key, batch):
    params, state = method.init(key, batch)
    copied = {name: params[name] for name in ('encoder', 'head')}
    target = {'params': copied, 'batch_stats': state['batch_stats']}
    return params, {**state, 'target': target}

  return method._replace(init=init)


def test_taken_parts_replace_fresh_ones():
  method, optimizer = _with_target(_method()), optax.adam(0.1)
  mine = {
    'head': {'kernel': jnp.full((2, 2), 7.0)},
    'prototypes': jnp.full((2, 2), 8.0),
  }
  state = core.create_state(
    jax.random.key(0),
    BATCH,
    method=method,
    optimizer=optimizer,
    params=mine,
    batch_stats={'encoder': jnp.ones(2)},
  )
  fresh = core.create_state(
    jax.random.key(0), BATCH, method=method, optimizer=optimizer
  )
  encoder = fresh.params['encoder']
  chex.assert_trees_all_equal(state.params, {'encoder': encoder, **mine})
  statistics = {'encoder': np.ones(2)}
  chex.assert_trees_all_equal(state.method_state['batch_stats'], statistics)
  # The target starts as the network does, and keeps no part beyond its own.
  chex.assert_trees_all_equal(
    state.method_state['target'],
    {
      'params': {'encoder': encoder, 'head': mine['head']},
      'batch_stats': statistics,
    },
  )


def test_parts_of_a_batch_are_the_whole_batch():
  """Against the gradient of a mean over examples, in NumPy float64."""

  def loss(params, method_state, batch, key, step):
    del key, step
    error = batch['x'] @ params['head'] - batch['y']
    seen = method_state['seen'] + len(error)
    return (error**2).mean(), (method_state | {'seen': seen}, {})

  random = np.random.default_rng(0)
  x, y = random.normal(size=(8, 3)), random.normal(size=8)
  method = core.Method(
    init=lambda key, batch: (
      {'head': jnp.zeros(3)},
      {'batch_stats': {}, 'seen': 0},
    ),
    loss=loss,
    encode=loss,
    summed=True,
  )
  optimizer = optax.sgd(0.5)
  batch = {'x': jnp.asarray(x, jnp.float32), 'y': jnp.asarray(y, jnp.float32)}
  parts = {'method': method, 'optimizer': optimizer}
  state = core.create_state(jax.random.key(0), batch, **parts)
  state, metrics = core.train_step(state, batch, accumulate=4, **parts)
  np.testing.assert_allclose(
    state.params['head'], 0.5 * 2 * x.T @ y / 8, rtol=1e-5
  )
  np.testing.assert_allclose(metrics['loss'], (y**2).mean(), rtol=1e-5)
  assert state.method_state['seen'] == 8
