"""Draws views of every policy: docs/policies.png.

  python docs/draw/policies.py OUT.png

Each row shows one policy: two photographs from scikit-learn, each with three
pairs of views.
"""

import sys

import jax
import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from ssljax.augment.policies import POLICIES, policy_views

SIDE, PAIRS, GAP, CAPTION = 64, 3, 4, 72


def photographs() -> np.ndarray:
  """The middle squares of two photographs, uint8 (2, 256, 256, 3)."""
  squares = []
  for pixels in load_sample_images().images:
    height, width, _ = pixels.shape
    left = (width - height) // 2
    image = Image.fromarray(pixels).crop((left, 0, left + height, height))
    squares.append(np.asarray(image.resize((256, 256))))
  return np.stack(squares)


def row(policy: str, images: np.ndarray) -> np.ndarray:
  """Photographs and their views under one policy: uint8 (SIDE, width, 3)."""
  views = jax.jit(policy_views(policy, size=SIDE))
  parts = []
  for image in images:
    made = views(jax.random.key(0), np.stack([image] * PAIRS), np.arange(PAIRS))
    parts.append(np.asarray(Image.fromarray(image).resize((SIDE, SIDE))))
    parts += [_pixels(view[pair]) for pair in range(PAIRS) for view, _ in made]
  gap = np.full((SIDE, GAP, 3), 255, np.uint8)
  return np.concatenate([x for part in parts for x in (part, gap)], axis=1)


def _pixels(view: jax.Array) -> np.ndarray:
  return np.rint(127.5 * (np.asarray(view) + 1)).astype(np.uint8)


def sheet() -> Image.Image:
  """One picture with a row for each policy."""
  images = photographs()
  rows = [row(policy, images) for policy in POLICIES]
  height, width, _ = rows[0].shape
  canvas = Image.new(
    'RGB', (CAPTION + width, len(rows) * (height + GAP)), 'white'
  )
  for place, (policy, pixels) in enumerate(zip(POLICIES, rows, strict=True)):
    top = place * (height + GAP)
    canvas.paste(Image.fromarray(pixels), (CAPTION, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((4, top + height // 2), policy, fill='black')
  return canvas


if __name__ == '__main__':
  sheet().save(sys.argv[1])
