"""Draws an example of every layout: docs/layouts.png.

  python docs/draw/layouts.py OUT.png

A star marks the layouts that are held out.
"""

import sys

from PIL import Image, ImageDraw

from ssljax.data import fonts, layouts
from ssljax.data.render import render

COLUMNS, CAPTION, GAP = 5, 16, 12


def sheet(*, height: int = 60, width: int = 160) -> Image.Image:
  """One example of each layout under its name.

  Args:
    height: the height of an example, in pixels.
    width: the width of an example, in pixels.
  """
  rows = -(-len(layouts.LAYOUTS) // COLUMNS)
  step_x, step_y = width + GAP, height + CAPTION + GAP
  canvas = Image.new(
    'RGB', (COLUMNS * step_x - GAP, rows * step_y - GAP), 'white'
  )
  draw = ImageDraw.Draw(canvas)
  font = fonts.load_font('hanken_medium', 13)
  for place, layout in enumerate(layouts.LAYOUTS):
    unseen = layout in layouts.UNSEEN
    example = render(
      seed=0,
      split='test_unseen' if unseen else 'test',
      index=place,
      charset='alnum36' if place % 2 else 'digits',
      layouts=(layout,),
      unseen_layouts=(layout,),
      height=height,
      width=width,
    )
    left, top = place % COLUMNS * step_x, place // COLUMNS * step_y
    name = f'{layout} *' if unseen else layout
    draw.text((left, top), name, fill=(90, 90, 90), font=font)
    canvas.paste(Image.fromarray(example.image), (left, top + CAPTION))
  return canvas


if __name__ == '__main__':
  sheet().save(sys.argv[1])
