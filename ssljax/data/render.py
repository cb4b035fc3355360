"""Renders one image of text as a pure function of (seed, split, index)."""

import difflib
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax.data import fonts
from ssljax.data import layouts as layouts_lib
from ssljax.errors import UserError, check_known, suggest

# Raise this version whenever an image changes for the same arguments. It is
# part of the name of a prepared data set, so that data of another version is
# not read by mistake.
VERSION = '1.0.0'

LENGTHS = (4, 6)  # of the shortest and of the longest text, by default

_DIGITS = '0123456789'
_LOWER = 'abcdefghijklmnopqrstuvwxyz'
# alnum36 has lower-case letters, like most published CAPTCHA sets of 36
# classes.
CHARSETS = {
  'digits': _DIGITS,
  'alnum36': _DIGITS + _LOWER,
  'alnum62': _DIGITS + _LOWER + _LOWER.upper(),
}

# A split's number is part of the random key of each of its images, so a new
# split is appended, and no split ever gets another number.
SPLITS = {
  'unlabeled': 0,
  'train': 1,
  'validation': 2,
  'test': 3,
  'unlabeled_unseen': 4,
  'test_unseen': 5,
}
UNSEEN_SPLITS = ('unlabeled_unseen', 'test_unseen')


class Example(NamedTuple):
  """A rendered text.

  Attributes:
    image: uint8 (height, width, 3), RGB.
    text: its characters.
    layout: the name of the layout.
    extents: float32 (len(text), 2), the columns [left, right) of each
      character's ink, in pixels.
    mask: uint8 (height, width), how much of each pixel the text alone covers;
      255 is all of it.
  """

  image: np.ndarray
  text: str
  layout: str
  extents: np.ndarray
  mask: np.ndarray


def characters_of(charset: str) -> str:
  """The characters of a charset.

  Args:
    charset: a name in `CHARSETS`, or the characters themselves.

  Raises:
    UserError: a character comes twice, or the argument looks like a misspelt
      name.
  """
  characters = CHARSETS.get(charset, charset)
  named = charset not in CHARSETS and looks_like_a_name(charset)
  if not characters or len(set(characters)) < len(characters) or named:
    raise UserError(
      f'Found charset {charset!r}; expected one of {", ".join(CHARSETS)}, or '
      'the characters themselves, each once and in ascending order.'
      + suggest(charset.lower(), CHARSETS)
    )
  return characters


def looks_like_a_name(charset: str) -> bool:
  """Whether characters look like a charset's name, such as alnum63 or digit.

  Characters in ascending order are a list, whatever they look like.
  """
  if list(charset) == sorted(charset):
    return False
  close = difflib.get_close_matches(charset.lower(), CHARSETS, cutoff=0.75)
  of_a_kind = re.fullmatch(r'([A-Za-z]{3,})\d{1,3}', charset)
  return bool(close) or bool(of_a_kind and not _ascending(of_a_kind[1]))


def _ascending(letters: str) -> bool:
  """Whether the small letters are in order, and the capitals, too."""
  small = [letter for letter in letters if letter.islower()]
  capital = [letter for letter in letters if letter.isupper()]
  return small == sorted(small) and capital == sorted(capital)


def narrowest(height: int, lengths: tuple[int, int]) -> int:
  """The least width in which the longest text is still readable."""
  return -(-height * lengths[1] // 3)


def check_lengths(lengths: Sequence[int]) -> tuple[int, int]:
  """Returns (shortest, longest), or raises a UserError if they are no range."""
  if len(lengths) != 2 or not 1 <= lengths[0] <= lengths[1]:
    raise UserError(
      f'Found lengths {tuple(lengths)}; expected the number of characters of '
      'the shortest and of the longest text, such as (4, 6).'
    )
  return lengths[0], lengths[1]


def check_recipe(
  *,
  seed: int,
  charset: str,
  layouts: Sequence[str],
  unseen_layouts: Sequence[str],
  height: int,
  width: int,
  lengths: tuple[int, int] = LENGTHS,
) -> None:
  """Raises a UserError if `render` cannot draw with these arguments."""
  fonts.having(characters_of(charset), tuple(fonts.FACES))
  _, longest = check_lengths(lengths)
  if not layouts or not unseen_layouts:
    raise UserError(
      'Found no layout; expected at least one of '
      f'{", ".join(layouts_lib.LAYOUTS)}. Name one.'
    )
  for layout in (*layouts, *unseen_layouts):
    check_known('layout', layout, layouts_lib.LAYOUTS)
  if height < 16 or width < narrowest(height, lengths):
    raise UserError(
      f'Found an image of height {height} and width {width}; expected a height '
      'of at least 16 pixels and a width of at least a third of the height for '
      f'each of {longest} characters, {narrowest(height, lengths)} pixels, '
      'which they need to be readable.'
    )
  # Larger numbers would spill into the next word of the random key, where
  # they could equal another (seed, split, index).
  if not 0 <= seed < 2**32:
    raise UserError(f'Found seed {seed}; expected 0 <= seed < 2**32.')


def render(
  *,
  seed: int,
  split: str,
  index: int,
  charset: str,
  layouts: Sequence[str],
  height: int,
  width: int,
  unseen_layouts: Sequence[str] = layouts_lib.UNSEEN_LAYOUTS,
  lengths: tuple[int, int] = LENGTHS,
) -> Example:
  """Draws image `index` of a split.

  The length of the text, its characters and the layout are drawn uniformly.
  The splits of `UNSEEN_SPLITS` have layouts from `unseen_layouts` and the
  held-out font faces; the other splits have layouts from `layouts` and the
  other faces. The text and the choice of the layout do not depend on the size.

  Args:
    seed: 0 to 2**32 - 1.
    split: a name in `SPLITS`.
    index: 0 to 2**32 - 1.
    charset: a name in `CHARSETS`, or the characters themselves. Of the font
      faces only those that have all of them are used.
    layouts: names in `LAYOUTS`, for the seen splits.
    height: the image's height, in pixels; at least 16.
    width: the image's width, in pixels; at least a third of the height for
      each character of the longest text.
    unseen_layouts: names in `LAYOUTS`, for the unseen splits.
    lengths: the number of characters of the shortest and of the longest text.

  Raises:
    UserError: an argument is not as described above.
    ValueError: `index` is outside of its range.
  """
  check_recipe(
    seed=seed,
    charset=charset,
    layouts=layouts,
    unseen_layouts=unseen_layouts,
    height=height,
    width=width,
    lengths=lengths,
  )
  check_known('split', split, SPLITS)
  if not 0 <= index < 2**32:
    raise ValueError(f'Found index {index}; expected 0 <= index < 2**32.')
  rng = np.random.default_rng(
    np.random.SeedSequence((seed, SPLITS[split], index))
  )
  characters = characters_of(charset)
  length = int(rng.integers(lengths[0], lengths[1] + 1))
  places = rng.integers(len(characters), size=length)
  text = ''.join(characters[place] for place in places)
  if split in UNSEEN_SPLITS:
    layouts, faces = unseen_layouts, tuple(fonts.HELD_OUT_FACES)
  else:
    faces = tuple(fonts.FACES)
  faces = fonts.having(characters, faces)
  layout = layouts[int(rng.integers(len(layouts)))]
  draw = layouts_lib.LAYOUTS[layout]
  picture, extents, mask = draw(rng, text, height, width, faces)
  image = np.rint(np.clip(picture, 0, 255, out=picture)).astype(np.uint8)
  mask = np.rint(255 * np.clip(mask, 0, 1)).astype(np.uint8)
  return Example(image, text, layout, extents, mask)


def encode_png(image: np.ndarray) -> bytes:
  """Encodes uint8 (height, width, 3) as a PNG file.

  Pillow is not used, because it tries five filters on each row. This takes two
  to three times as long, and for these pictures it makes the files larger.
  """
  height, width, _ = image.shape
  # The first byte of a row names its filter; 0 stands for none.
  rows = np.zeros((height, 1 + 3 * width), np.uint8)
  rows[:, 1:] = image.reshape(height, -1)
  parts = (
    (b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)),
    (b'IDAT', zlib.compress(rows.tobytes(), 1)),
    (b'IEND', b''),
  )
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(data))
    + name
    + data
    + struct.pack('>I', zlib.crc32(name + data))
    for name, data in parts
  )


def render_chunk(task: tuple[dict[str, Any], str, int, int]) -> list[dict]:
  """Renders examples for a worker process.

  Args:
    task: (recipe, split, start, stop), where the recipe holds the arguments of
      `render` that are the same for all images.

  Returns:
    Examples `start` to `stop` - 1 as dicts; their images are PNG bytes, and
    their extents are padded with -1.
  """
  recipe, split, start, stop = task
  longest = recipe.get('lengths', LENGTHS)[1]
  chunk = []
  for index in range(start, stop):
    example = render(split=split, index=index, **recipe)
    extents = np.full((longest, 2), -1, np.float32)
    extents[: len(example.text)] = example.extents
    chunk.append(
      {
        'image': encode_png(example.image),
        'index': index,
        'text': example.text,
        'layout': example.layout,
        'extents': extents,
      }
    )
  return chunk


def render_masks(task: tuple[dict[str, Any], str, int, int]) -> np.ndarray:
  """Renders the masks of the same examples, uint8 (count, height, width)."""
  recipe, split, start, stop = task
  return np.stack(
    [
      render(split=split, index=index, **recipe).mask
      for index in range(start, stop)
    ]
  )
