"""Random access to images with classes.

An example is a dict of `image` uint8 (size, size, 3), `index` int32 and `label`
int32, which is -1 if the image has no label.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ssljax.data import workers
from ssljax.data.sources import Description

BLOCK = 64  # images that a thread reads at a time


class ImageSource:
  """The images of one split.

  Attributes:
    labels: int32 (count,); they are known before any image is read.
    classes: the names of the classes, set by `image_sets.Images`.
    layouts: empty, because only images of text have layouts.
  """

  layouts: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()

  def __init__(
    self,
    images: np.ndarray | Callable[[int], np.ndarray],
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str] | None = None,
  ):
    """Takes the images of a split.

    Args:
      images: uint8 (count, size, size, 3), or a function that reads the image
        at a position.
      labels: the class of each image, -1 for none.
      names: what `describe` calls the images, if they have names of their
        own.
    """
    self.labels = np.asarray(labels, np.int32)
    self._images, self._names = images, names

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, position: int) -> dict:
    batch = self.gather([range(len(self))[position]])
    return {name: column[0] for name, column in batch.items()}

  def gather(
    self, positions: Sequence[int] | np.ndarray
  ) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    images = self._images
    if callable(images):
      images = np.stack([images(int(position)) for position in positions])
    else:
      images = images[positions]
    return {
      'image': images,
      'index': positions.astype(np.int32),
      'label': self.labels[positions],
    }

  def describe(self, position: int) -> Description:
    return Description(
      self._names[position] if self._names else f'image {position}'
    )

  def part(self, positions: np.ndarray) -> 'ImageSource':
    """A source of only the images at these positions."""
    images, labels, names = self._images, self.labels[positions], None
    if self._names:
      names = [self._names[int(position)] for position in positions]
    if not callable(images):
      return ImageSource(images[positions], labels, names)

    def read(position: int) -> np.ndarray:
      return images(int(positions[position]))

    return ImageSource(read, labels, names)

  def held(self, memory: int) -> 'ImageSource':
    """Reads all images into memory if they take at most `memory` bytes.

    Returns:
      A source that holds the images, or this source if they are too many or
      in memory already.
    """
    if not callable(self._images) or not len(self):
      return self
    if len(self) * self._images(0).nbytes > memory:
      return self
    blocks = [
      range(start, min(start + BLOCK, len(self)))
      for start in range(0, len(self), BLOCK)
    ]
    with ThreadPoolExecutor(workers.available_cores()) as threads:
      parts = list(threads.map(self.gather, blocks))
    images = np.concatenate([part['image'] for part in parts])
    return ImageSource(images, self.labels, self._names)
