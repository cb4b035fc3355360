"""Classification behind a frozen encoder that has BatchNorm."""

import functools

import chex
import jax
import numpy as np
import pytest

from ssljax import core, optim, parallel
from ssljax.methods.supervised import supervised
from ssljax.models.heads import Classifier
from ssljax.models.resnet import ResNet

ROWS, CLASSES = 8, 3


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  colours = rng.integers(0, 256, (ROWS, 1, 1, 3))
  noise = rng.integers(-40, 40, (ROWS, 8, 8, 3))
  return {
    'image': np.clip(colours + noise, 0, 255).astype(np.uint8),
    'index': np.arange(ROWS, dtype=np.int32),
    'label': (np.arange(ROWS) % CLASSES).astype(np.int32),
  }


@functools.cache
def _method(*freeze):
  encoder = ResNet((1,), width=8, stem='cifar', zero_init=False)
  return supervised(encoder, Classifier(CLASSES), freeze=freeze)


@functools.cache
def _taken():
  """Params, and statistics that are those of no batch, as a taken encoder's."""
  params, state = jax.jit(_method().init)(jax.random.key(0), _batch())
  rng = np.random.default_rng(1)
  statistics = jax.tree.map(
    lambda x: (x + rng.uniform(0, 0.5, x.shape)).astype(x.dtype), state
  )
  assert jax.tree.leaves(statistics['batch_stats']['encoder'])
  return jax.device_get(params), statistics


def _steps(*freeze):
  """The state before and after three steps."""
  options = {'learning_rate': 0.1, 'steps': 3, 'weight_decay': 0.5}
  parts = {
    'method': _method(*freeze),
    'optimizer': optim.optimizer('adamw', **options, freeze=freeze),
  }
  params, state = _taken()
  create = functools.partial(core.create_state, params=params, **parts)
  start = jax.jit(create)(
    jax.random.key(0), _batch(), batch_stats=state['batch_stats']
  )
  before = jax.device_get((start.params, start.method_state))
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )
  for seed in range(3):
    start, _ = step(start, _batch(seed))
  return before, jax.device_get((start.params, start.method_state))


def test_a_frozen_encoder_keeps_its_statistics_to_the_bit():
  (params, state), (moved, found) = _steps('encoder')
  chex.assert_trees_all_equal(state, _taken()[1])
  chex.assert_trees_all_equal(found, state)
  chex.assert_trees_all_equal(moved['encoder'], params['encoder'])
  assert (
    moved['head']['Dense_0']['kernel'] != params['head']['Dense_0']['kernel']
  ).any()


def test_an_encoder_that_trains_renews_its_statistics():
  (_, state), (_, found) = _steps()
  pairs = zip(*(jax.tree.leaves(each) for each in (state, found)), strict=True)
  assert all((before != after).any() for before, after in pairs)


def _cross_entropy(params, features, labels):
  """By the features of `encode`, in float64."""
  dense = jax.tree.map(np.float64, params['head']['Dense_0'])
  logits = np.float64(features) @ dense['kernel'] + dense['bias']
  logits -= logits.max(axis=1, keepdims=True)
  chosen = logits[np.arange(len(labels)), labels]
  return np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)


@pytest.mark.parametrize('freeze', [('encoder',), ()])
def test_a_frozen_encoder_sees_its_own_statistics_not_the_batch(freeze):
  method, (params, state), batch = _method(*freeze), _taken(), _batch()
  arguments = (state, batch, jax.random.key(0), 0)
  value, _ = jax.jit(method.loss)(params, *arguments)
  features = jax.jit(method.encode)(params, state, batch['image'])
  expected = _cross_entropy(params, features, batch['label'])
  if freeze:
    np.testing.assert_allclose(value, expected, rtol=1e-5)
  else:  # by those of the batch, which are other ones
    assert abs(value - expected) > 0.01


def test_no_example_of_a_frozen_encoder_depends_on_another():
  """The gradient of a batch is the mean of its examples' own."""
  method, (params, state), batch = _method('encoder'), _taken(), _batch()

  def loss(params, batch):
    return method.loss(params, state, batch, jax.random.key(0), 0)[0]

  gradient = jax.grad(loss)
  alone = jax.vmap(gradient, in_axes=(None, 0))(
    params, jax.tree.map(lambda x: x[:, None], batch)
  )
  whole = jax.jit(gradient)(params, batch)
  expected = jax.tree.map(lambda x: x.mean(axis=0), alone)
  chex.assert_trees_all_close(whole, expected, rtol=1e-4, atol=1e-6)
  assert np.abs(whole['head']['Dense_0']['kernel']).max() > 0.01
  for leaf in jax.tree.leaves(whole['encoder']):
    assert not leaf.any()
