"""From a sequence of frames to the rows that a loss compares.

An instance map is `(features, columns) -> rows, weights`. `features` are
`(batch, time, d)`. `columns`, `(batch, time)`, hold the source x of each frame
in pixels, or -1 where the frame is padding. `rows` are `(batch * instances,
d)`. `weights`, `(batch * instances,)`, are 1 for a row that shows something and
0 otherwise. SeqCLR (arXiv 2012.10873, section 3.3) maps instances first and
projects them afterwards; here, as in the article, the instance map comes last.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Instances = Callable[
  [Float[Array, 'b t d'], Float[Array, 'b t']],
  tuple[Float[Array, 'n d'], Float[Array, 'n']],
]


def plain_columns(
  features: Float[Array, 'b *time d'], encoder: nn.Module
) -> Float[Array, 'b *time']:
  """The columns of images that no view has changed.

  Args:
    features: the encoder's features of the images; a frame of zeros is padding,
      see `SequenceEncoder`.
    encoder: a sequence encoder, whose `stride` is the number of pixels between
      two frames, or any encoder of single features.
  """
  if features.ndim == 2:
    return jnp.zeros(len(features))
  time = features.shape[1]
  columns = (jnp.arange(time) + 0.5) * encoder.stride
  return jnp.where((features != 0).any(axis=-1), columns, -1.0)


def _average(
  features: Float[Array, 'b t d'],
  columns: Float[Array, 'b t'],
  shares: Float[Array, '_b rows t'],
) -> tuple[Float[Array, 'n d'], Float[Array, 'n']]:
  """Weighted means over frames, as flat rows, and the total weight of each row.

  `shares` are the weights of the frames, `(batch or 1, rows, time)`; frames of
  padding get no weight.
  """
  shares = shares * (columns >= 0)[:, None, :]
  total = shares.sum(axis=-1)
  rows = jnp.einsum('brt,btd->brd', shares, features)
  rows = rows / jnp.maximum(total, 1e-6)[..., None]
  return rows.reshape(-1, features.shape[-1]), total.reshape(-1)


def _spans(
  features: Float[Array, 'b t d'],
  columns: Float[Array, 'b t'],
  starts: Float[Array, 'rows'],
  length: float,
  stride: float | None,
  whole: int,
) -> tuple[Float[Array, 'n d'], Float[Array, 'n']]:
  """Means over the spans [start, start + length) of a line.

  The line has `whole` frames; a view may show a window of it.
  """
  batch, time, _ = features.shape
  # A frame covers [left, left + 1). Where a span cuts a frame, the frame counts
  # with the part that lies inside the span.
  if stride is None:
    left = jnp.arange(time, dtype=jnp.float32)[None, None]
  else:
    left = columns[:, None] / stride - 0.5
  ends = (starts + length)[:, None]
  overlap = jnp.minimum(left + 1, ends) - jnp.maximum(left, starts[:, None])
  rows, covered = _average(features, columns, jnp.clip(overlap, 0, 1))
  # A span that reaches beyond either end of the line is complete when it covers
  # all the frames that it has inside the line.
  full = jnp.minimum(starts + length, whole) - jnp.maximum(starts, 0)
  # Half of a span is often covered exactly, by whole frames, and rounding would
  # then decide whether the row counts. Whole frames, and the shares of frames
  # that a view leaves in place, sum to multiples of 1 / rows, while half a span
  # is a multiple of 1 / (2 * rows). No sum lies a quarter of 1 / rows below it.
  enough = 0.5 * full - 0.25 / len(starts)
  weights = covered >= jnp.tile(enough, batch)
  return rows, weights.astype(jnp.float32)


def frames(
  pool: int = 5, *, stride: float | None = None, time: int | None = None
) -> Instances:
  """Averages of `pool` neighbouring frames: Keras `AvgPool1D(pool, 'same')`.

  Each image gives `ceil(time / pool)` rows. Padding is not counted, while
  flax's pooling counts it, and strides by 1, by default.

  Args:
    pool: frames per instance.
    stride: source pixels between two frames. If given, frames are pooled by the
      source x that they show. The rows of two views then match although one
      view is shifted or scaled; a row that is less than half covered has weight
      0. None pools by frame number, for views that are aligned.
    time: frames of the whole line, where a view may show a window of it; None
      takes the frames of the view.
  """

  def instances(features, columns):
    whole = time or features.shape[1]
    count = math.ceil(whole / pool)
    # Keras pads both ends evenly and puts an odd frame of padding at the end.
    first = -((count * pool - whole) // 2)
    starts = first + pool * jnp.arange(count, dtype=jnp.float32)
    return _spans(features, columns, starts, pool, stride, whole)

  return instances


def windows(
  count: int, *, stride: float | None = None, time: int | None = None
) -> Instances:
  """Averages over `count` equal windows of the line (SeqCLR's adaptive pool).

  Args:
    count: windows per image.
    stride: as in `frames`.
    time: as in `frames`.
  """

  def instances(features, columns):
    whole = time or features.shape[1]
    length = whole / count
    starts = length * jnp.arange(count, dtype=jnp.float32)
    return _spans(features, columns, starts, length, stride, whole)

  return instances


def whole() -> Instances:
  """One row per image, the mean over its frames."""

  def instances(features, columns):
    rows, covered = _average(features, columns, jnp.ones((1, 1, 1)))
    return rows, (covered > 0).astype(jnp.float32)

  return instances


def identity() -> Instances:
  """Every frame is a row; for views that are aligned."""

  def instances(features, columns):
    rows = features.reshape(-1, features.shape[-1])
    return rows, (columns >= 0).astype(jnp.float32).reshape(-1)

  return instances
