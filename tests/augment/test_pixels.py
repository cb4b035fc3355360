"""What an encoder sees of an image that no view has changed."""

import numpy as np

from ssljax.augment.pixels import unpadded


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
