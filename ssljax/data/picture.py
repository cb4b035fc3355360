"""Draws examples of every layout: python -m ssljax.data.picture FILE.png"""

import sys

import numpy as np
from PIL import Image

from ssljax.data.layouts import LAYOUTS
from ssljax.data.render import render


def sheet(*, examples: int = 4, height: int = 60, width: int = 160, gap=8):
  """RGB uint8: one row a layout, `examples` images of the split `test`."""
  rows = len(LAYOUTS)
  canvas = np.full(
    (rows * (height + gap) - gap, examples * (width + gap) - gap, 3),
    255,
    np.uint8,
  )
  for row, layout in enumerate(LAYOUTS):
    for column in range(examples):
      example = render(
        seed=0,
        split='test',
        index=column,
        charset='alnum36' if column % 2 else 'digits',
        layouts=(layout,),
        height=height,
        width=width,
      )
      top, left = row * (height + gap), column * (width + gap)
      canvas[top : top + height, left : left + width] = example.image
  return canvas


if __name__ == '__main__':
  Image.fromarray(sheet()).save(sys.argv[1])
