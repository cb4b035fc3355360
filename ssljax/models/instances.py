"""From a sequence of frames to the rows that a loss compares.

An instance map is `(features, columns) -> rows, weights`: features `(batch,
time, d)`, the source x of every frame `(batch, time)` in pixels (-1 where the
frame is padding), rows `(batch * instances, d)` and weights `(batch *
instances,)`, 1 for a row that shows something and 0 for one that does not.
SeqCLR (arXiv 2012.10873, section 3.3) maps features and then projects; here,
as in the article, the map comes last.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Instances = Callable[
  [Float[Array, 'b t d'], Float[Array, 'b t']],
  tuple[Float[Array, 'n d'], Float[Array, 'n']],
]


def plain_columns(
  features: Float[Array, 'b *time d'], encoder
) -> Float[Array, 'b *time']:
  """The columns of images as they are: an image's frames follow its pixels."""
  if features.ndim == 2:
    return jnp.zeros(len(features))
  time = features.shape[1]
  columns = (jnp.arange(time) + 0.5) * encoder.stride
  return jnp.broadcast_to(columns, features.shape[:2])


def _average(features, columns, shares) -> tuple[Array, Array]:
  """Flat means over frames by `shares` (batch or 1, rows, time); their sum."""
  shares = shares * (columns >= 0)[:, None, :]
  total = shares.sum(axis=-1)
  rows = jnp.einsum('brt,btd->brd', shares, features)
  rows = rows / jnp.maximum(total, 1e-6)[..., None]
  return rows.reshape(-1, features.shape[-1]), total.reshape(-1)


def _spans(
  features, columns, starts, length, stride, whole
) -> tuple[Array, Array]:
  """Means over the spans [start, start + length), in frames of `whole`."""
  batch, time, _ = features.shape
  # A frame covers [left, left + 1); one that a span cuts is shared by area.
  if stride is None:
    left = jnp.arange(time, dtype=jnp.float32)[None, None]
  else:
    left = columns[:, None] / stride - 0.5
  ends = (starts + length)[:, None]
  overlap = jnp.minimum(left + 1, ends) - jnp.maximum(left, starts[:, None])
  rows, covered = _average(features, columns, jnp.clip(overlap, 0, 1))
  # The padded spans at either end are whole when all their real frames are.
  full = jnp.minimum(starts + length, whole) - jnp.maximum(starts, 0)
  weights = covered >= 0.5 * jnp.tile(full, batch)
  return rows, weights.astype(jnp.float32)


def frames(
  pool: int = 5, *, stride: float | None = None, time: int | None = None
) -> Instances:
  """Averages of `pool` neighbouring frames: Keras `AvgPool1D(pool, 'same')`.

  `ceil(time / pool)` rows an image; padding is not counted (the flax default
  strides by 1 and counts it).

  Args:
    pool: frames of an instance.
    stride: source pixels between two frames. Given, frames are pooled by the
      source x they show, so rows of two views match although one is shifted
      or scaled against the other; a row less than half covered has weight 0.
      None pools by frame number, for views that are aligned.
    time: frames of the whole line, where a view may show a window of it; those
      of the view if None.
  """

  def instances(features, columns):
    whole = time or features.shape[1]
    count = math.ceil(whole / pool)
    # Keras pads evenly and puts the odd frame at the end.
    first = -((count * pool - whole) // 2)
    starts = first + pool * jnp.arange(count, dtype=jnp.float32)
    return _spans(features, columns, starts, pool, stride, whole)

  return instances


def windows(
  count: int, *, stride: float | None = None, time: int | None = None
) -> Instances:
  """Averages over `count` equal windows of the line (SeqCLR's adaptive pool).

  Args:
    count: windows of an image.
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
  """One row an image: the mean over its frames."""

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
