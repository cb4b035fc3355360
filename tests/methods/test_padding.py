"""What is not read is not seen (rule 45): padding changes nothing on text."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import losses
from ssljax.augment.pixels import plain
from ssljax.methods.byol import byol
from ssljax.methods.deepcluster import deepcluster
from ssljax.methods.deepcluster_v2 import deepcluster_v2
from ssljax.methods.metric import metric
from ssljax.methods.moco import moco
from ssljax.methods.recognize import recognize
from ssljax.methods.self_training import self_training
from ssljax.methods.simclr import simclr
from ssljax.methods.simsiam import simsiam
from ssljax.methods.swav import swav
from ssljax.models import instances
from ssljax.models.heads import Predictor, Projector
from ssljax.models.sequence import CtcHead, SequenceEncoder

HEIGHT, WIDTH, STRIDE = 8, 32, 4
WIDTHS = np.array([32, 20, 11, 26], np.int32)
SHOWN = np.arange(WIDTH // STRIDE) < -(-WIDTHS[:, None] // STRIDE)
PROJECTOR, PREDICTOR = Projector(width=8), Predictor(8, 4)
SPREAD = (
  'std',
  'effective_rank',
  'std_across_images',
  'std_across_positions',
  'projection_std',
)
HEAD = CtcHead(classes=5, hidden=8)


def _views(count, key, images, index, widths):
  """Views as they come, each a little paler, whose padding is of the image."""
  del key, index
  columns = (jnp.arange(images.shape[2] // STRIDE) + 0.5) * STRIDE
  columns = jnp.where(columns < -(-widths[:, None] // 4) * 4, columns, -1)
  return tuple(
    (plain(images) / (1 + number), columns) for number in range(count)
  )


TWO = {'views': functools.partial(_views, 2)}
TWO['instances'] = instances.frames(2, stride=STRIDE)
ONE = {'views': functools.partial(_views, 1)}
METHODS = {
  'simclr': (simclr, [PROJECTOR], TWO),
  'moco': (moco, [PROJECTOR], TWO | {'queue_steps': 4}),
  'byol': (byol, [PROJECTOR, PREDICTOR], TWO),
  'simsiam': (simsiam, [PROJECTOR, PREDICTOR], TWO),
  'swav': (swav, [PROJECTOR], TWO | {'prototypes': 4}),
  'deepcluster': (deepcluster, [], TWO | {'clusters': 4, 'examples': 4}),
  'deepcluster_v2': (
    deepcluster_v2,
    [PROJECTOR],
    TWO | {'clusters': 4, 'examples': 4},
  ),
  'metric': (metric, [PROJECTOR], TWO),
  'recognize': (recognize, [HEAD], ONE),
  'self_training': (self_training, [HEAD], ONE | {'criterion': losses.ctc}),
}


def _batches():
  """Two batches that differ in the frames of padding alone."""
  rng = np.random.default_rng(0)
  a, b = rng.integers(0, 256, (2, 4, HEIGHT, WIDTH, 3)).astype(np.uint8)
  shown = SHOWN.repeat(STRIDE, axis=1)[:, None, :, None]
  others = {
    'index': np.arange(4, dtype=np.int32),
    'width': WIDTHS,
    'label': np.array([[1, 2], [3, 0], [1, 0], [4, 1]], np.int32),
    'labelled': np.array([True, True, False, False]),
  }
  return {'image': a} | others, {'image': np.where(shown, a, b)} | others


def _method(name):
  make, parts, options = METHODS[name]
  encoder = SequenceEncoder((8, 8), width=16, layers=0, heads=2)
  return make(encoder, *parts, **options)


@pytest.mark.parametrize('name', METHODS)
def test_no_method_sees_what_images_are_padded_with(name):
  """Neither its loss nor any of its figures, nor what others make of it."""
  method, key = _method(name), jax.random.key(0)
  batch, other = _batches()
  params, state = jax.jit(method.init)(key, batch)
  loss = jax.jit(method.loss)
  (value, (_, metrics)), (same, (_, others)) = (
    loss(params, state, each, key, 0) for each in (batch, other)
  )
  np.testing.assert_allclose(same, value, rtol=1e-5)
  for figure in metrics:
    np.testing.assert_allclose(
      others[figure], metrics[figure], rtol=1e-4, atol=1e-5, err_msg=figure
    )
  features = jax.jit(method.encode)(params, state, batch['image'], WIDTHS)
  assert (np.abs(features).max(axis=-1) > 0).tolist() == SHOWN.tolist()
  for function in filter(None, (method.encode, method.predict)):
    found, again = (
      np.asarray(jax.jit(function)(params, state, each['image'], WIDTHS))
      for each in (batch, other)
    )
    np.testing.assert_allclose(again[SHOWN], found[SHOWN], atol=1e-5)


@pytest.mark.parametrize(
  'name',
  [name for name in METHODS if METHODS[name][2]['views'] is TWO['views']],
)
def test_the_spread_of_features_is_that_of_frames_that_show_something(name):
  """More padding leaves it as it is, although its features are zeros."""
  method, key = _method(name), jax.random.key(0)
  batch, _ = _batches()
  wide = np.pad(batch['image'], ((0, 0), (0, 0), (0, 8), (0, 0)))
  found = []
  for each in (batch, batch | {'image': wide}):
    params, state = jax.jit(method.init)(key, each)
    _, (_, metrics) = jax.jit(method.loss)(params, state, each, key, 0)
    found.append({key: metrics[key] for key in SPREAD if key in metrics})
  assert len(found[0]) >= 4
  for figure, value in found[0].items():
    np.testing.assert_allclose(
      found[1][figure], value, rtol=1e-4, err_msg=figure
    )
