"""Draws a method as boxes and arrows: from a few lines of text to SVG.

A line is a box, `column row columns kind label`, or an arrow between labels,
which may end in `: what it says`. Time runs downwards, so that a figure is as
narrow as a phone.

  0 0 2 network encoder    a box in columns 0 and 1 of row 0
  0 1 1 data prediction    a box in column 0 of row 1
  encoder > prediction     an arrow of the forward pass
  encoder | prediction     the same, and no gradient flows back past it
  encoder ~ target         what is updated between steps, without a gradient
"""

import html
import re
from typing import NamedTuple

WIDE, HIGH = 130, 34  # of a box of one column, in pixels
COLUMN, ROW, EDGE = 154, 66, 12
# Fill and line of each kind of box; told apart by their lightness too.
KINDS = {
  'data': ('#ffffff', '#555555'),
  'network': ('#cfe3f5', '#0072b2'),
  'slow': ('#f6e3bd', '#a66f00'),
  'state': ('#e8e8e8', '#555555'),
  'loss': ('#f6d3c4', '#b04a00'),
}
LEGEND = {
  '>': 'forward pass',
  '|': 'no gradient flows back past the bars',
  '~': 'updated between steps',
}


class Box(NamedTuple):
  column: float
  row: float
  columns: int
  kind: str
  label: str

  @property
  def left(self) -> float:
    return EDGE + self.column * COLUMN

  @property
  def right(self) -> float:
    return self.left + WIDE + (self.columns - 1) * COLUMN

  @property
  def top(self) -> float:
    return EDGE + self.row * ROW

  @property
  def bottom(self) -> float:
    return self.top + HIGH


def svg(text: str) -> str:
  """The figure that the lines describe."""
  boxes, arrows = parsed(text)
  width = max(box.right for box in boxes.values()) + EDGE
  bottom = max(box.bottom for box in boxes.values()) + EDGE
  kinds = [sign for sign in LEGEND if any(sign == each[1] for each in arrows)]
  height = bottom + 20 * len(kinds)
  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
    f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
    'font-family="sans-serif" font-size="13">',
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    *(line for each in arrows for line in arrow(boxes, *each)),
    *(line for box in boxes.values() for line in drawn(box)),
    *(
      line
      for place, sign in enumerate(kinds)
      for line in explained(sign, bottom + 20 * place + 8)
    ),
    '</svg>',
  ]
  return '\n'.join(parts) + '\n'


def parsed(text: str) -> tuple[dict[str, Box], list[tuple[str, ...]]]:
  """The boxes by label, and the arrows as (from, sign, to, what it says)."""
  boxes, arrows = {}, []
  for line in text.strip().splitlines():
    if found := re.fullmatch(r'(.+?) ([>|~]) (.+?)(?:: (.+))?', line):
      start, sign, end, says = found.groups()
      arrows.append((start, sign, end, says or ''))
    else:
      column, row, columns, kind, label = line.split(maxsplit=4)
      boxes[label] = Box(float(column), float(row), int(columns), kind, label)
  return boxes, arrows


def drawn(box: Box) -> list[str]:
  fill, line = KINDS[box.kind]
  return [
    f'<rect x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
    f'height="{HIGH}" rx="4" fill="{fill}" stroke="{line}"/>',
    write(box.label, (box.left + box.right) / 2, box.top + 22, 'middle'),
  ]


def write(text: str, x: float, y: float, anchor: str, size: int = 13) -> str:
  return (
    f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}">'
    f'{html.escape(text)}</text>'
  )


def arrow(
  boxes: dict[str, Box], start: str, sign: str, end: str, says: str
) -> list[str]:
  """Down in each column that both boxes have, or else from side to side."""
  a, b = boxes[start], boxes[end]
  made = []
  for x in columns(a, b) if a.row != b.row else ():
    down = a.row < b.row
    y1, y2 = (a.bottom, b.top) if down else (a.top, b.bottom)
    made += line((x, y1), (x, y2), sign)
  if not made and a.row == b.row:
    y = (a.top + a.bottom) / 2
    x1, x2 = (a.right, b.left) if a.left < b.left else (a.left, b.right)
    made = line((x1, y), (x2, y), sign)
  elif not made:
    x1, x2 = (a.left + a.right) / 2, (b.left + b.right) / 2
    made = line((x1, a.bottom), (x2, b.top), sign)
  if says:
    x, y = (a.right + b.left) / 2, (a.bottom + b.top) / 2 + 4
    if a.row == b.row:
      made.append(write(says, x, a.bottom + 14, 'middle', 11))
    else:
      x = max(columns(a, b), default=x)
      made.append(write(says, x + 10, y, 'start', 11))
  return made


def columns(a: Box, b: Box) -> list[float]:
  """The middles of the columns that both have, or of the narrower box."""
  narrow, broad = sorted((a, b), key=lambda box: box.columns)
  if not broad.left <= narrow.left <= narrow.right <= broad.right:
    return []
  middle = narrow.left + WIDE / 2
  return [middle + place * COLUMN for place in range(narrow.columns)]


def line(
  start: tuple[float, float], end: tuple[float, float], sign: str
) -> list[str]:
  """A line with a head; two bars across it where no gradient flows."""
  (x1, y1), (x2, y2) = start, end
  length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
  u, v = (x2 - x1) / length, (y2 - y1) / length
  dash = ' stroke-dasharray="5 4"' if sign == '~' else ''
  wing = [(x2 - 8 * u + s * 4 * v, y2 - 8 * v - s * 4 * u) for s in (-1, 1)]
  head = ' '.join(f'{x:.4g},{y:.4g}' for x, y in [(x2, y2), *wing])
  made = [
    f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2 - 6 * u:.4g}" '
    f'y2="{y2 - 6 * v:.4g}" stroke="#333333" stroke-width="1.4"{dash}/>',
    f'<polygon points="{head}" fill="#333333"/>',
  ]
  if sign == '|':
    for back in (-3, 3):
      x, y = (x1 + x2) / 2 + back * u, (y1 + y2) / 2 + back * v
      made.append(
        f'<line x1="{x - 7 * v:.4g}" y1="{y + 7 * u:.4g}" x2="{x + 7 * v:.4g}" '
        f'y2="{y - 7 * u:.4g}" stroke="#b00020" stroke-width="2"/>'
      )
  return made


def explained(sign: str, y: float) -> list[str]:
  """A line of the legend."""
  return [
    *line((EDGE, y), (EDGE + 34, y), sign),
    write(LEGEND[sign], EDGE + 44, y + 4, 'start', 11),
  ]
