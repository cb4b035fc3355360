"""How far features spread, against float64 NumPy."""

import numpy as np
import pytest

from ssljax import losses

IMAGES, TIME, D = 7, 5, 6


def _features(*, images, positions, both, seed=0):
  """Features that differ so much by image, by position, and by both.

  Dimensions have scales of their own and rows their own lengths, so that
  nothing but the definition gives the figures.
  """
  rng = np.random.default_rng(seed)
  rows = (
    1.0
    + images * rng.normal(size=(IMAGES, 1, D))
    + positions * rng.normal(size=(1, TIME, D))
    + both * rng.normal(size=(IMAGES, TIME, D))
  )
  lengths = rng.uniform(0.1, 10, size=(IMAGES, TIME, 1))
  return rows * np.linspace(0.3, 2, D) * lengths


def _deviation(rows):
  """The standard deviation (biased) of each dimension, averaged."""
  mean = sum(rows) / len(rows)
  variance = sum((row - mean) ** 2 for row in rows) / len(rows)
  return np.mean(np.sqrt(variance))


def _reference(features):
  """Row by row, in float64."""
  d = features.shape[-1]
  unit = np.empty_like(features)
  for place in np.ndindex(features.shape[:-1]):
    unit[place] = features[place] / np.sqrt(np.sum(features[place] ** 2))
  unit *= np.sqrt(d)  # 1 for rows that are even over the sphere
  rows = [unit[place] for place in np.ndindex(unit.shape[:-1])]
  values = np.linalg.eigvalsh(np.cov(np.array(rows).T, bias=True))
  found = {
    'std': _deviation(rows),
    'effective_rank': values.sum() ** 2 / np.sum(values**2),
  }
  if features.ndim == 3:
    images, time, _ = features.shape
    found['std_across_images'] = np.mean(
      [_deviation([unit[i, t] for i in range(images)]) for t in range(time)]
    )
    found['std_across_positions'] = np.mean(
      [_deviation([unit[i, t] for t in range(time)]) for i in range(images)]
    )
  return found


@pytest.mark.parametrize(
  'parts', [(1.5, 0.7, 0.3), (0.3, 1.0, 0.8), (1.0, 0.3, 0.8)]
)
def test_each_deviation_is_its_own_definition(parts):
  features = _features(
    **dict(zip(('images', 'positions', 'both'), parts, strict=True))
  )
  expected = _reference(features)
  stds = [expected[key] for key in expected if key.startswith('std')]
  # No figure can stand in for another, nor one of rows that are not unit rows.
  assert len(stds) == 3 and np.diff(sorted(stds)).min() > 0.05
  found = losses.feature_spread(features.astype(np.float32))
  assert set(found) == set(expected)
  for key, value in expected.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


def _masked_reference(features, mask):
  """The definitions over shown rows alone, in float64."""
  d = features.shape[-1]
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True) * d**0.5
  rows = unit[mask]
  values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
  found = {
    'std': _deviation(rows),
    'effective_rank': values.sum() ** 2 / np.sum(values**2),
  }
  groups = {
    'std_across_images': [unit[mask[:, t], t] for t in range(TIME)],
    'std_across_positions': [unit[i, mask[i]] for i in range(IMAGES)],
  }
  for name, each in groups.items():
    each = [group for group in each if len(group)]
    found[name] = np.average(
      [_deviation(group) for group in each], weights=[len(x) for x in each]
    )
  return found


def test_frames_of_padding_do_not_count():
  """Also a position that no image shows, and an image that shows nothing."""
  features = _features(images=1.0, positions=0.5, both=0.5)
  mask = np.random.default_rng(2).random((IMAGES, TIME)) < 0.7
  mask[:, 1] = mask[2] = False
  expected = _masked_reference(features, mask)
  features[~mask] = 0
  found = losses.feature_spread(features.astype(np.float32), mask)
  assert set(found) == set(expected)
  for key, value in expected.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)
  rows = losses.feature_spread(features[mask].astype(np.float32))
  for key, value in rows.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


def test_the_spread_of_nothing_is_0():
  found = losses.feature_spread(
    np.ones((2, 3, 4), np.float32), np.zeros((2, 3), bool)
  )
  assert {float(value) for value in found.values()} == {0.0}


def test_images_without_positions_have_one_deviation():
  features = _features(images=1.0, positions=0.0, both=0.5)[:, 0]
  expected = _reference(features)
  found = losses.feature_spread(features.astype(np.float32))
  assert set(found) == set(expected) == {'std', 'effective_rank'}
  for key, value in expected.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


def test_the_length_of_a_feature_is_no_spread():
  features = _features(images=1.0, positions=0.5, both=0.5)
  lengths = np.random.default_rng(1).uniform(0.1, 10, (IMAGES, TIME, 1))
  found, same = (
    losses.feature_spread(each.astype(np.float32))
    for each in (features, features * lengths)
  )
  for key, value in found.items():
    np.testing.assert_allclose(same[key], value, rtol=1e-4, err_msg=key)


def test_features_that_tell_only_the_position_show_in_one_figure():
  """The flattened deviation is no evidence on sequences (rule 29)."""
  rng = np.random.default_rng(0)
  positions = rng.normal(size=(1, 64, 32))
  features = np.broadcast_to(positions, (8, 64, 32)).astype(np.float32)
  found = losses.feature_spread(features)
  assert found['std'] > 0.9 and found['std_across_positions'] > 0.9
  assert found['std_across_images'] < 1e-3
  # And the other way round: one feature an image, at all positions.
  found = losses.feature_spread(features.swapaxes(0, 1))
  assert found['std'] > 0.9 and found['std_across_images'] > 0.9
  assert found['std_across_positions'] < 1e-3


def test_features_spread_over_the_sphere_have_a_deviation_of_one():
  rows = np.random.default_rng(0).normal(size=(20_000, 16))
  found = losses.feature_spread(rows.astype(np.float32))
  np.testing.assert_allclose(found['std'], 1, atol=0.01)
  np.testing.assert_allclose(found['effective_rank'], 16, atol=0.1)
  found = losses.feature_spread(np.ones((8, 16), np.float32))
  np.testing.assert_allclose(found['std'], 0, atol=1e-6)
