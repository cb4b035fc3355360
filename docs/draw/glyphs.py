"""Draws single characters of the renderer: docs/glyphs.png.

python docs/draw/glyphs.py OUT.png
"""

import sys

from PIL import Image

from ssljax.data.glyphs import SIZE, render_glyph


def sheet(*, columns: int = 18, rows: int = 6) -> Image.Image:
  """The first glyphs of the test split, and the masks of the last row below."""
  step = SIZE + 4
  canvas = Image.new(
    'RGB', (columns * step - 4, (rows + 1) * step - 4), 'white'
  )
  for place in range(columns * rows):
    glyph = render_glyph(seed=0, split='test', index=place)
    left, top = place % columns * step, place // columns * step
    canvas.paste(Image.fromarray(glyph.image), (left, top))
    if place // columns == rows - 1:
      canvas.paste(Image.fromarray(glyph.mask), (left, top + step))
  return canvas


if __name__ == '__main__':
  sheet().save(sys.argv[1])
