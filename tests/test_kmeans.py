"""k-means against planted clusters and a NumPy reference; whitening."""

import jax
import numpy as np
import pytest

from ssljax.clustering import kmeans, kmeans_flops, perplexity, whiten


def _unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _planted(clusters=5, each=40, d=8, spread=0.05, seed=0):
  """Unit rows around random directions, and which one each is around."""
  rng = np.random.default_rng(seed)
  centres = _unit(rng.normal(size=(clusters, d)))
  labels = np.repeat(np.arange(clusters), each)
  rows = centres[labels] + spread * rng.normal(size=(len(labels), d))
  return _unit(rows).astype(np.float32), labels


def _run(rows, clusters, *, weights=None, iterations=10, seed=0):
  weights = np.ones(len(rows)) if weights is None else weights
  return [
    np.asarray(x)
    for x in kmeans(
      jax.random.key(seed),
      rows,
      np.asarray(weights, np.float32),
      clusters=clusters,
      iterations=iterations,
    )
  ]


@pytest.mark.parametrize('seed', range(3))
def test_planted_clusters_are_found(seed):
  rows, labels = _planted()
  # Twice as many as there are: a planted one may be split, and none shared.
  centroids, found = _run(rows, 10, seed=seed)
  assert found.dtype == np.int32
  np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
  for cluster in np.unique(found):
    assert len(set(labels[found == cluster])) == 1


def test_an_iteration_against_numpy():
  """From the same start: nearest by cosine, then the mean direction."""
  rows, _ = _planted(spread=0.5)
  start, own = _run(rows, 4, iterations=0)
  np.testing.assert_array_equal(own, (rows @ start.T).argmax(1))
  expected = _unit(np.stack([rows[own == k].sum(0) for k in range(4)]))
  found, _ = _run(rows, 4, iterations=1)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('seed', range(3))
def test_empty_clusters_take_the_rows_that_fit_worst(seed):
  """Against NumPy, from a start where most of the clusters are doubles."""
  rows, _ = _planted(clusters=3, each=10, spread=0.5)
  rows = np.concatenate([np.repeat(rows[:1], 60, axis=0), rows])
  weights = np.ones(len(rows))
  # These fit worse than all others, and must not be taken.
  weights[-5:] = 0
  start, own = _run(rows, 6, weights=weights, iterations=0, seed=seed)
  rows[-5:] = _unit(-start.sum(axis=0, keepdims=True))
  shown = np.flatnonzero(weights)
  worst = shown[np.argsort((rows @ start.T).max(axis=1)[shown])]
  members = [rows[shown][own[shown] == k] for k in range(6)]
  empty = [k for k in range(6) if not len(members[k])]
  assert len(empty) > 1
  for k, row in zip(empty, rows[worst], strict=False):
    members[k] = row[None]
  expected = _unit(np.stack([each.sum(axis=0) for each in members]))
  found, _ = _run(rows, 6, weights=weights, iterations=1, seed=seed)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_cluster_has_rows():
  """Most starts are one place: doubles that go empty, and would stay so."""
  rows, _ = _planted(clusters=2, each=10, spread=0.2)
  rows = np.concatenate([np.repeat(rows[:1], 100, axis=0), rows])
  for seed in range(4):
    _, found = _run(rows, 8, seed=seed, iterations=20)
    assert len(np.unique(found)) == 8


def test_rows_without_weight_move_no_centroid():
  rows, _ = _planted()
  other = rows.copy()
  weights = np.arange(len(rows)) % 3 > 0
  other[weights == 0] = _unit(np.ones_like(rows))[weights == 0]
  a, _ = _run(rows, 5, weights=weights)
  b, found = _run(other, 5, weights=weights)
  np.testing.assert_array_equal(a, b)
  assert found.min() >= 0 and found.max() < 5


def test_the_key_decides_the_start():
  rows, _ = _planted(spread=0.8)
  a, b = _run(rows, 6, seed=1), _run(rows, 6, seed=1)
  np.testing.assert_array_equal(a[1], b[1])
  assert (_run(rows, 6, seed=2)[1] != a[1]).any()


def test_whitened_rows_vary_alike_in_all_directions():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
  rows = np.concatenate([rows, 1e3 * np.ones((5, 6))]).astype(np.float32)
  weights = np.arange(505) < 500
  found = np.asarray(whiten(rows, weights.astype(np.float32)))[:500]
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
  values = np.linalg.eigvalsh(np.cov(found.T))
  assert values.max() / values.min() < 1.6


def test_perplexity_counts_the_clusters_in_use():
  np.testing.assert_allclose(perplexity(np.ones(7)), 7, rtol=1e-6)
  np.testing.assert_allclose(perplexity(np.array([5.0, 0, 0])), 1, rtol=1e-6)
  np.testing.assert_allclose(perplexity(np.array([2.0, 2, 0])), 2, rtol=1e-6)


def test_the_flops_are_those_of_the_cosines():
  """As XLA counts them, which counts the body of a loop once only."""
  sizes = {'clusters': 64, 'iterations': 0}
  arguments = (jax.random.key(0), np.zeros((500, 128), np.float32))
  lowered = kmeans.lower(*arguments, np.ones(500, np.float32), **sizes)
  counted = lowered.cost_analysis()['flops']
  assert counted == pytest.approx(kmeans_flops(500, 128, **sizes), rel=0.05)
  one, six = (
    kmeans_flops(500, 128, clusters=64, iterations=count) for count in (0, 5)
  )
  assert six == 6 * one
