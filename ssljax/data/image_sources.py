"""Random access to images with classes.

An example is a dict of `image` uint8 (size, size, 3), `index` int32 and `label`
int32, -1 where it has none.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ssljax.data import workers

BLOCK = 64  # images that a thread reads at a time


class ImageSource:
  """Images of one split.

  Attributes:
    labels: int32 (count,), known without an image being read.
    names: what `name_of` says, where images have names of their own.
  """

  layouts = ()  # what text has in their place

  def __init__(
    self,
    images: np.ndarray | Callable[[int], np.ndarray],
    labels: np.ndarray,
    names: Sequence[str] | None = None,
  ):
    """Takes all images, or what reads the one at a position."""
    self.labels = np.asarray(labels, np.int32)
    self._images, self._names = images, names

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, position: int) -> dict:
    batch = self.gather([range(len(self))[position]])
    return {name: column[0] for name, column in batch.items()}

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
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

  def name_of(self, position: int) -> str:
    return self._names[position] if self._names else f'image {position}'

  def part(self, positions: np.ndarray) -> 'ImageSource':
    """Some of the images, by position."""
    images, names = self._images, self._names
    if callable(images):

      def chosen(position):
        return images(int(positions[position]))

    else:
      chosen = images[positions]
    names = names and [names[position] for position in positions]
    return ImageSource(chosen, self.labels[positions], names)

  def held(self, memory: int) -> 'ImageSource':
    """The same, read once by threads, if it takes at most `memory` bytes."""
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
