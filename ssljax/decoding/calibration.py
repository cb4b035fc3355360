"""Whether confidences mean what they say, and the temperature that helps.

Temperature scaling (Guo et al., *On Calibration of Modern Neural Networks*,
arXiv 1706.04599) divides the logits by one number. It changes how sure a
network is of its texts, and hardly which text it reads.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy.optimize import minimize_scalar

from ssljax.decoding import posterior
from ssljax.text import Charset

# The logarithm of the temperature has a normal prior with the mean 0 and the
# logarithm of this as deviation, so that a few labels do not choose a far one.
SPREAD = 1.6
BOUNDS = (0.2, 5.0)
SHARES = (1.0, 0.95, 0.9, 0.8, 0.5)


def fit_temperature(
  logits: Num[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'] | None,
  labels: Sequence[str],
  charset: Charset,
  *,
  least: float = BOUNDS[0],
) -> float:
  """The temperature at which the confidences best predict what is read right.

  It minimises the sum of -log(p), where p is the confidence of a text that
  equals its label, and 1 minus the confidence of every other text.

  Args:
    logits: of images that the network did not learn from.
    valid: which frames count; all by default.
    labels: what the images show.
    charset: the characters of the classes.
    least: the lowest temperature to choose.
  """
  texts = [text for text, _ in charset.greedy(logits, valid)]
  right = np.array(texts) == np.array(labels)
  classes = charset.padded(texts)

  def cost(scale: float) -> float:
    found = posterior.frames(logits, valid, temperature=float(np.exp(scale)))
    odds = np.exp(posterior.log_posterior(found, classes)).clip(1e-6, 1 - 1e-6)
    values = np.where(right, np.log(odds), np.log(1 - odds))
    return -values.sum() + (scale / np.log(SPREAD)) ** 2 / 2

  bounds = np.log([max(least, BOUNDS[0]), BOUNDS[1]])
  found = minimize_scalar(
    cost, bounds=bounds, method='bounded', options={'xatol': 1e-3}
  )
  return float(np.exp(found.x))


def expected_calibration_error(
  confidence: Float[np.ndarray, 'samples'],
  right: Bool[np.ndarray, 'samples'],
  *,
  bins: int = 10,
) -> float:
  """The mean distance between confidence and accuracy (Naeini et al., 2015).

  The samples are sorted by confidence and divided into bins of equal numbers
  of samples, because most confidences lie in few bins of equal width. The
  distance in each bin is that of the two means.
  """
  order = np.argsort(confidence, kind='stable')
  gaps = (np.asarray(confidence) - np.asarray(right, float))[order]
  parts = np.array_split(gaps, min(bins, len(gaps)))
  return float(sum(abs(part.sum()) for part in parts) / len(gaps))


def coverage(
  confidence: Float[np.ndarray, 'samples'],
  right: Bool[np.ndarray, 'samples'],
  *,
  shares: Sequence[float] = SHARES,
) -> list[float]:
  """The exact match among the most confident share of the samples, each."""
  order = np.argsort(-np.asarray(confidence), kind='stable')
  ranked = np.asarray(right, float)[order]
  counts = [max(1, round(share * len(ranked))) for share in shares]
  return [float(ranked[:count].mean()) for count in counts]
