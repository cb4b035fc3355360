"""Layouts with overlap, warps, grids, salt and pepper, or uneven spaces."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ssljax.data import drawing


def overlap(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws large characters that overlap, each with a thin light rim."""
  face = drawing.pick(rng, faces)
  cap = rng.uniform(0.6, 0.75)
  poses = [
    drawing.Pose(
      face,
      cap * rng.uniform(0.92, 1.05),
      rng.uniform(-16, 16),
      rng.uniform(-0.17, -0.09),
      rng.uniform(-0.08, 0.08),
    )
    for _ in text
  ]
  unit = height / 32
  rim = round(1.6 * unit)
  marks = drawing.set_line(rng, text, poses, height, width, stroke=rim)
  light = drawing.pick_colour(rng, (0.05, 0.35), (0.8, 1))
  picture = drawing.ground(light, height, width)
  ink = drawing.pick_colour(rng, (0.5, 1), (0.1, 0.55))
  for mark in marks:
    part = picture[drawing.region(mark)]
    drawing.paint(part, mark.outline, light)
    drawing.paint(part, mark.fill, ink)
  mask = drawing.coverage(marks, height, width)
  return picture, drawing.extents(marks), mask


def warp(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Bends light or dark text along a strong wave, with a line through it."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.42, 0.52), rng.uniform(0, 0.08)
  poses = [
    drawing.Pose(face, cap, rng.uniform(-6, 6), gap, rng.uniform(-0.02, 0.02))
    for _ in text
  ]
  amplitude = rng.uniform(0.1, 0.17) * height
  marks = drawing.set_line(
    rng, text, poses, height, width, edge=math.ceil(amplitude)
  )
  periods, phase = rng.uniform(0.9, 2), rng.uniform(0, 2 * math.pi)
  x = np.arange(width) * (2 * math.pi * periods / width)
  shift = amplitude * np.sin(x + phase)
  mask = drawing.shift_columns(drawing.coverage(marks, height, width), shift)
  ground, ink = (
    drawing.pick_colour(rng, (0.4, 0.9), (0.25, 0.5)),
    drawing.pick_colour(rng, (0, 0.4), (0.85, 1)),
  )
  if rng.random() < 0.5:
    ground, ink = ink, ground
  picture = drawing.ground(ground, height, width)
  drawing.paint(picture, mask, ink)
  middle = (rng.uniform(0.42, 0.58)) * height
  places = np.linspace(0, width - 1, 24)
  path = np.stack([places, middle + np.interp(places, np.arange(width), shift)])
  through = drawing.curves(
    [path.T], rng.uniform(1.2, 1.8) * height / 32, height, width
  )
  drawing.paint(picture, through, ink)
  return picture, drawing.extents(marks), mask


def grid(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws a grid on the text: upright lines cut it, level lines are its ink.

  The upright lines have the colour of the ground and the level lines that of
  the text.
  """
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.52, 0.66), rng.uniform(0, 0.1)
  poses = [
    drawing.Pose(
      face,
      cap,
      rng.uniform(-12, 12),
      gap + rng.uniform(-0.02, 0.02),
      rng.uniform(-0.06, 0.06),
    )
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  light = drawing.pick_colour(rng, (0, 0.2), (0.85, 1))
  ink = drawing.pick_colour(rng, (0.3, 1), (0.1, 0.55))
  picture = drawing.ground(light, height, width)
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, mask, ink)
  unit = height / 32
  lean = rng.uniform(-0.35, 0.35) * height
  across = np.arange(rng.uniform(0, 6), width, rng.uniform(6, 10) * unit)
  down = np.arange(rng.uniform(0, 4), height, rng.uniform(5, 8) * unit)
  upright = [np.array([(x + lean, 0), (x - lean, height)]) for x in across]
  level = [np.array([(0, y), (width, y)]) for y in down]
  thickness = rng.uniform(0.7, 1.05) * unit
  pattern = drawing.curves(upright, thickness, height, width)
  drawing.paint(picture, rng.uniform(0.8, 1) * pattern, light)
  pattern = drawing.curves(level, thickness, height, width)
  drawing.paint(picture, rng.uniform(0.55, 0.9) * pattern, ink)
  return picture, drawing.extents(marks), mask


def salt(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Draws text hardly darker or lighter than its ground, in salt and pepper."""
  face = drawing.pick(rng, faces)
  cap, gap = rng.uniform(0.52, 0.66), rng.uniform(0.02, 0.12)
  poses = [
    drawing.Pose(
      face,
      cap * rng.uniform(0.95, 1.05),
      rng.uniform(-18, 18),
      gap,
      rng.uniform(-0.08, 0.08),
    )
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  ground = drawing.pick_colour(rng, (0, 0.25), (0.45, 0.65))
  contrast = rng.uniform(40, 70) * (1 if rng.random() < 0.5 else -1)
  picture = drawing.ground(ground, height, width)
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, mask, ground + contrast)
  speck = rng.random((height, width))
  share = rng.uniform(0.02, 0.05)
  picture[speck < share] = 0
  picture[speck > 1 - share] = 255
  return picture, drawing.extents(marks), mask


def spaced(
  rng: Generator, text: str, height: int, width: int, faces: Sequence[str]
) -> drawing.Drawn:
  """Varies size, height and space of the characters, on a ground that fades."""
  face = drawing.pick(rng, faces)
  poses = [
    drawing.Pose(
      face,
      rng.uniform(0.34, 0.66),
      rng.uniform(-10, 10),
      rng.uniform(0, 0.42),
      rng.uniform(-0.17, 0.17),
    )
    for _ in text
  ]
  marks = drawing.set_line(rng, text, poses, height, width)
  first, last = (drawing.pick_colour(rng, (0.1, 0.6), (0.6, 1)) for _ in '12')
  fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
  picture = drawing.ground(first, height, width)
  picture += fade * (last - first)
  ink = drawing.pick_colour(rng, (0.5, 1), (0, 0.3))
  mask = drawing.coverage(marks, height, width)
  drawing.paint(picture, mask, ink)
  return picture, drawing.extents(marks), mask
