"""How sure each character of a text is, given the characters around it."""

import numpy as np
from jaxtyping import Float, Int

from ssljax.decoding import posterior
from ssljax.text import BLANK

# A pair of arrays `(frames, batch, length)`: through the blank beside a
# character, and through the character beside it.
Pair = tuple[np.ndarray, np.ndarray]


def character_posteriors(
  weights: Float[np.ndarray, 'batch time classes'],
  labels: Int[np.ndarray, 'batch length'],
) -> Float[np.ndarray, 'batch length']:
  """p(text) over the sum of all texts that differ in this character alone.

  The other texts have another character in its place, or none. A character can
  therefore be sure in a text that is doubtful elsewhere. The sums are over all
  paths. Values behind the end of a text mean nothing.

  Args:
    weights: of each frame; see `posterior.Frames`.
    labels: classes of each text, padded on the right with 0.
  """
  if not labels.size:
    return np.zeros(labels.shape)
  lengths = (labels != BLANK).sum(axis=1)
  left = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
  right = np.pad(labels[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
  alphas = posterior.forward(weights, labels)
  betas = posterior.backward(weights, labels)
  none = np.zeros(alphas[..., :1].shape)
  before = alphas[..., :-1:2], np.concatenate([none, alphas[..., 1:-2:2]], -1)
  after = betas[..., 2::2], np.concatenate([betas[..., 3::2], none], -1)
  replaced = _replaced(weights, before, after, left, right)
  # Without the character, the one behind it comes next, or the end.
  blank, beside = before
  last = np.arange(labels.shape[1]) == lengths[:, None] - 1
  gone = ((blank + (left != right) * beside) * after[1]).sum(axis=0)
  gone += last * (blank[-1] + beside[-1])
  own = np.take_along_axis(replaced, labels[..., None], axis=2)[..., 0]
  whole = replaced.sum(axis=2) + gone
  return np.divide(own, whole, out=np.zeros(own.shape), where=whole > 0)


def _replaced(weights, before: Pair, after: Pair, left, right) -> np.ndarray:
  """(batch, length, classes): the weight of the text with each character."""
  classes = np.arange(weights.shape[2])
  # Between equal neighbours there has to be a blank; no character is one.
  from_left = (classes != left[..., None]) * 1.0
  to_right = (classes != right[..., None]) * 1.0
  here, total = np.zeros(from_left.shape), np.zeros(from_left.shape)
  for time in range(weights.shape[1]):
    here += before[0][time, ..., None]
    here += from_left * before[1][time, ..., None]
    here *= weights[:, time, None]
    total += here * (
      after[0][time + 1, ..., None] + to_right * after[1][time + 1, ..., None]
    )
  total[..., BLANK] = 0
  return total
