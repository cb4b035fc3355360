"""The tools that layouts draw with: lines of text, curves, grounds, colours.

A picture is a float32 (height, width, 3) array in 0..255. A coverage is a
float32 (height, width) array in 0..1: the share of each pixel that is covered.
Lengths are in pixels, angles in degrees.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ssljax.data import fonts

T = TypeVar('T')

# Columns whose ink is fainter than this (of 255) are cut from a glyph, so
# that a character's extent is what a reader sees and no ink is outside it.
FAINTEST = 24

# What a layout returns: the picture, the characters' extents, the coverage of
# the text alone. See `ssljax.data.layouts`.
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


class Mark(NamedTuple):
  """One character in its place on the picture.

  `fill` and `outline` are coverages (h, w) whose upper left corner lies at
  column `left` and row `top` of the picture.
  """

  left: int
  top: int
  fill: np.ndarray
  outline: np.ndarray

  @property
  def extent(self) -> tuple[int, int]:
    """The columns [left, right) that the ink spans."""
    return self.left, self.left + self.fill.shape[1]


class Pose(NamedTuple):
  """How one character of a line is drawn.

  Attributes:
    face: the name of the font face.
    cap: the height of a capital, as a fraction of the image's height.
    angle: the rotation, in degrees.
    gap: the space before the character, as a fraction of the image's height;
      a negative gap makes it overlap the character before.
    rise: the distance of the character above the middle of the image, as a
      fraction of the image's height.
    slant: the horizontal shift per pixel of height.
  """

  face: str
  cap: float
  angle: float
  gap: float
  rise: float
  slant: float = 0.0


def _transform(
  image: Image.Image,
  size: tuple[int, int],
  matrix: Sequence[tuple[float, float, float]],
) -> np.ndarray:
  data = (*matrix[0], *matrix[1])
  return np.asarray(
    image.transform(
      size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
  )


def ink(
  character: str, pose: Pose, height: int, stroke: int, scale: float
) -> tuple[float, np.ndarray, np.ndarray]:
  """Draws a character in its pose.

  Args:
    character: a single character.
    pose: its face, size, angle and slant.
    height: the image's height, in pixels.
    stroke: the width of the outline, at about twice the final size.
    scale: a factor on the size of the pose.

  Returns:
    (middle, fill, outline). The masks, float32 (h, w) in 0..1, are trimmed to
    their ink. `middle` is the row of the masks at the middle of a capital; it
    may lie outside of them.
  """
  # The master glyph has about twice the size of the tallest text: bilinear
  # sampling at half size averages over 2 x 2 pixels, so edges stay smooth.
  master = round(1.4 * height)
  fill, outline = fonts.glyph(pose.face, character, master, stroke)
  zoom = scale * pose.cap * height / master
  cosine = math.cos(math.radians(pose.angle))
  sine = math.sin(math.radians(pose.angle))
  # The matrix maps a target pixel to a source pixel: it undoes the rotation,
  # then the slant, then the scaling.
  a = (cosine + pose.slant * sine) / zoom
  b = (-sine + pose.slant * cosine) / zoom
  c, d = sine / zoom, cosine / zoom
  w, h = fill.size
  slanted = w + abs(pose.slant) * h
  width = math.ceil((slanted * abs(cosine) + h * abs(sine)) * zoom) + 2
  tall = math.ceil((slanted * abs(sine) + h * abs(cosine)) * zoom) + 2
  x, y = width / 2, tall / 2
  matrix = (
    (a, b, w / 2 - a * x - b * y),
    (c, d, h / 2 - c * x - d * y),
  )
  drawn = [fill, outline] if stroke else [fill]
  masks = [_transform(each, (width, tall), matrix) for each in drawn]
  dark = np.max(masks, axis=0)
  if dark.max() < FAINTEST:
    # A small character, such as a full stop, has fallen between the samples.
    blur = ImageFilter.BoxBlur(0.5 / zoom)
    masks = [
      _transform(each.filter(blur), (width, tall), matrix) for each in drawn
    ]
    scaling = 255 / max(1, np.max(masks))
    masks = [(scaling * mask).astype(np.uint8) for mask in masks]
    dark = np.max(masks, axis=0)
  columns = np.flatnonzero(dark.max(0) >= FAINTEST)
  rows = np.flatnonzero(dark.max(1))
  box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
  masks = [mask[box].astype(np.float32) / 255 for mask in masks]
  return y - rows[0], masks[0], masks[-1] if stroke else 0 * masks[0]


def set_line(
  rng: np.random.Generator,
  text: str,
  poses: Sequence[Pose],
  height: int,
  width: int,
  *,
  stroke: int = 0,
  edge: int = 0,
) -> list[Mark]:
  """Sets `text` as a line at a random x, with all ink inside the image.

  A line that is too long or too tall for the image is made smaller until it
  fits.

  Args:
    rng: draws the position.
    text: the characters.
    poses: one pose for each character.
    height: the image's height, in pixels.
    width: the image's width, in pixels.
    stroke: the width of the outline, at about twice the final size.
    edge: the rows that stay free above and below.
  """
  margin = max(1, round(0.04 * height))
  available = width - 2 * margin
  scale = 1.0
  while True:
    inks = [
      ink(character, pose, height, stroke, scale)
      for character, pose in zip(text, poses, strict=True)
    ]
    gaps = [0, *(round(pose.gap * height * scale) for pose in poses[1:])]
    total = sum(ink[1].shape[1] for ink in inks) + sum(gaps)
    tallest = max(ink[1].shape[0] for ink in inks)
    if total <= available and tallest <= height - 2 * edge:
      break
    scale *= 0.98 * min(1, available / total, (height - 2 * edge) / tallest)
  x = margin + int(rng.integers(available - total + 1))
  marks = []
  for (middle, fill, outline), gap, pose in zip(inks, gaps, poses, strict=True):
    x = max(0, x + gap)
    top = round(height / 2 - pose.rise * height - middle)
    top = min(max(top, edge), height - edge - fill.shape[0])
    marks.append(Mark(x, top, fill, outline))
    x += fill.shape[1]
  return marks


def extents(marks: Sequence[Mark]) -> np.ndarray:
  """float32 (len(marks), 2): the columns [left, right) of each character."""
  return np.array([mark.extent for mark in marks], np.float32).reshape(-1, 2)


def trimmed(mark: Mark) -> Mark:
  """Cuts columns without ink from both sides; a mark without ink is kept."""
  columns = np.flatnonzero(mark.fill.any(axis=0))
  if not columns.size:
    return mark
  fill = mark.fill[:, columns[0] : columns[-1] + 1]
  return mark._replace(left=mark.left + int(columns[0]), fill=fill)


def region(mark: Mark) -> tuple[slice, slice]:
  """The rows and the columns of a picture that a mark covers."""
  h, w = mark.fill.shape
  return np.s_[mark.top : mark.top + h, mark.left : mark.left + w]


def coverage(marks: Sequence[Mark], height: int, width: int) -> np.ndarray:
  """The coverage (height, width) of all marks' fills together."""
  result = np.zeros((height, width), np.float32)
  for mark in marks:
    part = result[region(mark)]
    np.maximum(part, mark.fill, out=part)
  return result


def paint(picture: np.ndarray, where: np.ndarray, colour: np.ndarray) -> None:
  """Paints a colour (3,) on `picture`, in place, as opaque as `where` is."""
  # Most of a coverage is 0, so only the other pixels are computed.
  rows, columns = np.nonzero(where)
  below = picture[rows, columns]
  below += where[rows, columns, None] * (colour - below)
  picture[rows, columns] = below


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
  """Draws one of the options uniformly."""
  return options[int(rng.integers(len(options)))]


def pick_colour(
  rng: np.random.Generator,
  saturation: tuple[float, float],
  value: tuple[float, float],
) -> np.ndarray:
  """Draws an RGB colour, float32 (3,) in 0..255, of any hue.

  Args:
    rng: draws uniformly.
    saturation: its range, within 0..1.
    value: its range (the V of HSV), within 0..1.
  """
  rgb = colorsys.hsv_to_rgb(
    rng.random(), rng.uniform(*saturation), rng.uniform(*value)
  )
  return np.array(rgb, np.float32) * 255


def ground(colour: np.ndarray, height: int, width: int) -> np.ndarray:
  """A picture of one colour (3,), or of one colour per column (width, 3)."""
  picture = np.empty((height, width, 3), np.float32)
  picture[:] = colour
  return picture


def clouds(
  rng: np.random.Generator, height: int, width: int, cell: float
) -> np.ndarray:
  """float32 (height, width): smooth noise in about -1..1.

  The noise interpolates random values on a grid of about `cell` pixels.
  """
  rows = max(2, math.ceil(height / cell) + 1)
  columns = max(2, math.ceil(width / cell) + 1)
  grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
  return np.asarray(
    Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
  )


def stripes(
  height: int, width: int, *, wavelength: float, angle: float
) -> np.ndarray:
  """float32 (height, width): a plane sine wave in -1..1, along `angle`."""
  x = np.arange(width) * (2 * math.pi * math.cos(math.radians(angle)))
  y = np.arange(height)[:, None] * (2 * math.pi * math.sin(math.radians(angle)))
  x, y = x / wavelength, y / wavelength
  # sin(x + y) is computed from the sines of one row and one column, because
  # that is faster. float64 matters: the sines of different machines differ
  # there too little to change a pixel.
  return (np.sin(x) * np.cos(y) + np.cos(x) * np.sin(y)).astype(np.float32)


def curves(
  paths: Sequence[np.ndarray], thickness: float, height: int, width: int
) -> np.ndarray:
  """The coverage of smooth-edged lines through `paths`.

  Args:
    paths: (points, 2) arrays of x and y.
    thickness: the width of the lines, in pixels.
    height: the image's height, in pixels.
    width: the image's width, in pixels.
  """
  image = Image.new('L', (2 * width, 2 * height))
  draw = ImageDraw.Draw(image)
  for path in paths:
    draw.line(
      (2 * path).ravel().tolist(), 255, max(1, round(2 * thickness)), 'curve'
    )
  return np.asarray(image.reduce(2), np.float32) / 255


def wave(
  rng: np.random.Generator,
  width: int,
  middle: float,
  amplitude: float,
  periods: float,
) -> np.ndarray:
  """A sine across the image as a path (points, 2), with a random phase.

  Args:
    rng: draws the phase.
    width: the image's width, in pixels.
    middle: the row about which the sine swings.
    amplitude: the sine's amplitude, in pixels.
    periods: the number of periods across the width.
  """
  x = np.linspace(-2, width + 2, 24)
  phase = rng.uniform(0, 2 * math.pi)
  y = middle + amplitude * np.sin(2 * math.pi * periods * x / width + phase)
  return np.stack([x, y], -1)


def shift_columns(coverage: np.ndarray, shift: np.ndarray) -> np.ndarray:
  """Moves each column down by `shift` (width,) pixels, which may be fractions.

  Values between two rows are interpolated linearly. No column moves sideways,
  so the characters' extents stay true.
  """
  height = len(coverage)
  rows = np.clip(np.arange(height)[:, None] - shift, 0, height - 1)
  low = np.minimum(rows.astype(int), height - 2)
  part = (rows - low).astype(np.float32)
  above = np.take_along_axis(coverage, low, 0)
  below = np.take_along_axis(coverage, low + 1, 0)
  return above + part * (below - above)


def dots(
  rng: np.random.Generator,
  count: int,
  radius: tuple[float, float],
  height: int,
  width: int,
) -> np.ndarray:
  """The coverage of `count` discs, at random places and of random sizes.

  Args:
    rng: draws the places and the radii.
    count: the number of discs.
    radius: the smallest and the largest radius, in pixels.
    height: the image's height, in pixels.
    width: the image's width, in pixels.
  """
  image = Image.new('L', (2 * width, 2 * height))
  draw = ImageDraw.Draw(image)
  places = rng.random((count, 3)).tolist()
  for x, y, size in places:
    r = 2 * (radius[0] + size * (radius[1] - radius[0]))
    x, y = 2 * width * x, 2 * height * y
    draw.ellipse((x - r, y - r, x + r, y + r), 255)
  return np.asarray(image.reduce(2), np.float32) / 255
