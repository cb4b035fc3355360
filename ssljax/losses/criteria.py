"""What it means to be right about a label: for strings, and for classes.

A `Criterion` compares a network's outputs with labels, and reads the label that
the outputs stand for. Training on labels needs the first, and training on the
network's own readings needs both.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ssljax.losses.pictures import classification
from ssljax.text import BLANK


class Criterion(NamedTuple):
  """How outputs and labels are compared.

  Attributes:
    values: `(logits, labels, shown) -> values, possible`. `values`, float32
      `(batch,)`, are the losses. `possible`, bool `(batch,)`, is False for an
      example that has no label, or one that its outputs can never express. The
      value of such an example means nothing.
    guess: `(logits, shown) -> labels, confidence`: the most probable label of
      each example and how sure it is, float32 `(batch,)` in [0, 1].
    widened: `(labels, others) -> labels`: labels that are at least as wide as
      the others, which mean what they meant.
    same: `(labels, labels) -> bool (batch,)`: which examples have equal labels.
    known: `labels -> bool (batch,)`: which examples have a label at all.
    counts: `(labels, classes) -> float32 (batch, classes)`: how often each
      class stands in each label; the blank never does.
  """

  values: Callable[..., tuple[Array, Array]]
  guess: Callable[..., tuple[Array, Array]]
  widened: Callable[[Array, Array], Array]
  same: Callable[[Array, Array], Array]
  known: Callable[[Array], Array]
  counts: Callable[[Array, int], Array]


def ctc_values(
  logits: Float[Array, 'b t c'],
  labels: Int[Array, 'b n'],
  shown: Bool[Array, 'b t'],
) -> tuple[Float[Array, 'b'], Bool[Array, 'b']]:
  """CTC (Graves et al., 2006): -log p(label), and which labels fit the frames.

  Args:
    logits: of each frame; class 0 is the blank.
    labels: classes, padded on the right with 0.
    shown: the frames that count; the others are skipped.
  """
  padding = labels == BLANK
  values = optax.ctc_loss(
    logits.astype(jnp.float32),
    1 - shown.astype(jnp.float32),
    labels,
    padding.astype(jnp.float32),
    blank_id=BLANK,
  )
  # If a label needs more frames than the image has, optax gives a finite loss
  # of about 1e5 with a meaningless gradient.
  repeats = (labels[:, 1:] == labels[:, :-1]) & ~padding[:, 1:]
  needed = (~padding).sum(axis=1) + repeats.sum(axis=1)
  return values, needed <= shown.sum(axis=1)


def ctc_guess(
  logits: Float[Array, 'b t c'], shown: Bool[Array, 'b t']
) -> tuple[Int[Array, 'b t'], Float[Array, 'b']]:
  """The best path, collapsed to a label of at most one class per frame.

  The confidence is the probability of the path, over the frames that count, for
  each character: the n-th root of it for n characters. The probability itself
  falls with every character, so next to no image would have a weight where few
  labels have taught the reader little. A reading without characters has the
  confidence 0, because no image is without text.
  """
  odds = jax.nn.log_softmax(logits.astype(jnp.float32))
  path = jnp.where(shown, odds.argmax(axis=2), BLANK)
  before = jnp.pad(path, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
  starts = (path != BLANK) & (path != before)
  # The n-th start of a row goes to place n. All other frames go to a place
  # behind the last one, which is cut off.
  time = path.shape[1]
  places = jnp.where(starts, starts.cumsum(axis=1) - 1, time)
  rows = jnp.arange(len(path))[:, None]
  labels = jnp.full((len(path), time + 1), BLANK).at[rows, places].set(path)
  doubt = jnp.where(shown, odds.max(axis=2), 0).sum(axis=1)
  count = starts.sum(axis=1)
  confidence = jnp.exp(doubt / jnp.maximum(count, 1))
  confidence = jnp.where(count > 0, confidence, 0)
  return labels[:, :time].astype(jnp.int32), confidence


def _widened(labels: Int[Array, 'b n'], others: Int[Array, 'b m']) -> Array:
  """Pads labels with blanks.

  No label is cut to the number of frames: a label that is too long for its
  image would become another one that fits.
  """
  missing = max(0, others.shape[1] - labels.shape[1])
  return jnp.pad(labels, ((0, 0), (0, missing)), constant_values=BLANK)


def _character_counts(
  labels: Int[Array, 'b n'], classes: int
) -> Float[Array, 'b c']:
  return jax.nn.one_hot(labels, classes).sum(axis=1).at[:, BLANK].set(0)


ctc = Criterion(
  values=ctc_values,
  guess=ctc_guess,
  widened=_widened,
  same=lambda a, b: (a == b).all(axis=-1),
  known=lambda labels: (labels != BLANK).any(axis=-1),
  counts=_character_counts,
)


def class_values(
  logits: Float[Array, 'b c'],
  labels: Int[Array, 'b'],
  shown: Bool[Array, 'b'] | None = None,
) -> tuple[Float[Array, 'b'], Bool[Array, 'b']]:
  """Softmax cross-entropy; a label of -1 marks an image without a label."""
  del shown
  values, _ = classification(logits, jnp.maximum(labels, 0))
  return values, labels >= 0


def class_guess(
  logits: Float[Array, 'b c'], shown: Bool[Array, 'b'] | None = None
) -> tuple[Int[Array, 'b'], Float[Array, 'b']]:
  """The most probable class, and its probability."""
  del shown
  odds = jax.nn.log_softmax(logits.astype(jnp.float32))
  return odds.argmax(axis=1).astype(jnp.int32), jnp.exp(odds.max(axis=1))


cross_entropy = Criterion(
  values=class_values,
  guess=class_guess,
  widened=lambda labels, others: labels,
  same=lambda a, b: a == b,
  known=lambda labels: labels >= 0,
  counts=jax.nn.one_hot,  # of a label of -1, zeros
)
