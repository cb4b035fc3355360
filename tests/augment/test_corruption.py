"""Spoiled pictures: what is changed, how much of it, and in which of them."""

import jax
import numpy as np
import pytest

from ssljax.augment.corruption import corrupt, hole
from ssljax.errors import UserError

COUNT, HEIGHT, WIDTH = 16, 36, 44


def _keys(count=COUNT, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def _spoiled(level=0.25, **options):
  """Copies of one even picture, of three unequal channels, each by its key."""
  images = np.full((COUNT, HEIGHT, WIDTH, 3), level, np.float32)
  images = images + np.float32((-0.1, 0.0, 0.1))
  return images, np.asarray(corrupt(_keys(), images, **options))


@pytest.mark.parametrize(
  ('kind', 'amount'), [('noise', 0.2), ('mask', 0.5), ('salt', 0.3)]
)
def test_each_picture_is_spoiled_by_its_own_key(kind, amount):
  _, found = _spoiled(kind=kind, amount=amount)
  _, again = _spoiled(kind=kind, amount=amount)
  np.testing.assert_array_equal(found, again)
  distances = np.abs(found[:, None] - found).mean(axis=(2, 3, 4))
  assert distances[~np.eye(COUNT, dtype=bool)].min() > 0.01


@pytest.mark.parametrize('kind', ['none', 'noise', 'mask', 'salt'])
def test_an_amount_of_nothing_leaves_the_picture(kind):
  images, found = _spoiled(kind=kind, amount=0.0)
  np.testing.assert_array_equal(found, images)
  images, found = _spoiled(kind='none', amount=0.5)
  np.testing.assert_array_equal(found, images)


def test_noise_is_gaussian_and_its_own_in_each_channel():
  images, found = _spoiled(kind='noise', amount=0.1)
  noise = (found - images).reshape(-1, 3)
  # From 25,000 values, so to half a percent.
  np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.02)
  np.testing.assert_allclose(noise.mean(axis=0), 0, atol=2e-3)
  assert 0.043 < (np.abs(noise) > 0.2).mean() < 0.048
  assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02


def test_noise_stays_within_the_values_of_a_picture():
  _, found = _spoiled(level=0.8, kind='noise', amount=1.0)
  assert found.min() == -1
  assert found.max() == 1


@pytest.mark.parametrize('block', [4, 8])
def test_a_mask_is_of_whole_gray_blocks(block):
  """The last blocks are cut, where a side is no multiple of theirs."""
  images, found = _spoiled(kind='mask', amount=0.4, block=block)
  hidden = (found == 0).all(axis=-1)
  np.testing.assert_array_equal(found[~hidden], images[~hidden])
  cells = hidden[:, ::block, ::block]
  whole = cells.repeat(block, 1).repeat(block, 2)[:, :HEIGHT, :WIDTH]
  np.testing.assert_array_equal(hidden, whole)
  assert abs(cells.mean() - 0.4) < 3.5 * np.sqrt(0.24 / cells.size)


def test_salt_is_half_black_and_half_white():
  images, found = _spoiled(kind='salt', amount=0.3)
  black, white = ((found == value).all(axis=-1) for value in (-1, 1))
  same = (found == images).all(axis=-1)
  assert (black | white | same).all()
  for share, expected in ((black, 0.15), (white, 0.15)):
    assert abs(share.mean() - expected) < 0.01


def test_an_unknown_corruption_is_named():
  with pytest.raises(UserError, match=r"'nois'.*Did you mean 'noise'"):
    _spoiled(kind='nois', amount=0.1)


@pytest.mark.parametrize(
  ('shape', 'share', 'size'),
  [
    ((36, 44), 0.5, (18, 22)),
    ((36, 44), 0.25, (9, 11)),
    ((36, 44), 0.0, (1, 1)),
    ((40, 40), 0.5, (20, 20)),
  ],
)
def test_a_hole_is_a_rectangle_anywhere(shape, share, size):
  found = np.asarray(hole(_keys(200), shape, share=share))
  assert found.shape == (200, *shape, 1)
  corners = []
  for mask in found[..., 0]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    expected = np.zeros(shape)
    expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    np.testing.assert_array_equal(mask, expected)
    assert (len(rows), len(columns)) == size
    corners.append((rows[0], columns[0]))
  corners = np.array(corners)
  room = np.array(shape) - size
  # From the one end to the other, and down and across apart.
  assert (corners.min(axis=0) <= 1).all()
  assert (corners.max(axis=0) >= room - 1).all()
  np.testing.assert_allclose(corners.mean(axis=0), room / 2, rtol=0.15)
  assert abs(np.corrcoef(corners.T)[0, 1]) < 0.25
