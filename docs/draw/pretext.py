"""Draws what the generative tasks of a run made: docs/pretext_*.png.

  python docs/draw/pretext.py OUT.png RUN STAGE...

RUN is a run folder, and each STAGE is one of its stages that wrote pictures.
The sheet shows the first rows of each stage's last pictures: what the task was
given, what it made, and what it should have made.
"""

import pathlib
import sys

from PIL import Image, ImageDraw, ImageFont

ROWS, GRID_ROWS = 5, 8  # shown, and of `ssljax.evaluate.grid`
GAP, TITLE = 12, 20


def panel(folder: pathlib.Path) -> Image.Image:
  """The last grid of a stage under its name."""
  *_, last = sorted(folder.glob('pictures/*.png'))
  with Image.open(last) as image:
    width, height = image.width, image.height // GRID_ROWS * ROWS
    grid = image.convert('RGB').crop((0, 0, width, height))
  zoom = 2 if width < 200 else 1  # small images are hard to see
  grid = grid.resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
  made = Image.new('RGB', (grid.width, grid.height + TITLE), 'white')
  made.paste(grid, (0, TITLE))
  title = folder.name.removeprefix('pretrain_').removesuffix('_0')
  font = ImageFont.load_default(size=14)
  ImageDraw.Draw(made).text((2, 1), title.replace('_', ' '), 'black', font)
  return made


def main(out: str, run: str, *stages: str) -> None:
  panels = [panel(pathlib.Path(run) / stage) for stage in stages]
  across = 3 if panels[0].width < 400 else 2
  width, height = (max(each.size[axis] for each in panels) for axis in (0, 1))
  rows = -(-len(panels) // across)
  sheet = Image.new(
    'RGB', (across * (width + GAP) - GAP, rows * (height + GAP) - GAP), 'white'
  )
  for number, each in enumerate(panels):
    row, column = divmod(number, across)
    sheet.paste(each, (column * (width + GAP), row * (height + GAP)))
  sheet.save(out)


if __name__ == '__main__':
  main(*sys.argv[1:])
