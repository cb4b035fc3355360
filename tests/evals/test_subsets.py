"""Labelled subsets: balanced, nested, the same for every encoder."""

import itertools

import numpy as np
import pytest

from ssljax import evals
from ssljax.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [8, 20, 92]))


def _counts(positions):
  assert len(np.unique(positions)) == len(positions)
  return np.bincount(LABELS[positions], minlength=3).tolist()


def test_counts():
  assert _counts(evals.per_class(LABELS, 5, seed=0)) == [5, 5, 5]
  assert _counts(evals.share(LABELS, 0.25, seed=0)) == [2, 5, 23]
  assert _counts(evals.share(LABELS, 0.01, seed=0)) == [1, 1, 1]
  assert _counts(evals.share(LABELS, 1.0, seed=0)) == [8, 20, 92]


def test_nested():
  for draw, amounts in (
    (evals.per_class, (1, 2, 5, 8)),
    (evals.share, (0.01, 0.05, 0.1, 0.33, 0.5, 1.0)),
  ):
    subsets = [set(draw(LABELS, x, seed=3).tolist()) for x in amounts]
    for small, large in itertools.pairwise(subsets):
      assert small < large


def test_the_seed_decides_and_nothing_else():
  first = evals.per_class(LABELS, 5, seed=0)
  np.testing.assert_array_equal(first, evals.per_class(LABELS, 5, seed=0))
  assert set(first) != set(evals.per_class(LABELS, 5, seed=1))
  # A subset of a class does not depend on which other classes there are.
  without = np.where(LABELS == 2, -1, LABELS)
  kept = first[LABELS[first] < 2]
  np.testing.assert_array_equal(kept, evals.per_class(without, 5, seed=0))


def test_every_image_has_its_turn():
  """Not always the first of a class."""
  drawn = [evals.per_class(LABELS, 4, seed=seed) for seed in range(40)]
  hits = np.bincount(np.concatenate(drawn), minlength=len(LABELS))
  assert (hits[LABELS == 0] > 8).all()  # 20 expected of each


def test_images_without_a_label_are_in_none():
  labels = np.array([-1, 0, -1, 1, 1])
  assert evals.share(labels, 1.0, seed=0).tolist() == [1, 3, 4]
  assert set(labels[evals.per_class(labels, 1, seed=0)]) == {0, 1}


def test_refusals():
  with pytest.raises(UserError, match=r'Found 8 images of class 0.* least 9'):
    evals.per_class(LABELS, 9, seed=0)
  for fraction in (0, -0.1, 1.1):
    with pytest.raises(UserError, match='share'):
      evals.share(LABELS, fraction, seed=0)
  with pytest.raises(UserError, match='no image with a label'):
    evals.share(np.full(3, -1), 0.5, seed=0)
  names = ('ape', 'bee', 'cat')
  with pytest.raises(UserError, match=r"8 images of class 'ape' .* least 9"):
    evals.per_class(LABELS, 9, seed=0, classes=names)
