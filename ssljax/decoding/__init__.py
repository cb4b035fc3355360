"""From a network's outputs to texts: CTC, with the probability of each text.

`decode` reads the best path, or searches for the most probable texts, also
among those only that a `Constraint` allows.
"""

import numpy as np
from jaxtyping import Bool, Num

from ssljax.decoding import posterior
from ssljax.decoding.beam import search
from ssljax.decoding.characters import character_posteriors
from ssljax.decoding.constraints import Constraint, automaton, check
from ssljax.decoding.reading import Reading
from ssljax.errors import UserError
from ssljax.text import BLANK, Charset

__all__ = ['Constraint', 'Reading', 'check', 'decode']

ROWS = 256  # decoded at once


def decode(
  logits: Num[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'] | None,
  charset: Charset,
  *,
  top: int = 1,
  second: bool = False,
  constraint: Constraint | None = None,
  temperature: float = 1.0,
  beam: int = 16,
) -> list[Reading]:
  """Reads each row of logits.

  One text without a constraint is that of the best path, `Charset.greedy`.
  Otherwise a beam search finds the most probable texts. The confidence of a
  text is its probability under CTC, the sum over all of its paths; that of a
  character is its probability if all others are right (see
  `character_posteriors`). A constraint changes which text is chosen, but not
  how probable it is: a text that an image does not show stays improbable.

  Args:
    logits: a network's output before the softmax; any float dtype.
    valid: which frames show the image rather than padding; all by default.
    charset: the characters of the classes.
    top: how many texts to find for each row; there may be fewer.
    second: whether the text is that of the best path, and the alternatives hold
      it and the most probable other text; `top` does not count then.
    constraint: what the texts have to satisfy.
    temperature: the logits are divided by it; see `calibration`.
    beam: how many beginnings of texts the search keeps, at least `top`.

  Returns:
    A reading of each row. Where the frames have no room for any text that the
    constraint allows, the text is '' and its confidence 0.

  Raises:
    UserError: the constraint allows no text, or a number is out of range.
    ValueError: the shapes do not fit the charset or each other.
  """
  if top < 1 or beam < 1 or not temperature > 0:
    raise UserError(
      f'Found top={top}, beam={beam} and temperature={temperature}; expected '
      'numbers above 0.'
    )
  allowed = automaton(constraint, charset) if constraint else None
  logits = np.asarray(logits)
  found = []
  for start in range(0, len(logits), ROWS):
    part = logits[start : start + ROWS]
    shown = None if valid is None else np.asarray(valid)[start : start + ROWS]
    best = [text for text, _ in charset.greedy(part, shown)]  # checks shapes
    frames = posterior.frames(part, shown, temperature=temperature)
    labels, there = charset.padded(best)[:, None], np.ones((len(best), 1), bool)
    if second:
      others = _searched(frames, shown, None, 2, max(2, beam))
      labels, there = _beside(labels[:, 0], *others)
    elif top > 1 or allowed is not None:
      labels, there = _searched(frames, shown, allowed, top, max(top, beam))
    found += _readings(frames, labels, there, charset, top, second)
  return found


def _beside(best, labels, there):
  """(batch, 2, length): the texts `best`, and the best of two that is another.

  Args:
    best: (batch, length) classes.
    labels: (batch, 2, length) classes of the two.
    there: (batch, 2), which of them there are.
  """
  length = max(best.shape[1], labels.shape[2])
  best = np.pad(best, [(0, 0), (0, length - best.shape[1])])
  labels = np.pad(labels, [(0, 0), (0, 0), (0, length - labels.shape[2])])
  rows = np.arange(len(best))
  place = (labels[:, 0] == best).all(axis=1).astype(int)
  place = np.minimum(place, labels.shape[1] - 1)
  other = labels[rows, place]
  differs = there[rows, place] & (other != best).any(axis=1)
  return (
    np.stack([best, other], axis=1),
    np.stack([np.ones(len(best), bool), differs], axis=1),
  )


def _searched(frames, shown, allowed, top, width):
  """(batch, top, length) classes of the best texts, and which there are."""
  weights = frames.weights
  if shown is None:
    shown = np.ones(weights.shape[:2], bool)
  # How many frames behind each one can show something.
  left = shown[:, ::-1].cumsum(axis=1)[:, ::-1] - shown
  with np.errstate(divide='ignore'):
    labels, scores = search(np.log(weights), left, allowed, width=width)
  return labels[:, :top], np.isfinite(scores[:, :top])


def _readings(frames, labels, there, charset, top, second) -> list[Reading]:
  """The readings of (batch, top, length) labels, the most probable first.

  With `second` the first label is what was read, also if it is less probable.
  """
  length = (labels != BLANK).sum(axis=2).max(initial=0)
  labels = labels[:, :, :length]
  odds = np.stack(
    [
      posterior.log_posterior(frames, labels[:, place])
      for place in range(labels.shape[1])
    ],
    axis=1,
  )
  # The beam's own order where the probabilities are too small to differ.
  order = np.argsort(-np.where(there, odds, -np.inf), axis=1, kind='stable')
  labels = np.take_along_axis(labels, order[..., None], axis=1)
  odds = np.exp(np.take_along_axis(odds, order, axis=1)).clip(0, 1)
  odds[~there] = 0
  own = (order == 0).argmax(axis=1) if second else np.zeros(len(order), int)
  read = labels[np.arange(len(labels)), own]
  letters = character_posteriors(frames.weights, read)
  found = []
  for row, count in enumerate(there.sum(axis=1)):
    texts = [charset.decode(label) for label in labels[row, :count]]
    pairs = list(zip(texts, odds[row, :count], strict=True))
    text, confidence = pairs[own[row]] if pairs else ('', 0.0)
    parts = letters[row, : len(text)].tolist()
    found.append(
      Reading(text, confidence, parts, pairs if second or top > 1 else ())
    )
  return found
