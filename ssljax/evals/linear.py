"""Linear probes: logistic regression on frozen features (scikit-learn's)."""

import functools
import warnings

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

# Inverse strengths of the L2 penalty, the strongest first.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 5
MANY = 500  # labels that are enough to choose by
LIMIT = 100  # iterations of a fit


def linear_probe(
  train: Float[np.ndarray, 'n d'],
  labels: Int[np.ndarray, 'n'],
  test: Float[np.ndarray, 'm d'],
  *,
  strengths=STRENGTHS,
  strength: float | None = None,
) -> tuple[Int[np.ndarray, 'm'], float]:
  """The class of each test image, and the strength that was chosen.

  Features are standardised by the training images. The penalty is chosen by
  stratified cross-validation among the training images alone, in as many folds
  as the rarest class has images, and 5 at most: with 5 labels a class a larger
  validation set would be labels that nobody has. Of more than `MANY` labels so
  many are drawn to choose by, and the penalty a label is kept. Of equals the
  stronger penalty is taken. Test images choose nothing. With `strength` nothing
  is chosen.
  """
  scaler = StandardScaler().fit(train)
  train, test = scaler.transform(train), scaler.transform(test)
  chosen = np.arange(len(labels))
  if len(labels) > MANY:
    chosen = np.random.default_rng(0).permutation(chosen)[:MANY]
  if strength is None:
    strength = _best(_rotated(train[chosen])[0], labels[chosen], strengths)
  train, basis = _rotated(train)
  if basis is not None:
    test = test @ basis
  probe = _fit(train, labels, strength * len(chosen) / len(labels))
  return probe.predict(test), strength


def _rotated(train):
  """Rows in a basis of what they span, and the basis; exact, and faster.

  With fewer rows than features a penalised fit has no weight outside.
  """
  if 2 * len(train) > train.shape[1]:
    return train, None
  basis, triangle = np.linalg.qr(train.T)
  return triangle.T, basis


def _best(train, labels, strengths) -> float:
  """The strength with the best accuracy over folds; the first of equals."""
  _, counts = np.unique(labels, return_counts=True)
  folds = min(FOLDS, counts.min())
  if folds < 2:
    return strengths[len(strengths) // 2]
  splits = list(StratifiedKFold(folds).split(train, labels))
  return max(strengths, key=functools.partial(_score, train, labels, splits))


def _score(train, labels, splits, strength: float) -> float:
  """Mean accuracy over held-out folds."""
  return float(
    np.mean(
      [
        _fit(train[fit], labels[fit], strength).score(train[held], labels[held])
        for fit, held in splits
      ]
    )
  )


def _fit(train, labels, strength: float) -> LogisticRegression:
  # A loose tolerance, and an end: the classes stop changing long before the
  # weights do.
  probe = LogisticRegression(C=strength, max_iter=LIMIT, tol=1e-3)
  # Products this small on several threads are all waiting: where the cores have
  # other work, a hundred times slower.
  with warnings.catch_warnings(), threadpool_limits(1):
    warnings.simplefilter('ignore', ConvergenceWarning)
    # One label a class is not a regression.
    warnings.filterwarnings('ignore', 'The number of unique classes')
    return probe.fit(train, labels)
