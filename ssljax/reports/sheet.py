"""A picture of what a stage reads in images without labels, and a list of it.

Without labels no figure can tell how well a stage reads. People can tell by
looking at its most and at its least confident readings.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssljax import durable

Reading = tuple[str, float]  # a text, and the confidence of its reading

MOST, LEAST = (
  12,
  24,
)  # how many of the most and of the least confident are shown
WIDTH = 1200  # of the sheet, in pixels
TALLEST = 96  # the height that pictures are shown at, where there is room
MARGIN = 12
LINE = 26  # the height of a line of text
SMALLEST = 9  # the font size below which a reading is cut short


def chosen(readings: Sequence[Reading]) -> tuple[list[int], list[int]]:
  """The places of the most and of the least confident readings.

  No reading is in both lists. Each list begins at its own end: with the most
  confident reading, and with the least confident one.
  """
  order = by_confidence(readings)
  return order[:MOST], order[MOST:][: -LEAST - 1 : -1]


def by_confidence(readings: Sequence[Reading]) -> list[int]:
  """The places of all readings, the most confident one first."""
  return sorted(range(len(readings)), key=lambda place: -readings[place][1])


def sheet(
  images: Mapping[int, np.ndarray] | Sequence[np.ndarray],
  readings: Sequence[Reading],
  path: str | pathlib.Path,
  *,
  columns: int = 4,
) -> None:
  """Draws the most and the least confident readings under their images.

  Args:
    images: uint8 (height, width, 3) by place; only those of `chosen` are used.
    readings: (text, confidence) of every image.
    path: the PNG file to write.
    columns: the number of images in a row.
  """
  most, least = chosen(readings)
  blocks = [
    (f'The {len(most)} most confident of {len(readings):,} readings', most),
    (f'The {len(least)} least confident, the least of all first', least),
  ]
  cell = (WIDTH - MARGIN) // columns
  parts = []
  for caption, places in blocks:
    if not places:
      continue
    parts.append(_caption(caption))
    cells = [_cell(images[place], readings[place], cell) for place in places]
    parts += [
      _beside(cells[start : start + columns])
      for start in range(0, len(cells), columns)
    ]
  with durable.replacing(path, 'wb') as file:
    _page(parts).save(file, 'PNG')


def pictures(
  images: Sequence[np.ndarray] | np.ndarray,
  captions: Sequence[tuple[str, str]],
  path: str | pathlib.Path,
) -> None:
  """Draws pictures with two lines below each.

  Args:
    images: uint8 (height, width, 3) of each picture.
    captions: the two lines of each: its label, and its name.
    path: the PNG file to write.
  """
  height, width = images[0].shape[:2]
  columns = 4 if width <= 4 * height else 2
  cell = (WIDTH - MARGIN) // columns
  cells = [
    _captioned(pixels, *caption, cell, empty='(no label)')
    for pixels, caption in zip(images, captions, strict=True)
  ]
  parts = [_caption('As the network sees them')]
  parts += [
    _beside(cells[start : start + columns])
    for start in range(0, len(cells), columns)
  ]
  with durable.replacing(path, 'wb') as file:
    _page(parts).save(file, 'PNG')


def write_readings(
  path: str | pathlib.Path, files: Sequence[str], readings: Sequence[Reading]
) -> None:
  """Writes (file, reading, confidence) of each image, most confident first."""
  rows = [
    (files[place], readings[place][0], f'{readings[place][1]:.4g}')
    for place in by_confidence(readings)
  ]
  # A file's name may hold bytes that are not valid UTF-8.
  with durable.replacing(
    path, newline='', encoding='utf-8', errors='surrogateescape'
  ) as file:
    csv.writer(file).writerows([('file', 'reading', 'confidence'), *rows])


def found(folder: pathlib.Path) -> dict[str, str]:
  """The sheet of each stage of a run that has one, relative to the run."""
  return {
    path.parent.name: path.relative_to(folder).as_posix()
    for path in sorted(folder.glob('*/sheet.png'))
  }


def render(sheets: Mapping[str, str]) -> str:
  """Says why there are no figures, and where to look instead."""
  if not sheets:
    return ''
  lines = [
    f'- `{path}` shows the most and the least confident readings of `{stage}`, '
    f'and `{pathlib.PurePosixPath(path).with_name("readings.csv")}` lists them '
    'all.'
    for stage, path in sheets.items()
  ]
  return '\n'.join(
    [
      'There are no labelled images to test with, so no figure can be given. '
      'Look at the readings in the run folder instead:\n',
      *lines,
    ]
  )


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
  import matplotlib

  # matplotlib brings this font along; its zero and its O look different.
  path = pathlib.Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / name
  return ImageFont.truetype(str(path), size)


def _page(parts: Sequence[Image.Image]) -> Image.Image:
  page = Image.new('RGB', (WIDTH, sum(part.height for part in parts)), 'white')
  top = 0
  for part in parts:
    page.paste(part, (MARGIN, top))
    top += part.height
  return page


def _caption(text: str) -> Image.Image:
  part = Image.new('RGB', (WIDTH - MARGIN, 2 * LINE), 'white')
  ImageDraw.Draw(part).text(
    (0, LINE), text, fill='black', font=_font('DejaVuSans.ttf', 20), anchor='lm'
  )
  return part


def _cell(pixels: np.ndarray, reading: Reading, width: int) -> Image.Image:
  """An image, its reading and its confidence, one under the other."""
  text, confidence = reading
  shown = f'{confidence:.2f}' if confidence >= 0.01 else 'below 0.01'
  return _captioned(pixels, text, f'confidence {shown}', width)


def _captioned(
  pixels: np.ndarray,
  text: str,
  below: str,
  width: int,
  *,
  empty: str = '(nothing)',
) -> Image.Image:
  """An image and two lines under it; `empty` stands for an empty first one."""
  room = width - MARGIN
  height = TALLEST + 3 * LINE
  part = Image.new('RGB', (width, height), 'white')
  picture = Image.fromarray(pixels)
  scale = min(TALLEST / picture.height, room / picture.width)
  size = [max(1, round(scale * side)) for side in picture.size]
  picture = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
  part.paste(picture, (0, TALLEST - size[1]))
  draw = ImageDraw.Draw(part)
  draw.rectangle((0, TALLEST - size[1], size[0], TALLEST), outline='lightgray')
  colour = 'black' if text else 'gray'
  text, font = _fitting(text or empty, room)
  middle = TALLEST + LINE // 2 + 4
  draw.text((0, middle), text, fill=colour, font=font, anchor='lm')
  draw.text(
    (0, middle + LINE),
    _cut(below, room),
    fill='dimgray',
    font=_font('DejaVuSans.ttf', 14),
    anchor='lm',
  )
  return part


def _fitting(text: str, room: int) -> tuple[str, ImageFont.FreeTypeFont]:
  """The text in the largest font that fits, cut short if none does."""
  for size in range(22, SMALLEST, -1):
    font = _font('DejaVuSansMono-Bold.ttf', size)
    if font.getlength(text) <= room:
      return text, font
  font = _font('DejaVuSansMono-Bold.ttf', SMALLEST)
  letters = int(room // font.getlength('0'))
  return text if len(text) <= letters else f'{text[: letters - 1]}…', font


def _cut(text: str, room: int) -> str:
  """The text in the small font, cut short at its beginning to fit."""
  font = _font('DejaVuSans.ttf', 14)
  # A name may hold bytes that no font can draw.
  text = text.encode('utf-8', 'backslashreplace').decode()
  if font.getlength(text) <= room:
    return text
  while font.getlength(f'…{text}') > room:
    text = text[1:]
  return f'…{text}'


def _beside(cells: Sequence[Image.Image]) -> Image.Image:
  width = sum(cell.width for cell in cells)
  row = Image.new('RGB', (width, cells[0].height), 'white')
  left = 0
  for cell in cells:
    row.paste(cell, (left, 0))
    left += cell.width
  return row
