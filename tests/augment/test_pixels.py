"""What an encoder sees of an image that no view has changed."""

import numpy as np
import pytest

from ssljax.augment.pixels import plain, plain_and_clean, unpadded
from ssljax.errors import UserError


def test_plain_values_are_those_of_the_views():
  images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  expected = np.linspace(-1, 1, 256).reshape(images.shape)
  np.testing.assert_allclose(plain(images), expected, atol=1e-6)
  assert plain(images).dtype == np.float32


def test_a_clean_picture_stands_beside_its_image():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
  clean = rng.integers(0, 256, (2, 4, 6, 1)).astype(np.uint8)
  noisy, target = plain_and_clean({'image': images, 'clean': clean}, kind='own')
  np.testing.assert_array_equal(noisy, plain(images))
  np.testing.assert_array_equal(target, plain(clean).repeat(3, axis=-1))
  with pytest.raises(UserError, match=r'data\.clean=own'):
    plain_and_clean({'image': images}, kind='own')
  with pytest.raises(UserError, match='4x6 pixels and clean ones of 2x6'):
    plain_and_clean({'image': images, 'clean': clean[:, :2]}, kind='own')


@pytest.mark.parametrize('width', [2, 5, 11, 12])
def test_an_image_is_stretched_by_linear_interpolation(width):
  """From its first column to its last, in whole levels."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (1, 4, 12, 3)).astype(np.uint8)
  found = unpadded({'image': images, 'width': np.int32([width])})
  places = np.linspace(0, width - 1, 12)
  shown = images[0, :, :width]
  expected = np.apply_along_axis(
    lambda row: np.interp(places, np.arange(width), row), 1, shown
  )
  assert found.dtype == np.uint8
  # Half a level of rounding, and a little where that is a tie.
  np.testing.assert_allclose(found[0], expected, atol=0.501)


def test_a_padded_image_fills_its_frame():
  images = np.zeros((2, 4, 12, 3), np.uint8)
  images[:, :, :5] = np.random.default_rng(0).integers(1, 256, (2, 4, 5, 3))
  batch = {'image': images, 'width': np.array([5, 12], np.int32)}
  found = np.asarray(unpadded(batch))
  np.testing.assert_array_equal(found[0, :, 0], images[0, :, 0])
  np.testing.assert_array_equal(found[0, :, -1], images[0, :, 4])
  assert found[0].min() > 0  # no blank, and none mixed in
  np.testing.assert_array_equal(found[1], images[1])  # as wide as the frame
  assert unpadded({'image': images}) is images
