"""Linear probes: logistic regression on frozen features (scikit-learn's)."""

import functools

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

# Inverse strengths of the L2 penalty, the strongest first.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 5
MANY = 1000  # labels of which one fold is enough to choose by
LIMIT = 100  # iterations of a fit


def linear_probe(
  train: Float[np.ndarray, 'n d'],
  labels: Int[np.ndarray, 'n'],
  test: Float[np.ndarray, 'm d'],
  *,
  strengths=STRENGTHS,
) -> tuple[Int[np.ndarray, 'm'], float]:
  """The class of each test image, and the strength that was chosen.

  Features are standardised by the training images. The penalty is chosen by
  stratified cross-validation among the training images alone, in as many folds
  as the rarest class has images, and 5 at most: with 5 labels a class a larger
  validation set would be labels that nobody has. With more than `MANY` labels
  the first fold decides alone. Of equals the stronger penalty is taken. Test
  images choose nothing.
  """
  scaler = StandardScaler().fit(train)
  train, test = scaler.transform(train), scaler.transform(test)
  _, counts = np.unique(labels, return_counts=True)
  folds = min(FOLDS, counts.min())
  chosen = strengths[len(strengths) // 2]
  if folds > 1:
    splits = list(StratifiedKFold(folds).split(train, labels))
    splits = splits[: 1 if len(labels) > MANY else folds]
    chosen = max(
      strengths, key=functools.partial(_score, train, labels, splits)
    )
  return _fit(train, labels, chosen).predict(test), chosen


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
  # A loose tolerance: the classes stop changing long before the weights do.
  probe = LogisticRegression(C=strength, max_iter=LIMIT, tol=1e-3)
  return probe.fit(train, labels)
