"""Draws labelled subsets that are stratified, and nested in one another."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from ssljax.errors import UserError


def per_class(
  labels: Int[np.ndarray, 'n'],
  count: int,
  *,
  seed: int,
  classes: Sequence[str] = (),
) -> Int[np.ndarray, 'm']:
  """Draws `count` images of each class.

  The images are the first `count` in a shuffled order of their class. This
  order depends on the seed but not on `count`, so a smaller subset is contained
  in a larger one. Images without a label (-1) are never drawn.

  Args:
    labels: the class of each image, -1 for none.
    count: the number of images of each class.
    seed: the seed of the order.
    classes: the names of the classes, for messages.

  Returns:
    The positions of the drawn images, sorted.

  Raises:
    UserError: a class has fewer than `count` images, or none is labelled.
  """
  chosen = []
  for label, order in _orders(labels, seed):
    if len(order) < count or count < 1:
      name = repr(classes[label]) if classes else label
      fewer = f' by labels={len(order)} behind the colon' if len(order) else ''
      raise UserError(
        f'Found {len(order)} images of class {name} to learn from; expected at '
        f'least {max(1, count)} of each class. Add images of this class, leave '
        f'it out, or ask for fewer{fewer}.'
      )
    chosen.append(order[:count])
  return _sorted(chosen)


def share(
  labels: Int[np.ndarray, 'n'], fraction: float, *, seed: int
) -> Int[np.ndarray, 'm']:
  """Draws a share of the images of each class, at least one of each.

  The order of the images is that of `per_class`, so a smaller subset is
  contained in a larger one.

  Args:
    labels: the class of each image, -1 for none.
    fraction: the share, above 0 and at most 1.
    seed: the seed of the order.

  Returns:
    The positions of the drawn images, sorted.

  Raises:
    UserError: `fraction` is not a share, or no image is labelled.
  """
  if not 0 < fraction <= 1:
    raise UserError(
      f'Found a share of {fraction}; expected above 0 and at most 1. Use 1 for '
      'all images.'
    )
  return _sorted(
    [
      order[: max(1, round(fraction * len(order)))]
      for _, order in _orders(labels, seed)
    ]
  )


def _orders(labels: np.ndarray, seed: int) -> Iterator[tuple[int, np.ndarray]]:
  """Yields (label, shuffled positions) for each class."""
  labels = np.asarray(labels)
  known = np.unique(labels[labels >= 0])
  if not len(known):
    raise UserError(
      'Found no image with a label; expected some of each class. Put the '
      'images of each class into a folder named after the class.'
    )
  for label in known:
    rng = np.random.default_rng((seed, int(label)))
    yield label, rng.permutation(np.flatnonzero(labels == label))


def _sorted(parts: Sequence[np.ndarray]) -> np.ndarray:
  return np.sort(np.concatenate(parts))
