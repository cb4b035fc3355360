"""The held-out layouts: arched lines, large pixels, shadows, JPEG."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image

from ssljax.data import drawing


def arched(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Bends the baseline to an arch, turns the characters along; draws rings."""
  face = drawing.pick(rng, faces)
  cap = rng.uniform(0.42, 0.54)
  rise = rng.uniform(0.14, 0.22) * (1 if rng.random() < 0.5 else -1)
  place = np.linspace(-1, 1, len(text))
  # The arch is a parabola. Its slope is taken over the length of the line,
  # which is estimated in image heights.
  slope = -4 * rise * place / (len(text) * 0.75 * cap * 1.3)
  poses = [
    drawing.Pose(
      face,
      cap,
      math.degrees(math.atan(slope[i])) + rng.uniform(-4, 4),
      rng.uniform(0.02, 0.07),
      rise * (0.5 - place[i] ** 2),
    )
    for i in range(len(text))
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  ground = drawing.pick_colour(rng, (0.15, 0.5), (0.75, 1))
  picture = drawing.ground(ground, height, width)
  x = np.arange(width) - rng.uniform(0, width)
  y = np.arange(height)[:, None] - rng.uniform(0, height)
  ring = np.hypot(x, y) % (rng.uniform(7, 12) * height / 32)
  picture[ring < rng.uniform(1.5, 3) * height / 32] *= rng.uniform(0.8, 0.9)
  ink = drawing.pick_colour(rng, (0.4, 1), (0.05, 0.45))
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, mask, ink)
  return picture, drawing.extents(marks), mask


def _enlarge(
  small: np.ndarray, scale: int, height: int, width: int
) -> np.ndarray:
  """Makes each pixel a square of side `scale` and cuts to height and width."""
  large = small.repeat(scale, axis=0).repeat(scale, axis=1)
  return large[:height, :width]


def pixel(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws characters of few, large pixels, on a ground with shaded squares."""
  scale = max(1, round(height / 18))
  rows, columns = -(-height // scale), -(-width // scale)
  face = drawing.pick(rng, faces)
  poses = [
    drawing.Pose(face, rng.uniform(0.62, 0.72), 0, 1.2 / rows, 0) for _ in text
  ]
  # The line gets one column less, because the last square may be cut.
  marks = drawing.set_line(rng, text, poses, rows, columns - 1)
  marks = [mark._replace(fill=(mark.fill > 0.4) * 1.0) for mark in marks]
  light = drawing.pick_colour(rng, (0, 0.35), (0.85, 1))
  small = drawing.ground(light, rows, columns)
  squares = rng.random((rows, columns)) < rng.uniform(0.05, 0.2)
  small[squares] *= rng.uniform(0.75, 0.9)
  ink = drawing.pick_colour(rng, (0.3, 1), (0, 0.5))
  mask = drawing.coverage(marks, rows, columns)
  drawing.paint(small, mask, ink)
  picture, mask = (
    np.ascontiguousarray(_enlarge(each, scale, height, width))
    for each in (small, mask)
  )
  extents = scale * drawing.extents([drawing.trimmed(mark) for mark in marks])
  return picture, np.minimum(extents, np.float32(width)), mask


def shadow(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws light letters with dark sides, as if cut from a board."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.5, 0.6), rng.uniform(0.06, 0.12)
  unit = height / 32
  depth = round(rng.uniform(2, 3.4) * unit)
  side = 1 if rng.random() < 0.5 else -1
  poses = [
    drawing.Pose(face, cap, rng.uniform(-8, 8), gap, rng.uniform(-0.04, 0.04))
    for _ in text
  ]
  # The line is set in a narrower and lower frame, so that the sides fit in.
  inner = drawing.set_line(rng, text, poses, height - depth, width - depth)
  left = 0 if side > 0 else depth
  ground = drawing.pick_colour(rng, (0.2, 0.7), (0.5, 0.75))
  picture = drawing.ground(ground, height, width)
  face_colour = drawing.pick_colour(rng, (0, 0.3), (0.9, 1))
  dark = ground * np.float32(rng.uniform(0.25, 0.45))
  text_coverage = drawing.coverage(inner, height - depth, width - depth)
  for step in range(depth, -1, -1):
    x = left + side * step
    part = picture[step : step + height - depth, x : x + width - depth]
    drawing.paint(part, text_coverage, dark if step else face_colour)
  extents = drawing.extents(inner)
  mask = np.zeros((height, width), np.float32)
  mask[: height - depth, left : left + width - depth] = text_coverage
  # The sides count as ink. They reach `depth` columns to the right of the
  # letter, or to its left. In the latter case the letter itself is drawn
  # `depth` columns further right, so the same extents hold for both.
  return picture, extents + np.array((0, depth), np.float32), mask


def compressed(image: Image.Image, quality: int) -> Image.Image:
  """Compresses an image as JPEG and decodes it again."""
  file = io.BytesIO()
  image.save(file, 'JPEG', quality=quality)
  return Image.open(file)


def jpeg(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Enlarges a small picture and compresses it as JPEG until blocks show."""
  shrink = rng.uniform(0.5, 0.62)
  rows, columns = round(shrink * height), round(shrink * width)
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.54, 0.68), rng.uniform(0.02, 0.12)
  poses = [
    drawing.Pose(face, cap, rng.uniform(-12, 12), gap, rng.uniform(-0.05, 0.05))
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, rows, columns)
  light = drawing.pick_colour(rng, (0.05, 0.5), (0.75, 1))
  small = drawing.ground(light, rows, columns)
  ink = drawing.pick_colour(rng, (0.4, 1), (0.1, 0.5))
  mask = drawing.coverage(marks, rows, columns)
  drawing.paint(small, mask, ink)
  coverage = Image.fromarray(mask).resize(
    (width, height), Image.Resampling.BILINEAR
  )
  image = Image.fromarray(np.rint(small).astype(np.uint8))
  image = image.resize((width, height), Image.Resampling.BILINEAR)
  picture = np.array(compressed(image, int(rng.integers(10, 26))), np.float32)
  extents = drawing.extents(marks) * np.float32(width / columns)
  # Bilinear enlarging spreads the ink over about one small pixel more.
  grown = extents + np.array([-2, 2], np.float32)
  extents = np.clip(grown, 0, width).astype(np.float32)
  return picture, extents, np.array(coverage)
