"""Images that nobody rendered: lines of scikit-learn's handwritten digits.

  python benchmarks/handwriting.py make DIR
  python benchmarks/handwriting.py run DIR --start=rendered
  python benchmarks/handwriting.py score RUN DIR/new
  python benchmarks/handwriting.py --smoke      make and run, in seconds

A folder has 5,000 lines of 4 to 6 digits, of which 30, 100 or 300 have labels,
in three draws of the labels. 2,000 other lines are the test. Of each class of
the 1,797 digits, the first two thirds are written in the folders only and the
last third in the test only. `run` trains with the command of a user; `--help`
says more.
"""

import functools
import sys

import _folders
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SEED = 0
HEIGHTS = (24, 36)  # of a digit, in pixels
GAPS = (0, 7)  # between two digits
MARGIN = (2, 8)  # on every side
CONTRAST = 80  # the least, between ink and ground, of 255
NOISE = 8.0  # its largest standard deviation


@functools.cache
def written(split: str) -> list[np.ndarray]:
  """float (count, 8, 8) of each class, 0 to 1: the digits of a split."""
  digits = load_digits()
  found = []
  for value in range(10):
    images = digits.images[digits.target == value] / 16
    cut = 2 * len(images) // 3
    found.append(images[cut:] if split == 'new' else images[:cut])
  return found


def enlarged(digit: np.ndarray, height: int) -> np.ndarray:
  """A digit at another height, its aspect kept and its empty columns cut."""
  columns = np.flatnonzero(digit.any(axis=0))
  digit = digit[:, columns[0] : columns[-1] + 1].astype(np.float32)
  width = round(digit.shape[1] * height / digit.shape[0])
  image = Image.fromarray(digit).resize(
    (width, height), Image.Resampling.BICUBIC
  )
  return np.asarray(image).clip(0, 1)


def shades(rng) -> tuple[int, int]:
  """Grays of the ink and of the ground, either of them the lighter one."""
  while True:
    ink, ground = rng.integers(256, size=2)
    if abs(int(ink) - int(ground)) >= CONTRAST:
      return int(ink), int(ground)


def draw(split: str, place: int):
  """The text and the picture at a place of a split."""
  rng = np.random.default_rng([SEED, split == 'new', place])
  between = functools.partial(rng.integers, endpoint=True)
  values = rng.integers(10, size=between(4, 6))
  pools = [written(split)[value] for value in values]
  digits = [
    enlarged(pool[rng.integers(len(pool))], between(*HEIGHTS)) for pool in pools
  ]
  widths = [digit.shape[1] for digit in digits]
  gaps = between(*GAPS, size=len(digits))
  left, right, top, bottom = between(*MARGIN, size=4)
  # A low digit stands anywhere in the height of the highest one.
  height = max(len(digit) for digit in digits)
  cover = np.zeros(
    (top + height + bottom, left + sum(widths) + gaps[1:].sum() + right)
  )
  x = left
  for digit, width, gap in zip(digits, widths, [*gaps[1:], 0], strict=True):
    y = top + between(0, height - len(digit))
    cover[y : y + len(digit), x : x + width] = digit
    x += width + gap
  ink, ground = shades(rng)
  pixels = ground + (ink - ground) * cover
  pixels += rng.normal(0, rng.uniform(0, NOISE), pixels.shape)
  pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
  return ''.join(map(str, values)), Image.fromarray(pixels)


KIND = _folders.Kind('handwriting', draw, count=5000, labels=(30, 100, 300))

if __name__ == '__main__':
  _folders.main(KIND, __doc__, sys.argv[1:])
