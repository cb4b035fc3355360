"""Layouts with arcs, many colours, textures, or outlined letters."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ssljax.data import drawing
from ssljax.data.fonts import heavy


def _arc(rng: Generator, height: int, width: int) -> np.ndarray:
  """A path (points, 2): part of an ellipse about as wide as the image."""
  start = rng.uniform(0, 2 * math.pi)
  angle = np.linspace(start, start + rng.uniform(1.5, 4), 20)
  x = rng.uniform(0.2, 0.8) * width
  y = rng.uniform(0, 1) * height
  a, b = rng.uniform(0.2, 0.6) * width, rng.uniform(0.3, 0.9) * height
  return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], -1)


def arcs(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws dark text on a light ground, under dots and arcs of its colour."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.48, 0.62), rng.uniform(-0.02, 0.09)
  poses = [
    drawing.Pose(
      face,
      cap * rng.uniform(0.93, 1.07),
      rng.uniform(-25, 25),
      gap + rng.uniform(-0.02, 0.04),
      rng.uniform(-0.1, 0.1),
    )
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  ink = drawing.pick_colour(rng, (0.3, 1), (0.05, 0.5))
  picture = drawing.ground(
    drawing.pick_colour(rng, (0, 0.12), (0.87, 1)), height, width
  )
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, mask, ink)
  unit = height / 32
  count = int(rng.integers(10, 31))
  spots = drawing.dots(rng, count, (0.4 * unit, 0.8 * unit), height, width)
  drawing.paint(picture, rng.uniform(0.6, 1) * spots, ink)
  paths = [_arc(rng, height, width) for _ in range(int(rng.integers(1, 4)))]
  lines = drawing.curves(paths, rng.uniform(0.6, 1.1) * unit, height, width)
  drawing.paint(picture, rng.uniform(0.6, 1) * lines, ink)
  return picture, drawing.extents(marks), mask


def colors(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Gives each character its own colour, face, size and angle, amid noise."""
  gap = rng.uniform(0, 0.1)
  poses = [
    drawing.Pose(
      drawing.pick(rng, faces),
      rng.uniform(0.42, 0.64),
      rng.uniform(-32, 32),
      gap + rng.uniform(-0.03, 0.03),
      rng.uniform(-0.12, 0.12),
    )
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  tint = drawing.pick_colour(rng, (0, 0.25), (0.82, 1))
  picture = drawing.ground(tint, height, width)
  noise = rng.standard_normal(picture.shape, dtype=np.float32)
  picture += np.float32(rng.uniform(6, 22)) * noise
  for mark in marks:
    ink = drawing.pick_colour(rng, (0.55, 1), (0.3, 0.75))
    drawing.paint(picture[drawing.region(mark)], mark.fill, ink)
  # Specks of any colour lie on text and ground alike.
  count = int(rng.uniform(0.01, 0.05) * height * width)
  rows, columns = (
    rng.integers(height, size=count),
    rng.integers(width, size=count),
  )
  picture[rows, columns] = rng.integers(0, 256, (count, 3))
  mask = drawing.coverage(marks, height, width)
  return picture, drawing.extents(marks), mask


def textured(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws light text on a dark ground of clouds and stripes, with scratches."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.46, 0.62), rng.uniform(0, 0.12)
  slope, angle = rng.uniform(-0.06, 0.06), rng.uniform(-8, 8)
  poses = [
    drawing.Pose(
      face,
      cap,
      angle + rng.uniform(-6, 6),
      gap,
      slope * (place - 2) + rng.uniform(-0.03, 0.03),
    )
    for place in range(len(text))
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  unit = height / 32
  texture = drawing.clouds(rng, height, width, rng.uniform(3, 8) * unit)
  # Stripes have any direction; half the images have a second set across them.
  angle, wavelength = rng.uniform(0, 180), rng.uniform(3, 9) * unit
  for direction in (angle, angle + 90)[: int(rng.integers(1, 3))]:
    texture = texture + drawing.stripes(
      height, width, wavelength=wavelength, angle=direction
    )
  dark = drawing.pick_colour(rng, (0.2, 0.9), (0.15, 0.35))
  texture = 1 + np.float32(rng.uniform(0.2, 0.4)) * texture
  picture = texture[..., None] * dark
  light = drawing.pick_colour(rng, (0, 0.35), (0.8, 1))
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, rng.uniform(0.8, 1) * mask, light)
  paths = [
    rng.uniform(0, 1, (2, 2)) * (width, height)
    for _ in range(int(rng.integers(2, 6)))
  ]
  scratches = drawing.curves(paths, 0.5 * unit, height, width)
  drawing.paint(picture, rng.uniform(0.4, 0.8) * scratches, light)
  return picture, drawing.extents(marks), mask


def hollow(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws outlined letters that slant, wave and touch, with a line through."""
  face = drawing.pick(rng, heavy(faces))
  cap, slant = rng.uniform(0.52, 0.66), rng.uniform(-0.25, 0.25)
  gap = rng.uniform(-0.07, 0.03)
  poses = [
    drawing.Pose(
      face, cap, rng.uniform(-8, 8), gap, rng.uniform(-0.03, 0.03), slant
    )
    for _ in text
  ]
  unit = height / 32
  stroke = round(rng.uniform(2, 3.5) * unit)
  wave = rng.uniform(0.5, 2.5) * unit
  marks = drawing.set_line(
    rng, text, poses, height, width, stroke=stroke, edge=math.ceil(wave)
  )
  outline = np.zeros((height, width), np.float32)
  for mark in marks:
    part = outline[drawing.region(mark)]
    # A letter hides the part of another that it overlaps; otherwise the two
    # outlines would make a third shape.
    part *= 1 - mark.fill
    np.maximum(part, mark.outline, out=part)
  columns = np.arange(width)
  shift = wave * np.sin(
    columns * (2 * math.pi * rng.uniform(0.6, 1.8) / width)
    + rng.uniform(0, 2 * math.pi)
  )
  outline = drawing.shift_columns(outline, shift)
  first, last = (
    drawing.pick_colour(rng, (0.05, 0.3), (0.7, 0.95)) for _ in '12'
  )
  ramp = np.linspace(0, 1, width, dtype=np.float32)[:, None]
  picture = drawing.ground(first + ramp * (last - first), height, width)
  ink = drawing.pick_colour(rng, (0.4, 1), (0.05, 0.45))
  drawing.paint(picture, outline, ink)
  path = drawing.wave(
    rng,
    width,
    rng.uniform(0.35, 0.65) * height,
    rng.uniform(0.02, 0.12) * height,
    rng.uniform(0.5, 1.5),
  )
  through = drawing.curves([path], rng.uniform(0.7, 1.2) * unit, height, width)
  drawing.paint(picture, through, ink)
  # The coverage has solid letters, as all layouts' do.
  mask = drawing.coverage(marks, height, width)
  mask = drawing.shift_columns(mask, shift)
  return picture, drawing.extents(marks), mask
