"""CTC: its loss against a sum over all paths, and against the decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import all_paths
from flax import linen as nn

from ssljax.evals import reading
from ssljax.methods.recognize import recognize
from ssljax.text import Charset, frames_needed

CHARSET = Charset('abc')
FRAMES, LENGTH, STRIDE = 5, 4, 2


class Encoder(nn.Module):
  """A frame's features are the first channel of one of its pixel columns."""

  stride: int = STRIDE

  @nn.compact
  def __call__(self, images, *, train=False, mask=None):
    scale = self.param('scale', nn.initializers.ones, ())
    return scale * images[:, :, :: self.stride, 0].swapaxes(1, 2)


class Head(nn.Module):
  """Logits that are these features, `sharpness` times."""

  sharpness: float

  @nn.compact
  def __call__(self, features, *, train=False, mask=None):
    bias = self.param('bias', nn.initializers.zeros, ())
    return self.sharpness * features + bias


def _images(frames):
  """uint8 `(batch, classes, width, 3)` of `(batch, time, classes)` features."""
  columns = frames.repeat(STRIDE, 1).swapaxes(1, 2)
  return np.repeat(columns[..., None], 3, -1).astype(np.uint8)


def _labels(texts):
  return np.stack([CHARSET.encode(text, LENGTH) for text in texts])


def _method(sharpness, views=None):
  method = recognize(Encoder(), Head(sharpness), views=views)
  params = {'encoder': {'scale': 1.0}, 'head': {'bias': 0.0}}

  @jax.jit
  def loss(batch):
    state = {'batch_stats': {'encoder': {}, 'head': {}}}
    value, (_, metrics) = method.loss(
      params, state, batch, jax.random.key(0), 0
    )
    return value, metrics['infeasible']

  state = {'batch_stats': {}}
  return loss, functools.partial(method.predict, params, state)


TEXTS = ('a', 'ab', 'cc', 'abca', 'cba', 'bb', 'c', 'abc')
WIDTHS = np.array([10, 9, 8, 9, 7, 6, 1, 5], np.int32)
SHOWN = np.array([5, 5, 4, 5, 4, 3, 1, 3])
ROWS = {
  'image': _images(
    np.random.default_rng(0).integers(
      0, 256, (len(TEXTS), FRAMES, CHARSET.classes)
    )
  ),
  'index': np.arange(len(TEXTS), dtype=np.int32),
  'label': _labels(TEXTS),
  'width': WIDTHS,
}


def _row(row):
  return {key: values[row : row + 1] for key, values in ROWS.items()}


def _reference(row, shown):
  """By the frames that are shown: how many, or which."""
  if np.ndim(shown) == 0:
    shown = np.arange(FRAMES) < shown
  logits = 3 * (ROWS['image'][row, :, ::STRIDE, 0].T / 127.5 - 1)
  label = [CHARSET.characters.index(c) + 1 for c in TEXTS[row]]
  return all_paths(logits[shown], label)


def test_the_loss_is_that_of_all_paths():
  """Short and full labels, doubled letters, frames with padding and without."""
  loss, _ = _method(3.0)
  expected = [_reference(row, shown) for row, shown in enumerate(SHOWN)]
  for row, value in enumerate(expected):
    np.testing.assert_allclose(loss(_row(row))[0], value, rtol=1e-4)
  np.testing.assert_allclose(loss(ROWS)[0], np.mean(expected), rtol=1e-4)


def test_without_widths_every_frame_is_read():
  loss, _ = _method(3.0)
  for row in range(len(TEXTS)):
    batch = _row(row)
    del batch['width']
    np.testing.assert_allclose(
      loss(batch)[0], _reference(row, FRAMES), rtol=1e-4
    )


@pytest.mark.parametrize(
  'shown', [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4], [0, 2, 3, 4]]
)
def test_the_frames_of_a_view_are_those_with_columns(shown):
  """Padding may lie on the right, and on the left of a view that is moved."""

  def views(key, images, index, widths):
    del key, index, widths
    place = jnp.arange(FRAMES)
    columns = jnp.where(jnp.isin(place, jnp.array(shown)), place, -1.0)
    images = images.astype(jnp.float32) / 127.5 - 1
    return ((images, jnp.tile(columns, (len(images), 1))),)

  loss, _ = _method(3.0, views)
  for row, text in enumerate(TEXTS):
    value, infeasible = loss(_row(row))
    assert infeasible == (frames_needed(text) > len(shown))
    if not infeasible:
      expected = _reference(row, np.array(shown))
      np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_a_label_without_a_path_is_left_out():
  """Two equal letters need three frames, and four others need four."""
  loss, _ = _method(3.0)
  for text, needed in (('a', 1), ('ab', 2), ('bb', 3), ('abca', 4), ('aab', 4)):
    for shown in range(1, FRAMES + 1):
      batch = _row(0) | {
        'label': _labels([text]),
        'width': np.int32([STRIDE * shown]),
      }
      value, infeasible = loss(batch)
      assert infeasible == (shown < needed)
      assert (value == 0) == (shown < needed)


# Paths of as many classes as there are frames to show; what follows is padding.
PATHS = {
  'a': ([1], [1, 1], [0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0, 1]),
  'ab': ([1, 2], [1, 0, 2], [1, 1, 1, 2], [0, 1, 1, 0, 2]),
  'cc': ([3, 0, 3], [3, 0, 0, 3], [0, 3, 0, 3, 3]),
  'abc': ([1, 2, 3], [1, 0, 2, 3], [1, 1, 2, 2, 3]),
  'bcab': ([2, 3, 1, 2], [2, 3, 0, 1, 2]),
}
CERTAIN = [(text, path) for text, paths in PATHS.items() for path in paths]


@pytest.mark.parametrize('behind', range(CHARSET.classes))
def test_what_the_loss_asks_for_is_what_the_decoder_reads(behind):
  """One blank, one padding of labels, and one end of an image for both.

  Logits are certain of one path. Frames of padding are as certain of the class
  `behind`, so that one frame too many changes a text, as one too few does.
  """
  loss, predict = _method(40.0)
  frames = np.zeros((len(CERTAIN), FRAMES, CHARSET.classes))
  for row, (_, path) in zip(frames, CERTAIN, strict=True):
    padded = [*path, *[behind] * (FRAMES - len(path))]
    row[np.arange(FRAMES), padded] = 255
  texts = [text for text, _ in CERTAIN]
  shown = np.array([len(path) for _, path in CERTAIN])
  # The widest and the narrowest images of so many frames.
  for width in (shown * STRIDE, shown * STRIDE - STRIDE + 1):
    batch = {
      'image': _images(frames),
      'index': np.arange(len(texts), dtype=np.int32),
      'label': _labels(texts),
      'width': width.astype(np.int32),
    }
    value, infeasible = loss(batch)
    assert infeasible == 0
    np.testing.assert_allclose(value, 0, atol=1e-5)
    batch |= {
      'text': texts,
      'layout': np.zeros(len(texts)),
      'valid': np.ones(len(texts), bool),
    }
    found, _, _ = reading.read(predict, [batch], CHARSET)
    assert [reading.text for reading in found] == texts
