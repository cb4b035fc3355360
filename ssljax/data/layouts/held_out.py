"""Layouts that are held out: arched, pixels, shadows, JPEG."""

import io
import math

import numpy as np
from PIL import Image

from ssljax.data import drawing


def arched(rng, text, height, width, faces):
  """A baseline bent to an arch, characters turned with it, over rings."""
  face = drawing.pick(rng, faces)
  cap = rng.uniform(0.42, 0.54)
  rise = rng.uniform(0.14, 0.22) * (1 if rng.random() < 0.5 else -1)
  place = np.linspace(-1, 1, len(text))
  # A parabola; its slope is over the line's length, in heights.
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


def _enlarge(small, scale, height, width):
  """Each pixel as a square of `scale`, cut to height and width."""
  large = small.repeat(scale, axis=0).repeat(scale, axis=1)
  return large[:height, :width]


def pixel(rng, text, height, width, faces):
  """Characters of a few large square pixels, on squares of light colours."""
  scale = max(1, round(height / 18))
  rows, columns = -(-height // scale), -(-width // scale)
  face = drawing.pick(rng, faces)
  poses = [
    drawing.Pose(face, rng.uniform(0.62, 0.72), 0, 1.2 / rows, 0) for _ in text
  ]
  # One column less: the last square may be cut.
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


def shadow(rng, text, height, width, faces):
  """Light letters with a dark side, as if cut from a board."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.5, 0.6), rng.uniform(0.06, 0.12)
  unit = height / 32
  depth = round(rng.uniform(2, 3.4) * unit)
  side = 1 if rng.random() < 0.5 else -1
  poses = [
    drawing.Pose(face, cap, rng.uniform(-8, 8), gap, rng.uniform(-0.04, 0.04))
    for _ in text
  ]
  # The line is set in a narrower, lower frame, which leaves the sides room.
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
  # The sides count as ink: `depth` to the right of the face, or to the left,
  # where the faces themselves begin at `depth`.
  return picture, extents + np.float32((0, depth)), mask


def compressed(image: Image.Image, quality: int) -> Image.Image:
  """What JPEG leaves of it."""
  file = io.BytesIO()
  image.save(file, 'JPEG', quality=quality)
  return Image.open(file)


def jpeg(rng, text, height, width, faces):
  """A small picture enlarged, then compressed as JPEG until blocks show."""
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
  mask = Image.fromarray(mask).resize((width, height), Image.BILINEAR)
  image = Image.fromarray(np.rint(small).astype(np.uint8))
  image = image.resize((width, height), Image.Resampling.BILINEAR)
  picture = np.array(compressed(image, int(rng.integers(10, 26))), np.float32)
  extents = drawing.extents(marks) * np.float32(width / columns)
  # Enlarging lets the ink reach over a whole small pixel.
  grown = extents + np.float32([-2, 2])
  extents = np.clip(grown, 0, width).astype(np.float32)
  return picture, extents, np.array(mask)
