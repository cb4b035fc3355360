"""The probability of a text under CTC: the sum over all of its paths.

Graves et al., *Connectionist Temporal Classification*, ICML 2006, equations 6
to 11, in NumPy and float64. A text of L characters has 2 L + 1 states: the
blank before, between and behind its characters at the even places, and the
characters at the odd ones.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from ssljax.text import BLANK


def log_probabilities(
  logits: Num[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'] | None = None,
  *,
  temperature: float = 1.0,
) -> Float[np.ndarray, 'batch time classes']:
  """float64 log-probabilities; a frame that is not valid is surely blank."""
  values = np.array(logits, np.float64)
  values /= temperature
  values -= values.max(axis=2, keepdims=True)
  values -= np.log(np.exp(values).sum(axis=2, keepdims=True))
  if valid is not None:
    skipped = ~np.asarray(valid, bool)
    values[skipped] = -np.inf
    values[skipped, BLANK] = 0
  return values


def log_posterior(
  odds: Float[np.ndarray, 'batch time classes'],
  labels: Int[np.ndarray, 'batch length'],
) -> Float[np.ndarray, 'batch']:
  """log p(text): -inf for a text that the frames have no room for.

  Args:
    odds: log-probabilities of each frame.
    labels: classes of each text, padded on the right with 0.
  """
  batch, time, _ = odds.shape
  states = _states(labels)
  last = 2 * (labels != BLANK).sum(axis=1)
  rows = np.arange(batch)
  if not time:
    return np.where(last == 0, 0.0, -np.inf)
  alphas = _forward(_emitted(odds, states), _skips(states))[-1]
  before = np.where(last, alphas[rows, last - 1], -np.inf)
  return np.logaddexp(alphas[rows, last], before)


def _states(labels: np.ndarray) -> np.ndarray:
  """The class of each state: a blank around every character."""
  states = np.full((len(labels), 2 * labels.shape[1] + 1), BLANK)
  states[:, 1::2] = labels
  return states


def _emitted(odds: np.ndarray, states: np.ndarray) -> np.ndarray:
  """(time, batch, states): the log-probability of each state's class."""
  found = np.take_along_axis(odds, states[:, None, :], axis=2)
  return np.ascontiguousarray(found.swapaxes(0, 1))


def _skips(states: np.ndarray) -> np.ndarray:
  """Which states may follow the state two places before, without a blank."""
  allowed = np.zeros(states.shape, bool)
  allowed[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
  return allowed


def _forward(emitted: np.ndarray, skips: np.ndarray) -> np.ndarray:
  """log alpha (time, batch, states): paths that end in a state at a frame."""
  alphas = np.full_like(emitted, -np.inf)
  alphas[0, :, :2] = emitted[0, :, :2]
  for time in range(1, len(emitted)):
    before, now = alphas[time - 1], alphas[time]
    now[:] = before
    now[:, 1:] = np.logaddexp(now[:, 1:], before[:, :-1])
    two = np.where(skips[:, 2:], before[:, :-2], -np.inf)
    now[:, 2:] = np.logaddexp(now[:, 2:], two)
    now += emitted[time]
  return alphas
