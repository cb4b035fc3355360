"""Adds to each rendered image its clean print: the text alone, dark on white.

The masks of the renderer tell which pixels the text covers, so the clean print
shows the same characters in the same places, without the ground, the lines and
the noise of the layout.
"""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from ssljax.data.sources import Description, Source
from ssljax.errors import UserError


class Cleaned:
  """A source whose examples also have `clean`, uint8 (height, width, 3).

  The rest is the wrapped source's.
  """

  def __init__(self, source: Source, masks: np.ndarray, *, other: bool = False):
    """Wraps a source.

    Args:
      source: a source whose examples have an `index`.
      masks: uint8 (count, height, width), 255 where there is text. Row i is
        the mask of the example with index i.
      other: whether each example gets the print of another example instead of
        its own. The other example is half the split plus one further on, so
        that no image meets its own print, and, where the classes take turns,
        no print of its own class either.
    """
    self.layouts = source.layouts
    self._source, self._masks = source, masks
    self._shift = len(masks) // 2 + 1 if other else 0

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, position: int) -> dict:
    return self._with(self._source[position])

  def describe(self, position: int) -> Description:
    return self._source.describe(position)

  def gather(
    self, positions: Sequence[int] | np.ndarray
  ) -> dict[str, np.ndarray]:
    return self._with(self._source.gather(positions))

  def _with(self, batch: dict) -> dict:
    places = (batch['index'] + self._shift) % len(self._masks)
    clean = 255 - self._masks[places][..., None]
    return batch | {'clean': clean.repeat(3, axis=-1)}


def no_masks() -> NoReturn:
  """Raises a UserError, because only rendered images have a known print."""
  raise UserError(
    'Found images that were not rendered, so their clean print is not known; '
    'expected rendered text or glyphs. Leave data.clean out, or use another '
    'method.'
  )
