"""Renders images of single characters, 48x48 RGB: a set without a download.

Each image is a pure function of (seed, split, index). The ground is textured
and has any colour. The hue of the character depends on its class and its face
alone, so that a colorization task can be solved: the shape of the character
tells its colour, and the ground does not.
"""

import colorsys
import zlib
from typing import NamedTuple

import numpy as np

from ssljax.data import drawing, fonts, workers
from ssljax.errors import check_known
from ssljax.text import CHARSETS

# Raise this number whenever an image changes for the same arguments, because
# the files of rendered images are named by it and would be read unchanged.
VERSION = 2
SIZE = 48
CLASSES = tuple(CHARSETS['alnum36'].characters)
SPLITS = ('train', 'validation', 'test')
# The range of the difference in luminance between character and ground.
CONTRAST = (70, 130)


class Glyph(NamedTuple):
  """A rendered character.

  Attributes:
    image: uint8 (48, 48, 3), RGB.
    label: the class, a position in CLASSES.
    face: the name of the font face.
    mask: uint8 (48, 48), how much of each pixel the character covers; 255 is
      all of it.
  """

  image: np.ndarray
  label: int
  face: str
  mask: np.ndarray


def hue(label: int, face: str) -> float:
  """The hue, 0 to 1, of a class drawn in a face."""
  return zlib.crc32(f'{label} {face}'.encode()) / 2**32


def render_glyph(*, seed: int, split: str, index: int) -> Glyph:
  """Draws image `index` of a split; its class is `index % len(CLASSES)`.

  Raises:
    UserError: the split is unknown.
    ValueError: `seed` or `index` is not in 0 to 2**32 - 1.
  """
  check_known('split', split, SPLITS)
  # Larger numbers would spill into the next word of the random key.
  if not (0 <= seed < 2**32 and 0 <= index < 2**32):
    raise ValueError(
      f'Found seed {seed} and index {index}; expected 0 to 2**32 - 1.'
    )
  rng = np.random.default_rng((seed, SPLITS.index(split), index))
  label = index % len(CLASSES)
  face = drawing.pick(rng, tuple(fonts.FACES))
  mask = _mask(rng, CLASSES[label], face)
  rgb = colorsys.hsv_to_rgb(
    hue(label, face), rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.0)
  )
  colour = 255 * np.array(rgb, np.float32)
  picture = _ground(rng, _luminance(colour))
  drawing.paint(picture, mask, colour)
  picture += rng.normal(0, rng.uniform(0, 10), (SIZE, SIZE, 1))
  image = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
  return Glyph(image, label, face, np.round(255 * mask).astype(np.uint8))


def _mask(rng: np.random.Generator, character: str, face: str) -> np.ndarray:
  """The coverage of a character near the middle, with all of its ink."""
  pose = drawing.Pose(
    face,
    cap=rng.uniform(0.45, 0.7),
    angle=rng.uniform(-12, 12),
    gap=0.0,
    rise=0.0,
    slant=rng.uniform(-0.15, 0.15),
  )
  scale, longest = 1.0, SIZE + 1
  while longest > SIZE - 2:  # one pixel stays free on each side
    _, fill, _ = drawing.ink(character, pose, SIZE, 0, scale)
    longest = max(fill.shape)
    scale *= 0.98 * min(1, (SIZE - 2) / longest)
  height, width = fill.shape
  top = _place(rng, SIZE - height)
  left = _place(rng, SIZE - width)
  mask = np.zeros((SIZE, SIZE), np.float32)
  mask[top : top + height, left : left + width] = fill
  return mask


def _place(rng: np.random.Generator, free: int) -> int:
  """Draws a start near the middle for an extent that leaves `free` pixels."""
  return int(np.clip(round(free / 2 + rng.uniform(-5, 5)), 1, free - 1))


def _luminance(colour: np.ndarray) -> float:
  # A matrix product (`@`) would differ in the last bit between machines.
  red, green, blue = colour.tolist()
  return 0.299 * red + 0.587 * green + 0.114 * blue


def _ground(rng: np.random.Generator, against: float) -> np.ndarray:
  """A textured ground of any hue whose luminance is far from `against`."""
  colour = drawing.pick_colour(rng, (0.0, 0.7), (0.2, 1.0))
  away = rng.uniform(*CONTRAST)
  target = against - away if against > 127 else against + away
  colour = np.clip(colour + (target - _luminance(colour)), 0, 255)
  picture = drawing.ground(colour, SIZE, SIZE)
  picture += 14 * drawing.clouds(rng, SIZE, SIZE, rng.uniform(5, 16))[..., None]
  wave = drawing.stripes(
    SIZE, SIZE, wavelength=rng.uniform(5, 20), angle=rng.uniform(0, 180)
  )
  return picture + rng.uniform(0, 14) * wave[..., None]


def _rendered(task: tuple[int, str, int, int], name: str) -> np.ndarray:
  seed, split, start, stop = task
  return np.stack(
    [
      getattr(render_glyph(seed=seed, split=split, index=index), name)
      for index in range(start, stop)
    ]
  )


def render_chunk(task: tuple[int, str, int, int]) -> np.ndarray:
  """Renders uint8 (stop - start, 48, 48, 3) for (seed, split, start, stop)."""
  return _rendered(task, 'image')


def render_masks(task: tuple[int, str, int, int]) -> np.ndarray:
  """Renders the masks of the same images, uint8 (stop - start, 48, 48)."""
  return _rendered(task, 'mask')


def render_split(*, seed: int, split: str, count: int) -> np.ndarray:
  """Renders uint8 (count, 48, 48, 3) on all cores, with a progress bar."""
  return workers.rendered(render_chunk, count, seed, split, what=split)


def labels_of(count: int) -> np.ndarray:
  """int32 (count,): the class of each image of a split."""
  return np.arange(count, dtype=np.int32) % len(CLASSES)
