"""What is particular to SimSiam: its loss, and where no gradient flows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ssljax.methods.simsiam import simsiam
from ssljax.models import instances
from ssljax.models.heads import Predictor, Projector

BATCH, TIME, D = 4, 6, 5


class Encoder(nn.Module):
  """A row of pixels for each frame, times a matrix."""

  @nn.compact
  def __call__(self, images, *, train, mask=None):
    del train, mask
    return nn.Dense(D, use_bias=False)(images[:, 0])


def _views(scales):
  """Views that differ by a factor, all their frames shown but the last two."""

  def views(key, images, index, widths=None):
    del key, index, widths
    columns = jnp.where(jnp.arange(TIME) < TIME - 2, 1.0, -1.0)
    columns = jnp.tile(columns, (len(images), 1))
    images = images.astype(jnp.float32) / 255
    return tuple((images**scale, columns) for scale in scales)

  return views


def _method(scales=(1.0, 2.0), **options):
  return simsiam(
    Encoder(),
    Projector(width=D),
    Predictor(D, 3),
    views=_views(scales),
    instances=instances.frames(2),
    **options,
  )


def _batch(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'image': rng.integers(0, 256, (BATCH, 1, TIME, 3)).astype(np.uint8),
    'index': np.arange(BATCH, dtype=np.int32),
  }


def _start(method):
  return method.init(jax.random.key(0), _batch())


def _value(method, params, state):
  return method.loss(params, state, _batch(), jax.random.key(1), 0)


def _reference(params, l2):
  """The article's forward pass in float64, with its heads written out."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

  def norm(x, weights):
    rows = x[:, : TIME - 2].reshape(-1, x.shape[-1])
    x = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3)
    return x * weights['scale'] + weights['bias']

  def leaky(x):
    return np.where(x > 0, x, 0.18 * x)

  def pooled(x):
    return x[:, : TIME - 2].reshape(BATCH, -1, 2, D).mean(2).reshape(-1, D)

  def branch(images):
    x = images[:, 0] @ p['encoder']['Dense_0']['kernel']
    h = p['projector']
    z = leaky(norm(x @ h['Dense_0']['kernel'], h['BatchNorm_0']))
    z = z @ h['Dense_1']['kernel'] + h['Dense_1']['bias']
    z = norm(z, h['BatchNorm_1'])
    h = p['predictor']
    v = norm(leaky(z @ h['Dense_0']['kernel']), h['BatchNorm_0'])
    v = v @ h['Dense_1']['kernel'] + h['Dense_1']['bias']
    return pooled(v), pooled(z)

  def cosine(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return (a * b).sum(1).mean()

  images = _batch()['image'] / 255
  (p1, z1), (p2, z2) = branch(images), branch(images**2)
  penalty = sum(
    (p[name]['Dense_0']['kernel'] ** 2).sum()
    for name in ('projector', 'predictor')
  )
  return -cosine(p1, z2) / 2 - cosine(p2, z1) / 2 + l2 * penalty


@pytest.mark.parametrize('l2', [0.0, 1e-3, 0.5])
def test_the_articles_loss_against_numpy(l2):
  method = _method(l2=l2)
  params, state = _start(method)
  value, _ = _value(method, params, state)
  np.testing.assert_allclose(value, _reference(params, l2), rtol=1e-4)


def test_the_penalty_is_on_the_first_kernels_alone():
  params, state = _start(_method())
  with_penalty, without = (
    jax.grad(lambda p, l2=l2: _value(_method(l2=l2), p, state)[0])(params)
    for l2 in (0.5, 0.0)
  )
  for path, gradient in jax.tree_util.tree_leaves_with_path(with_penalty):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    other = functools.reduce(lambda t, key: t[key.key], path, without)
    expected = 0.0
    if name in ('projector/Dense_0/kernel', 'predictor/Dense_0/kernel'):
      expected = functools.reduce(lambda t, key: t[key.key], path, params)
    np.testing.assert_allclose(gradient - other, expected, atol=1e-5)


def test_no_gradient_flows_through_the_targets():
  """Rule 12: with and without stopping it, by an encoder's gradient."""
  stopped, free = _method(l2=0.0), _method(l2=0.0, stop_gradient=False)
  params, state = _start(stopped)
  targets = _value(stopped, params, state)[0]

  def gradient(method):
    return jax.grad(lambda p: _value(method, p, state)[0])(params)

  # The same value, and another gradient.
  np.testing.assert_allclose(_value(free, params, state)[0], targets, rtol=1e-6)
  a, b = gradient(stopped), gradient(free)
  assert not np.allclose(
    a['encoder']['Dense_0']['kernel'], b['encoder']['Dense_0']['kernel']
  )
  # Without a predictor both sides are the same function: the free gradient is
  # the stopped one of either side, added.
  bare = _method(l2=0.0, predict=False)
  params, state = _start(bare)
  both = _method(l2=0.0, predict=False, stop_gradient=False)
  one, two = (
    jax.grad(lambda p, method=method: _value(method, p, state)[0])(params)
    for method in (bare, both)
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(2 * x, y, atol=1e-5), one, two
  )


def test_equal_views_without_a_predictor_are_minus_one():
  """A sign test: similarity is what falls to -1, not distance (rule 11)."""
  method = _method(scales=(1.0, 1.0), l2=0.0, predict=False)
  value, (_, metrics) = _value(method, *_start(method))
  np.testing.assert_allclose(value, -1, atol=1e-5)
  np.testing.assert_allclose(metrics['cosine'], 1, atol=1e-5)


def test_each_view_has_statistics_of_its_own():
  """As in the article, where each goes through the heads alone: two updates."""
  method = _method()
  params, state = _start(method)
  _, (updated, _) = _value(method, params, state)
  images = _batch()['image'] / 255
  kernel = params['encoder']['Dense_0']['kernel']
  first = params['projector']['Dense_0']['kernel']
  mean = np.zeros(D)
  for view in (images, images**2):
    rows = (view[:, 0, : TIME - 2] @ kernel @ first).reshape(-1, D)
    mean = 0.99 * mean + 0.01 * rows.mean(0)
  found = updated['batch_stats']['projector']['BatchNorm_0']['mean']
  np.testing.assert_allclose(found, mean, atol=1e-5)
