"""Labelled subsets: stratified, and nested in one another."""

import numpy as np
from jaxtyping import Int

from ssljax.errors import UserError


def per_class(
  labels: Int[np.ndarray, 'n'], count: int, *, seed: int
) -> Int[np.ndarray, 'm']:
  """Positions of `count` images of each class, in order.

  The first of a shuffled order of each class, which depends on the seed alone,
  so that a smaller subset is contained in a larger one. Images without a label
  (-1) are in none.

  Raises:
    UserError: a class with fewer images.
  """
  chosen = []
  for label, order in _orders(labels, seed):
    if len(order) < count or count < 1:
      raise UserError(
        f'Found {len(order)} images of class {label}; expected at least {count}'
        ', and at least 1. Ask for fewer, or label more.'
      )
    chosen.append(order[:count])
  return _sorted(chosen)


def share(
  labels: Int[np.ndarray, 'n'], fraction: float, *, seed: int
) -> Int[np.ndarray, 'm']:
  """Positions of this share of each class, of each at least one; see above."""
  if not 0 < fraction <= 1:
    raise UserError(
      f'Found a share of {fraction}; expected above 0 and at most 1.'
    )
  return _sorted(
    [
      order[: max(1, round(fraction * len(order)))]
      for _, order in _orders(labels, seed)
    ]
  )


def _orders(labels, seed):
  """(label, shuffled positions) of each class."""
  labels = np.asarray(labels)
  known = np.unique(labels[labels >= 0])
  if not len(known):
    raise UserError(
      'Found no image with a label; expected some of each class. Put the '
      'images of each class into a folder of its name.'
    )
  for label in known:
    rng = np.random.default_rng((seed, int(label)))
    yield label, rng.permutation(np.flatnonzero(labels == label))


def _sorted(parts) -> np.ndarray:
  return np.sort(np.concatenate(parts))
