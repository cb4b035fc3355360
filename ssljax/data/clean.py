"""The plain print behind rendered images, beside them: dark on white."""

from collections.abc import Sequence

import numpy as np

from ssljax.errors import UserError


class Cleaned:
  """A source whose examples also have `clean` uint8 (height, width, 3).

  What else is asked of it, it asks of the source.
  """

  def __init__(self, source, masks: np.ndarray, *, other: bool = False):
    """Takes the masks of all examples of the split, by their index.

    Args:
      source: examples with an `index`.
      masks: uint8 (count, height, width), 255 where there is text.
      other: gives each example the print of another one, half of the split
        and one further on, so that no two belong together, nor two of a class
        where classes take turns.
    """
    self._source, self._masks = source, masks
    self._shift = len(masks) // 2 + 1 if other else 0

  def __getattr__(self, name: str):
    if name.startswith('_'):  # of a copy that is not filled in yet
      raise AttributeError(name)
    return getattr(self._source, name)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, position: int) -> dict:
    return self._with(self._source[position])

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    return self._with(self._source.gather(positions))

  def _with(self, batch: dict) -> dict:
    places = (batch['index'] + self._shift) % len(self._masks)
    clean = 255 - self._masks[places][..., None]
    return batch | {'clean': clean.repeat(3, axis=-1)}


def no_masks():
  """UserError: of images that are not rendered, nobody knows the print."""
  raise UserError(
    'Found images that were not rendered, whose clean print is not known; '
    'expected rendered text or glyphs. Leave data.clean out, or use another '
    'method.'
  )
