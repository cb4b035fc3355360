"""The frame that a folder's pictures are fitted to, chosen by their sizes.

The height is 48 pixels, or 32 if every picture is lower than 32. The width is
the least multiple of 8 that holds 95 % of the pictures at this height without
squeezing them, and is between one and eight times the height. Labels play no
part, so labels that are added later leave the frame as it is.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssljax.data import images
from ssljax.errors import UserError

HEIGHT = 48
LOW = 32  # the height where every picture is lower than this
STEP = 8  # the width is a multiple of it
HELD = 95  # the percentage of the pictures that are not squeezed
LONGEST = 8  # the most heights that a frame is wide
LEGIBLE = 12  # text of fewer rows is hard to read
FEW = 0.05  # a smaller share of such pictures is not worth a warning


class Frame(NamedTuple):
  """The size, in pixels, that every picture is fitted to."""

  height: int
  width: int

  @property
  def size(self) -> int:
    """The bytes of a picture in it."""
    return 3 * self.height * self.width

  def read(self, path: pathlib.Path) -> tuple[np.ndarray, int]:
    """Reads an image and fits it to the frame.

    Returns:
      uint8 (height, width, 3), and the columns of it that show the picture.
      The columns to the right of these are padding.
    """
    return self.cut(images.read_image(path))

  def cut(self, image: Image.Image) -> tuple[np.ndarray, int]:
    """The same, of an RGB image."""
    return images.fit(image, *self)


class Fitted(NamedTuple):
  """A frame, and how a folder's pictures stand in it.

  Attributes:
    frame: the frame.
    typical: the median width of the pictures in it, in pixels.
    note: what was chosen and why, as a line for the console; '' if the user
      gave both the height and the width.
  """

  frame: Frame
  typical: int
  note: str


def fitted(
  sizes: Sequence[tuple[int, int]], *, height: int = 0, width: int = 0
) -> Fitted:
  """Chooses the frame of a folder.

  Args:
    sizes: (width, height) of each picture, in pixels.
    height: the frame's height; 0 chooses it.
    width: the frame's width; 0 chooses it.

  Raises:
    UserError: a height or a width below 0.
  """
  if height < 0 or width < 0:
    raise UserError(
      f'Found a frame of height {height} and width {width}; expected a number '
      'of pixels, or 0 to have it chosen.'
    )
  said = []
  if not height:
    height, why = HEIGHT, 'the default'
    if max(tall for _, tall in sizes) < LOW:
      height, why = LOW, f'because every picture has less than {LOW}'
    said.append(f'{height} rows, {why}')
  # What each picture needs so that it still fills the height.
  needed = sorted(math.ceil(wide * height / tall) for wide, tall in sizes)
  if not width:
    enough = needed[math.ceil(HELD * len(needed) / 100) - 1]
    width = min(max(enough, height), LONGEST * height)
    width = STEP * math.ceil(width / STEP)
    held = sum(each <= width for each in needed) / len(needed)
    said.append(
      f'{width} columns, which hold {held:.0%} of the {len(needed):,} pictures '
      'at this height without squeezing them'
    )
  shown = [images.size_in(size, height, width)[0] for size in sizes]
  note = ''
  if said:
    note = (
      f'Frame: {"; ".join(said)}. Set --config.data.height or '
      '--config.data.width for another frame.'
    )
  return Fitted(Frame(height, width), int(np.median(shown)), note)


def low_text(
  sizes: Sequence[tuple[int, int]], rows: Sequence[int], frame: Frame
) -> list[str]:
  """Warns of text that is too low to be read, and says which option helps.

  Args:
    sizes: (width, height) of each picture, in pixels.
    rows: the rows of the frame that show something of each picture; 0 for a
      picture that shows nothing.
    frame: the frame.
  """
  low = [
    (size, text)
    for size, text in zip(sizes, rows, strict=True)
    if 0 < text < LEGIBLE
  ]
  if len(low) <= FEW * len(sizes):
    return []
  said = (
    f'{len(low):,} of {len(sizes):,} pictures show text that is about '
    f'{int(np.median([text for _, text in low]))} pixels high in the frame of '
    f'{frame.height} x {frame.width}, which is hard to read below {LEGIBLE}. '
  )
  # What the pictures need so that they still fill the height.
  needed = sorted(
    math.ceil(wide * frame.height / tall) for (wide, tall), _ in low
  )
  enough = needed[math.ceil(HELD * len(needed) / 100) - 1]
  enough = STEP * math.ceil(enough / STEP)
  if needed[len(needed) // 2] > frame.width:
    said += (
      f'Their lines are squeezed to its width: --config.data.width={enough} '
      'holds them at full height, and makes a step about '
      f'{enough / frame.width:.1f} times as slow. Or cut the lines into words.'
    )
  else:
    more = math.ceil(
      frame.height * LEGIBLE / float(np.median([text for _, text in low]))
    )
    more = STEP * math.ceil(more / STEP)
    said += (
      'Much of each picture is empty: cut the pictures closer to the text, or '
      f'set --config.data.height={more}.'
    )
  return [said]
