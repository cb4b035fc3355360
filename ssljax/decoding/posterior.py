"""The probability of a text under CTC: the sum over all of its paths.

Graves et al., *Connectionist Temporal Classification*, ICML 2006, equations 6
to 11, in NumPy and float64. A text of L characters has 2 L + 1 states: the
blank before, between and behind its characters at the even places, and the
characters at the odd ones.

Each frame is divided by its largest probability, so that the best path weighs
1. float64 then holds the weight of every text but those that are 1e300 times
less probable than the best path, and such a text has the probability 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from ssljax.text import BLANK


class Frames(NamedTuple):
  """What a network says of each frame, as shares of the frame's best class.

  Attributes:
    weights: the probabilities, each over the largest of its frame.
    scale: the logarithm of the best path's probability.
  """

  weights: Float[np.ndarray, 'batch time classes']
  scale: Float[np.ndarray, 'batch']


def frames(
  logits: Num[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'] | None = None,
  *,
  temperature: float = 1.0,
) -> Frames:
  """The softmax of logits / temperature; frames of padding are surely blank."""
  weights = np.array(logits, np.float64)
  weights -= weights.max(axis=2, keepdims=True)
  np.exp(weights / temperature, out=weights)
  doubt = np.log(weights.sum(axis=2))
  if valid is not None:
    skipped = ~np.asarray(valid, bool)
    weights[skipped] = np.arange(weights.shape[2]) == BLANK
    doubt[skipped] = 0
  return Frames(weights, -doubt.sum(axis=1))


def log_posterior(
  found: Frames, labels: Int[np.ndarray, 'batch length']
) -> Float[np.ndarray, 'batch']:
  """log p(text): -inf for a text that the frames have no room for.

  Args:
    found: what the network says.
    labels: classes of each text, padded on the right with 0.
  """
  alphas = forward(found.weights, labels)
  with np.errstate(divide='ignore'):
    return np.log(ended(alphas, labels)) + found.scale


def ended(
  alphas: Float[np.ndarray, 'frames batch states'],
  labels: Int[np.ndarray, 'batch length'],
) -> Float[np.ndarray, 'batch']:
  """The weight of all paths of the whole text."""
  rows, last = np.arange(len(labels)), 2 * (labels != BLANK).sum(axis=1)
  behind = alphas[-1, rows, np.maximum(last - 1, 0)]
  return alphas[-1, rows, last] + np.where(last > 0, behind, 0)


def forward(
  weights: Float[np.ndarray, 'batch time classes'],
  labels: Int[np.ndarray, 'batch length'],
) -> Float[np.ndarray, 'frames batch states']:
  """The weight of all paths that are in a state behind so many frames.

  The first of the time + 1 frames is the one before the image, in which every
  path is in the first blank.
  """
  states = np.full((len(labels), 2 * labels.shape[1] + 1), BLANK)
  states[:, 1::2] = labels
  emitted = np.take_along_axis(weights, states[:, None, :], axis=2)
  # Unequal neighbours need no blank between them.
  skips = np.zeros(states.shape)
  skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
  alphas = np.zeros((weights.shape[1] + 1, *states.shape))
  alphas[0, :, 0] = 1
  for time, before in enumerate(alphas[:-1]):
    now = alphas[time + 1]
    now[:] = before
    now[:, 1:] += before[:, :-1]
    now[:, 2:] += skips[:, 2:] * before[:, :-2]
    now *= emitted[:, time]
  return alphas


def backward(
  weights: Float[np.ndarray, 'batch time classes'],
  labels: Int[np.ndarray, 'batch length'],
) -> Float[np.ndarray, 'frames batch states']:
  """The weight of all ways in which paths go on to the end of the text.

  At frame t, with t frames gone: the next frame is in the state. The last of
  the time + 1 frames is the one behind the image, in which a path has come to
  its end: in the blank behind the text.
  """
  lengths = (labels != BLANK).sum(axis=1)
  # A text that is read from right to left has the same paths. Its padding has
  # to stay on the right.
  places = lengths[:, None] - 1 - np.arange(labels.shape[1])
  turned = np.where(
    places >= 0,
    np.take_along_axis(labels, np.maximum(places, 0), axis=1),
    BLANK,
  )
  betas = forward(weights[:, ::-1], turned)[::-1]
  states = 2 * lengths[:, None] - np.arange(betas.shape[2])
  found = np.take_along_axis(betas, np.maximum(states, 0)[None], axis=2)
  return np.where(states >= 0, found, 0)
