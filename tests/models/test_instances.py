"""From frames to rows: the pools, by number and by source coordinate."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import text
from ssljax.augment.text import text_views
from ssljax.models import instances
from ssljax.models.sequence import SequenceEncoder

STRIDE = 4


def _pool(kind, *arguments, **options):
  # Under jit because op by op each of a dozen is compiled for every shape.
  pool = jax.jit(getattr(instances, kind)(*arguments, **options))

  def call(features, columns):
    return tuple(np.asarray(x) for x in pool(features, columns))

  return call


def _aligned(batch, time):
  """The columns of views in which nothing moves."""
  columns = (np.arange(time) + 0.5) * STRIDE
  return np.tile(columns.astype(np.float32), (batch, 1))


def _features(batch, time, width=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(batch, time, width)).astype(np.float32)


def _count(time):
  """Features 1, 2, ..., time of one image."""
  return np.arange(1, time + 1, dtype=np.float32)[None, :, None]


def test_frames_are_the_articles_pool():
  """Keras' AvgPool1D(5, 'same') on 1..26; flax counts padding and gives 1.2."""
  rows, weights = _pool('frames', 5)(_count(26), _aligned(1, 26))
  np.testing.assert_allclose(rows[:, 0], [2, 6, 11, 16, 21, 25])
  np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize(
  ('time', 'pool'), [(1, 5), (4, 5), (6, 5), (9, 2), (24, 5), (40, 5), (7, 1)]
)
def test_frames_against_keras_same(time, pool):
  count = math.ceil(time / pool)
  left = (count * pool - time) // 2
  padded = np.full(count * pool, np.nan)
  padded[left : left + time] = _count(time)[0, :, 0]
  rows, weights = _pool('frames', pool)(_count(time), _aligned(1, time))
  expected = np.nanmean(padded.reshape(count, pool), axis=1)
  np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-6)
  np.testing.assert_array_equal(weights, 1)


def test_rows_are_image_by_image():
  """simclr splits the rows of both views in the middle."""
  features = _features(2, 10)
  for pool in (_pool('frames', 5), _pool('windows', 2)):
    rows, _ = pool(features, _aligned(2, 10))
    expected = features.reshape(2, 2, 5, 3).mean(axis=2).reshape(4, 3)
    np.testing.assert_allclose(rows, expected, rtol=1e-5)


@pytest.mark.parametrize('stride', [None, STRIDE])
def test_padding_frames_are_not_counted(stride):
  features, columns = _features(1, 10), _aligned(1, 10)
  features[0, 3:6] = 1e9
  columns[0, 3:6] = -1
  rows, weights = _pool('frames', 5, stride=stride)(features, columns)
  np.testing.assert_allclose(rows[0], features[0, :3].mean(0), rtol=1e-5)
  np.testing.assert_allclose(rows[1], features[0, 6:].mean(0), rtol=1e-5)
  np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize('stride', [None, STRIDE])
def test_rows_of_padding_weigh_nothing(stride):
  columns = _aligned(2, 15)
  columns[0, :5] = -1  # The first row has no frame, the second all of them,
  columns[0, 11:] = -1  # the third one in five, which is less than half.
  columns[1] = -1
  rows, weights = _pool('frames', 5, stride=stride)(_features(2, 15), columns)
  np.testing.assert_array_equal(weights, [0, 1, 0, 0, 0, 0])
  assert np.isfinite(rows).all()


@functools.cache
def _moved(count):
  """The columns of views that move, and lose spans, as in pretraining."""
  views = text_views(stride=STRIDE, **text.PRETRAIN_VIEWS)

  @jax.jit
  def columns(key):
    images = np.zeros((count, 32, 96, 3), np.uint8)
    made = views(key, images, np.arange(count, dtype=np.int32))
    return jnp.concatenate([columns for _, columns in made])

  return np.asarray(columns(jax.random.key(0)))


@pytest.mark.parametrize(
  ('kind', 'size'), [('frames', 2), ('frames', 5), ('windows', 4)]
)
def test_rounding_decides_no_weight(kind, size):
  """Rule 47: otherwise one device and eight count other rows."""
  columns = _moved(2000)
  pool = _pool(kind, size, stride=STRIDE)
  features = np.zeros((*columns.shape, 1), np.float32)
  _, weights = pool(features, columns)
  assert 0.5 < weights.mean() < 0.8
  for factor in (1 - 1e-6, 1 + 1e-6):
    rounded = np.where(columns < 0, -1, columns * np.float32(factor))
    _, others = pool(features, rounded)
    np.testing.assert_array_equal(others, weights)


@pytest.mark.parametrize(
  ('count', 'half'), [(4, 3), (12, 1), (9, 4 / 3), (3, 4)]
)
@pytest.mark.parametrize('stride', [None, STRIDE])
def test_half_of_a_window_is_enough(count, half, stride):
  """In whichever way the half is rounded; one frame less is not enough."""
  columns = _aligned(1, 24)
  columns[:, math.ceil(half) :] = -1
  _, weights = _pool('windows', count, stride=stride)(_features(1, 24), columns)
  assert weights[0] == 1
  columns[:, math.ceil(half) - 1 :] = -1
  _, weights = _pool('windows', count, stride=stride)(_features(1, 24), columns)
  assert weights[0] == 0


@pytest.mark.parametrize(
  ('kind', 'argument', 'time'),
  [('frames', 5, 24), ('frames', 2, 24), ('windows', 5, 26)],
)
def test_matched_equals_by_number_where_nothing_moves(kind, argument, time):
  features, columns = _features(2, time), _aligned(2, time)
  by_number = _pool(kind, argument)(features, columns)
  matched = _pool(kind, argument, stride=STRIDE)(features, columns)
  for a, b in zip(matched, by_number, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('shift', [-7, 2])
@pytest.mark.parametrize('kind', ['frames', 'windows'])
def test_a_shifted_view_has_the_same_rows(kind, shift):
  """Features that are a function of the source move along with the image."""
  time = 24
  source = _features(1, time + 20)
  columns = _aligned(1, time) + STRIDE * shift
  inside = (columns >= 0) & (columns < STRIDE * time)
  columns = np.where(inside, columns, -1)
  plain = source[:, 10 : 10 + time]
  moved = source[:, 10 + shift : 10 + shift + time]
  pool = _pool(kind, 5 if kind == 'frames' else 6, stride=STRIDE)
  expected, everywhere = pool(plain, _aligned(1, time))
  rows, weights = pool(moved, columns)
  assert (everywhere == 1).all()
  both = np.flatnonzero(weights)
  # Rows that the border cuts are means of fewer frames.
  left, right = columns[inside].min() / STRIDE, columns[inside].max() / STRIDE
  length = 5 if kind == 'frames' else time / 6
  first = -((math.ceil(time / 5) * 5 - time) // 2) if kind == 'frames' else 0
  whole = [
    row
    for row in both
    if max(first + row * length, 0) >= left - 0.5
    and min(first + (row + 1) * length, time) <= right + 0.5
  ]
  assert len(whole) >= 2
  np.testing.assert_allclose(rows[whole], expected[whole], rtol=1e-4, atol=1e-5)


def test_a_frame_that_a_row_cuts_is_shared():
  """A shift by half a frame, on features that grow evenly along the line."""
  time = 20
  columns = _aligned(1, time) + STRIDE / 2
  rows, weights = _pool('frames', 5, stride=STRIDE)(
    _count(time) + 0.5, np.where(columns < STRIDE * time, columns, -1)
  )
  # The first row lacks the half frame at its left.
  np.testing.assert_allclose(rows[1:3, 0], [8, 13], rtol=1e-6)
  np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize(('time', 'count'), [(10, 4), (26, 5), (7, 7)])
def test_windows_of_uneven_time(time, count):
  """A frame on a border counts in both windows, by its share."""
  fine = np.repeat(_count(time)[0, :, 0], count).reshape(count, time)
  rows, weights = _pool('windows', count)(_count(time), _aligned(1, time))
  np.testing.assert_allclose(rows[:, 0], fine.mean(axis=1), rtol=1e-5)
  np.testing.assert_array_equal(weights, 1)


def test_whole_is_the_mean_of_what_is_shown():
  features, columns = _features(3, 8), _aligned(3, 8)
  columns[1, 2:] = -1
  columns[2] = -1
  rows, weights = _pool('whole')(features, columns)
  np.testing.assert_allclose(rows[0], features[0].mean(axis=0), rtol=1e-5)
  np.testing.assert_allclose(rows[1], features[1, :2].mean(axis=0), rtol=1e-5)
  np.testing.assert_array_equal(weights, [1, 1, 0])


def test_identity_keeps_every_frame():
  features, columns = _features(2, 6), _aligned(2, 6)
  columns[1, 4:] = -1
  rows, weights = _pool('identity')(features, columns)
  np.testing.assert_array_equal(rows, features.reshape(12, 3))
  np.testing.assert_array_equal(weights, [1] * 10 + [0] * 2)


POOLS = {
  'frames': instances.frames(5),
  'frames, matched': instances.frames(5, stride=STRIDE),
  'windows': instances.windows(3),
  'whole': instances.whole(),
  'identity': instances.identity(),
}


@pytest.mark.parametrize('pool', POOLS.values(), ids=POOLS)
def test_gradients_are_finite_where_all_is_padding(pool):
  columns = jnp.full((2, 10), -1.0)

  def loss(features):
    rows, weights = pool(features, columns)
    value = jnp.sum(weights[:, None] * rows**2) + jnp.sum(rows)
    return value, weights

  (_, weights), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    _features(2, 10)
  )
  assert np.isfinite(grads).all()
  assert (weights == 0).all()


@pytest.mark.parametrize(
  ('kind', 'size'), [('frames', 3), ('frames', 5), ('windows', 4)]
)
def test_a_window_of_the_line_gives_the_rows_of_the_line(kind, size):
  """By source coordinate; what it does not show has no weight."""
  time, first, shown = 24, 7, 12
  features, columns = _features(2, time), _aligned(2, time)
  whole, weights = _pool(kind, size, stride=STRIDE)(features, columns)
  part = slice(first, first + shown)
  rows, found = _pool(kind, size, stride=STRIDE, time=time)(
    features[:, part], columns[:, part]
  )
  assert rows.shape == whole.shape
  assert weights.all()
  assert 0 < found.sum() < len(found)
  # Rows of which the window shows every frame are those of the line.
  length = size if kind == 'frames' else time / size
  count = len(rows) // 2
  begin = 0 if kind == 'windows' else -((count * size - time) // 2)
  starts = begin + length * np.arange(count)
  inside = (starts >= first) & (starts + length <= first + shown)
  inside = np.tile(inside, 2)
  assert inside.any()
  assert (found[inside] == 1).all()
  np.testing.assert_allclose(rows[inside], whole[inside], atol=1e-5)


def test_frames_of_zeros_are_padding():
  """`encode` gives them to images that do not fill the frame."""
  encoder = SequenceEncoder((8, 8), width=16, layers=0, heads=2)
  features = np.ones((2, 3, 16), np.float32)
  features[1, 2] = 0
  columns = instances.plain_columns(features, encoder)
  assert columns.tolist() == [[2, 6, 10], [2, 6, -1]]
