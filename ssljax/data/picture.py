"""Draws a sheet of example images: one of every layout, or single characters.

python -m ssljax.data.picture FILE.png
python -m ssljax.data.picture FILE.png glyphs
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

from ssljax.data import fonts, glyphs, layouts
from ssljax.data.render import render

COLUMNS, CAPTION, GAP = 5, 16, 12


def sheet(*, height: int = 60, width: int = 160) -> Image.Image:
  """One example of each layout under its name; a star marks held-out layouts.

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
    canvas.paste(
      Image.fromarray(np.asarray(example.image)), (left, top + CAPTION)
    )
  return canvas


def glyph_sheet(*, columns: int = 18, rows: int = 6) -> Image.Image:
  """The first glyphs of the test split, and the masks of the last row below."""
  step = glyphs.SIZE + 4
  canvas = Image.new(
    'RGB', (columns * step - 4, (rows + 1) * step - 4), 'white'
  )
  for place in range(columns * rows):
    glyph = glyphs.render_glyph(seed=0, split='test', index=place)
    left, top = place % columns * step, place // columns * step
    canvas.paste(Image.fromarray(glyph.image), (left, top))
    if place // columns == rows - 1:
      canvas.paste(Image.fromarray(glyph.mask), (left, top + step))
  return canvas


if __name__ == '__main__':
  draw_sheet = glyph_sheet if sys.argv[2:] == ['glyphs'] else sheet
  draw_sheet().save(sys.argv[1])
