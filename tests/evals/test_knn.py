"""kNN against the vote written out in float64."""

import sys

import numpy as np
import pytest

from ssljax import evals
from ssljax.errors import UserError

# By name: the package shows the function of that name.
module = sys.modules['ssljax.evals.knn']


def _images(count, seed, width=16):
  rng = np.random.default_rng(seed)
  labels = rng.integers(4, size=count)
  features = rng.normal(size=(count, width)) + labels[:, None] * 0.3
  # Lengths that differ: a vote by dot products would go to the longest.
  lengths = rng.uniform(0.1, 10, size=(count, 1))
  return (features * lengths).astype(np.float32), labels


def _reference(train, labels, test, classes, k, temperature):
  """One image at a time, weights of math.exp's own range by subtraction."""
  train, test = (
    rows.astype(np.float64)
    / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    for rows in (train, test)
  )
  found = []
  for row in test:
    cosines = train @ row
    near = np.argsort(-cosines)[:k]
    votes = np.zeros(classes)
    for place in near:
      votes[labels[place]] += np.exp(
        (cosines[place] - cosines[near[0]]) / temperature
      )
    found.append(votes.argmax())
  return np.array(found)


@pytest.mark.parametrize('temperature', (0.01, 0.1, 1.0))
@pytest.mark.parametrize('k', (1, 7, 60))
def test_against_the_vote_in_float64(k, temperature, monkeypatch):
  monkeypatch.setattr(module, 'BLOCK', 8)  # 21 images: a block is not full
  train, labels = _images(60, 0)
  test, _ = _images(21, 1)
  found = evals.knn(
    train, labels, test, classes=4, k=k, temperature=temperature
  )
  expected = _reference(train, labels, test, 4, k, temperature)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype.kind == 'i'


def test_a_near_neighbour_outvotes_two_far_ones():
  """And the reverse when it is warm: the weights are what decides."""
  angles = np.array([0.0, 1.2, 1.2])
  train = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
  labels, test = np.array([0, 1, 1]), np.array([[1, 0]], np.float32)
  for temperature, expected in ((0.1, 0), (10.0, 1)):
    found = evals.knn(
      train, labels, test, classes=2, k=3, temperature=temperature
    )
    assert found == [expected]


def test_a_cold_vote_stays_finite():
  """exp(0.96 / 0.005) is infinite in float32: a tie, which class 0 wins."""
  cosines = np.array([0.96, 0.99, 0.5])
  train = np.stack([cosines, np.sqrt(1 - cosines**2)], 1).astype(np.float32)
  test = np.array([[1, 0]], np.float32)
  found = evals.knn(
    train, np.arange(3), test, classes=3, k=3, temperature=0.005
  )
  assert found == [1]


def test_too_few_for_a_vote():
  train, labels = _images(5, 0)
  with pytest.raises(UserError, match=r'Found 5 images .* k = 6 .*5 or less'):
    evals.knn(train, labels, train, classes=4, k=6)
