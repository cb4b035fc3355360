"""Linear probes: scikit-learn's logistic regression on frozen features."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

# Candidates for scikit-learn's C, the inverse of the strength of the L2
# penalty; the first one gives the strongest penalty.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 5
MANY = 500  # the most labels by which the penalty is chosen
LIMIT = 100  # the most iterations of a fit


def linear_probe(
  train: Float[np.ndarray, 'n d'],
  labels: Int[np.ndarray, 'n'],
  test: Float[np.ndarray, 'm d'],
  *,
  strengths: Sequence[float] = STRENGTHS,
  strength: float | None = None,
) -> tuple[Int[np.ndarray, 'm'], float]:
  """Fits a linear classifier to the training images and classifies test images.

  All features are standardised with the mean and the deviation of the training
  images.

  The penalty is chosen by stratified cross-validation on the training images
  alone, and the test images have no part in the choice. There are as many folds
  as the rarest class has images, but at most 5: with 5 labels a class, a
  separate validation set would need labels that nobody has. If there are more
  than `MANY` labels, the penalty is chosen on `MANY` of them, drawn at random,
  and then scaled so that the penalty per label stays the same. Among strengths
  of equal accuracy the strongest penalty is taken.

  Args:
    train: the features of the training images.
    labels: the class of each training image.
    test: the features of the test images.
    strengths: the candidates for scikit-learn's C, the inverse of the strength
      of the penalty; the strongest penalty comes first.
    strength: the C to use; by default it is chosen among `strengths`.

  Returns:
    The class of each test image, and the C that was chosen or given.
  """
  # scikit-learn is imported where it is used, because it takes as long as the
  # rest of the package, and reading with a trained run does without it.
  from sklearn.preprocessing import StandardScaler

  scaler = StandardScaler().fit(train)
  train = np.asarray(scaler.transform(train))
  test = np.asarray(scaler.transform(test))
  chosen = np.arange(len(labels))
  if len(labels) > MANY:
    chosen = np.random.default_rng(0).permutation(chosen)[:MANY]
  if strength is None:
    strength = _best(_rotated(train[chosen])[0], labels[chosen], strengths)
  train, basis = _rotated(train)
  if basis is not None:
    test = test @ basis
  probe = _fit(train, labels, strength * len(chosen) / len(labels))
  return np.asarray(probe.predict(test)), strength


def _rotated(train: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
  """Expresses the rows in a basis of the space that they span.

  This makes a fit faster if there are few rows, and leaves its result exact:
  the weights of a penalised fit lie in this space.

  Returns:
    The rows and the basis; with many rows the same rows and None.
  """
  if 2 * len(train) > train.shape[1]:
    return train, None
  basis, triangle = np.linalg.qr(train.T)
  return triangle.T, basis


def _best(
  train: np.ndarray, labels: np.ndarray, strengths: Sequence[float]
) -> float:
  """The strength with the best mean accuracy; among equals, the first."""
  from sklearn.model_selection import StratifiedKFold

  _, counts = np.unique(labels, return_counts=True)
  folds = min(FOLDS, counts.min())
  if folds < 2:
    return strengths[len(strengths) // 2]
  splits = list(StratifiedKFold(folds).split(train, labels))
  return max(strengths, key=functools.partial(_score, train, labels, splits))


def _score(
  train: np.ndarray,
  labels: np.ndarray,
  splits: Sequence[tuple[np.ndarray, np.ndarray]],
  strength: float,
) -> float:
  """The mean accuracy over the held-out folds."""
  return float(
    np.mean(
      [
        _fit(train[fit], labels[fit], strength).score(train[held], labels[held])
        for fit, held in splits
      ]
    )
  )


def _fit(train: np.ndarray, labels: np.ndarray, strength: float) -> Any:
  """A fitted `LogisticRegression`."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  # The tolerance is loose and the iterations are limited, because the
  # predicted classes stop changing long before the weights do.
  probe = LogisticRegression(C=strength, max_iter=LIMIT, tol=1e-3)
  # On several threads, products this small spend their time waiting: a hundred
  # times slower if the cores have other work.
  with warnings.catch_warnings(), threadpool_limits(1):
    warnings.simplefilter('ignore', ConvergenceWarning)
    # scikit-learn takes one label per class for a mistaken regression.
    warnings.filterwarnings('ignore', 'The number of unique classes')
    return probe.fit(train, labels)
