"""What layouts draw with: lines of text, curves, grounds, colours.

A picture is a float32 (height, width, 3) array in 0..255; a coverage is a
float32 (height, width) array in 0..1. Lengths are in pixels, angles in degrees.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ssljax.data import fonts

# Columns whose ink is fainter than this (of 255) are cut from a glyph, so
# that a character's extent is what a reader sees and no ink is outside it.
FAINTEST = 24


class Mark(NamedTuple):
  """One character in its place: coverages (h, w), and where they begin."""

  left: int
  top: int
  fill: np.ndarray
  outline: np.ndarray

  @property
  def extent(self) -> tuple[int, int]:
    """The horizontal [left, right) of the ink."""
    return self.left, self.left + self.fill.shape[1]


class Pose(NamedTuple):
  """How one character of a line is drawn.

  `cap` is the height of a capital as a fraction of the image's, `gap` the
  space before the character (it may be negative) and `rise` its distance
  above the middle of the image, both as fractions of the image's height;
  `slant` is the horizontal shift per pixel of height.
  """

  face: str
  cap: float
  angle: float
  gap: float
  rise: float
  slant: float = 0.0


def _transform(image: Image.Image, size, matrix) -> np.ndarray:
  data = (*matrix[0], *matrix[1])
  return np.asarray(
    image.transform(
      size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
  )


def ink(character: str, pose: Pose, height: int, stroke: int, scale: float):
  """(middle, fill, outline) of a posed character.

  The masks are trimmed to their ink; `middle` is the row in them (it can be
  outside) of the middle of a capital.
  """
  # Masters have twice the pixels of the tallest text: bilinear sampling at
  # half size is then an average over 2 x 2 pixels, so edges stay smooth.
  master = round(1.4 * height)
  fill, outline = fonts.glyph(pose.face, character, master, stroke)
  zoom = scale * pose.cap * height / master
  cosine = math.cos(math.radians(pose.angle))
  sine = math.sin(math.radians(pose.angle))
  # Target to source: turn back, then slant back, then enlarge.
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
  masks = [_transform(fill, (width, tall), matrix)]
  if stroke:
    masks.append(_transform(outline, (width, tall), matrix))
  dark = masks[0] if not stroke else np.maximum(*masks)
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
  """Places `text`, one pose a character, at a random x; all ink fits inside.

  A line too long for the image is made smaller until it fits. `stroke` is the
  outline's width at twice the final size; `edge` is how many rows stay free
  above and below.
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
  """float32 (len(marks), 2): the horizontal [left, right) of each character."""
  return np.array([mark.extent for mark in marks], np.float32).reshape(-1, 2)


def trimmed(mark: Mark) -> Mark:
  """The mark without columns that have no ink; as it is if none has any."""
  columns = np.flatnonzero(mark.fill.any(axis=0))
  if not columns.size:
    return mark
  fill = mark.fill[:, columns[0] : columns[-1] + 1]
  return mark._replace(left=mark.left + int(columns[0]), fill=fill)


def region(mark: Mark) -> tuple[slice, slice]:
  """The rows and columns of a picture that a mark lies on."""
  h, w = mark.fill.shape
  return np.s_[mark.top : mark.top + h, mark.left : mark.left + w]


def coverage(marks: Sequence[Mark], height: int, width: int) -> np.ndarray:
  """The filled text as one coverage."""
  result = np.zeros((height, width), np.float32)
  for mark in marks:
    part = result[region(mark)]
    np.maximum(part, mark.fill, out=part)
  return result


def paint(picture: np.ndarray, where: np.ndarray, colour) -> None:
  """Lays a colour (3,) over `picture`, in place."""
  # Most of a coverage is empty, so only the rest is computed.
  rows, columns = np.nonzero(where)
  below = picture[rows, columns]
  below += where[rows, columns, None] * (colour - below)
  picture[rows, columns] = below


def pick(rng: np.random.Generator, options: Sequence):
  """One of the options, each as likely."""
  return options[int(rng.integers(len(options)))]


def pick_colour(rng: np.random.Generator, saturation, value) -> np.ndarray:
  """A colour (3,) of any hue, saturation and value from the given ranges."""
  rgb = colorsys.hsv_to_rgb(
    rng.random(), rng.uniform(*saturation), rng.uniform(*value)
  )
  return np.array(rgb, np.float32) * 255


def ground(colour: np.ndarray, height: int, width: int) -> np.ndarray:
  """A picture of one colour (3,), or of one a column (width, 3)."""
  picture = np.empty((height, width, 3), np.float32)
  picture[:] = colour
  return picture


def clouds(
  rng: np.random.Generator, height: int, width: int, cell: float
) -> np.ndarray:
  """float32 (height, width): smooth noise in about -1..1, of `cell` pixels."""
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
  # sin(x + y) from the sines of a row and of a column: faster, and in float64,
  # where machines' sines differ too little to change a pixel.
  return (np.sin(x) * np.cos(y) + np.cos(x) * np.sin(y)).astype(np.float32)


def curves(
  paths: Sequence[np.ndarray], thickness: float, height: int, width: int
) -> np.ndarray:
  """The coverage of smooth-edged polylines, each (points, 2) of x and y."""
  image = Image.new('L', (2 * width, 2 * height))
  draw = ImageDraw.Draw(image)
  for path in paths:
    draw.line(
      (2 * path).ravel().tolist(), 255, max(1, round(2 * thickness)), 'curve'
    )
  return np.asarray(image.reduce(2), np.float32) / 255


def wave(rng, width, middle, amplitude, periods):
  """A path (points, 2) across the image: one sine."""
  x = np.linspace(-2, width + 2, 24)
  phase = rng.uniform(0, 2 * math.pi)
  y = middle + amplitude * np.sin(2 * math.pi * periods * x / width + phase)
  return np.stack([x, y], -1)


def shift_columns(coverage, shift):
  """Moves each column down by `shift` (width,) pixels, between rows linearly.

  Columns stay where they are, so extents stay true.
  """
  height = len(coverage)
  rows = np.clip(np.arange(height)[:, None] - shift, 0, height - 1)
  low = np.minimum(rows.astype(int), height - 2)
  part = (rows - low).astype(np.float32)
  above = np.take_along_axis(coverage, low, 0)
  below = np.take_along_axis(coverage, low + 1, 0)
  return above + part * (below - above)


def dots(
  rng: np.random.Generator, count: int, radius, height: int, width: int
) -> np.ndarray:
  """The coverage of `count` discs, their radius from the given range."""
  image = Image.new('L', (2 * width, 2 * height))
  draw = ImageDraw.Draw(image)
  places = rng.random((count, 3)).tolist()
  for x, y, size in places:
    r = 2 * (radius[0] + size * (radius[1] - radius[0]))
    x, y = 2 * width * x, 2 * height * y
    draw.ellipse((x - r, y - r, x + r, y + r), 255)
  return np.asarray(image.reduce(2), np.float32) / 255
