"""Reads a table of labels, whatever its encoding, separator and header.

A table has a column of file names, a column of texts, and perhaps a column that
says in which split an image is. It is a text file with one row a line, or JSON.
Where the encoding is a guess, a warning says so.
"""

import csv
import io
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ssljax.data import json_rows
from ssljax.data.splits import split_named
from ssljax.data.text_files import decoded
from ssljax.errors import UserError

SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': 'bars'}
# What the columns may be called, the likelier name first. Capitals, spaces,
# hyphens and underscores do not matter.
COLUMNS = {
  'file': (
    *('file', 'filename', 'filepath', 'fname', 'image', 'imagename'),
    *('imagefile', 'imagepath', 'img', 'imgname', 'path', 'picture', 'name'),
  ),
  'text': (
    *('text', 'label', 'labels', 'transcription', 'transcript', 'groundtruth'),
    *('gt', 'value', 'code', 'word', 'words', 'string', 'target', 'content'),
    'caption',
  ),
  'split': ('split', 'splits', 'set', 'subset', 'partition'),
}
LINE = 'file{}text'  # the header that messages show
HEAD = 2**16  # so many characters tell the separator


class Row(NamedTuple):
  """A row of a table, by its number in the file; a header is row 1.

  `wrong` says why the row cannot be used, or is ''.
  """

  number: int
  file: str
  text: str = ''
  split: str = ''
  wrong: str = ''


class Table(NamedTuple):
  """The rows of a table that are not empty, and what to tell the user."""

  rows: list[Row]
  warnings: list[str]


class Layout(NamedTuple):
  """How a table is written.

  Attributes:
    separator: between its cells.
    columns: the position of `file`, of `text` and, if there is one, of `split`.
    width: the number of columns; 0 if there is no header.
    unread: the headers of the columns that are not read.
    started: how many rows stand before the first one with a label.
    warning: what to tell the user, or ''.
  """

  separator: str
  columns: dict[str, int]
  width: int
  unread: list[str]
  started: int
  warning: str = ''


def read_table(path: pathlib.Path, is_file: Callable[[str], bool]) -> Table:
  """Reads a table.

  Args:
    path: the table.
    is_file: whether a cell names one of the images. This tells the column of
      file names of a table without a header.

  Raises:
    UserError: the table cannot be read, or nothing tells its columns.
  """
  text, guess = decoded(path)
  warnings = []
  if guess:
    odd = sorted({c for c in text if ord(c) > 127 and not c.isspace()})
    warnings.append(
      f'{path.name} is not in UTF-8. It was read as {guess}, which is a guess; '
      f'its characters beyond ASCII are then {" ".join(odd[:20])}. If that is '
      'wrong, save the file as UTF-8.'
    )
  if is_json(path, text):
    found, unread = json_rows.read(text, columns_of)
    rows = [Row(**row) for row in found]
  else:
    layout = layout_of(path, text, is_file)
    unread = layout.unread
    warnings += filter(None, [layout.warning])
    rows = [
      row_of(number, cells, layout)
      for number, cells in enumerate(parsed(path, text, layout.separator), 1)
      if number > layout.started and any(map(str.strip, cells))
    ]
  if unread:
    warnings.append(
      f'{path.name}: the columns {", ".join(unread[:10])} are not read.'
    )
  if not rows:
    warnings.append(f'{path.name} has no rows with labels.')
  return Table(rows, warnings)


def called(title: str) -> str:
  """A column's title without what does not matter in it."""
  return re.sub(r'[\s_\-\ufeff]', '', title).casefold()


def is_json(path: pathlib.Path, text: str) -> bool:
  return path.suffix.lower() in ('.json', '.jsonl') or text.startswith('{"')


def parsed(path: pathlib.Path, text: str, separator: str) -> list[list[str]]:
  """The cells of every row of a text file."""
  # Excel's first line 'sep=;' is for Excel.
  text = re.sub(r'\A"?sep=."?(?=[\r\n])', '', text, flags=re.IGNORECASE)
  lines = io.StringIO(text, newline='')
  try:
    return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
  except csv.Error as error:
    raise UserError(
      f'Found {path} unreadable ({error}); expected a table with one row a '
      'line. Look for a quotation mark that is not closed.'
    ) from None


def layout_of(
  path: pathlib.Path, text: str, is_file: Callable[[str], bool]
) -> Layout:
  """Finds the separator and the columns by the header, or by the file names."""
  first = '\t' if path.suffix.lower() == '.tsv' else ','
  order = sorted(SEPARATORS, key=lambda separator: separator != first)
  heads = {}
  for separator in order:
    rows = parsed(path, text[:HEAD], separator)
    if len(text) > HEAD:
      rows = rows[:-1]  # it may be cut
    heads[separator] = [
      (number, cells)
      for number, cells in enumerate(rows, 1)
      if any(map(str.strip, cells))
    ]
  for separator, rows in heads.items():
    if rows and (columns := columns_of(rows[0][1])):
      number, cells = rows[0]
      unread = [
        cell.strip()
        for place, cell in enumerate(cells)
        if place not in columns.values() and cell.strip()
      ]
      return Layout(separator, columns, len(cells), unread, number)
  for separator, rows in heads.items():
    if rows and (layout := without_header(path, separator, rows, is_file)):
      return layout
  separator = max(
    order, key=lambda each: len(heads[each][0][1]) if heads[each] else 0
  )
  found = heads[separator][0][1] if heads[separator] else []
  raise UserError(
    f'Found the header {found} in {path}; expected a column of file names, '
    f'called {", ".join(COLUMNS["file"][:4])} or similar, and a column of '
    'texts, called text, label or similar. Without a header, the first column '
    'has to name files of the folder. Put this line on top of the file, or in '
    f'the place of its header:\n  {LINE.format(separator)}'
  )


def columns_of(cells: Sequence[str]) -> dict[str, int]:
  """The positions of the columns by a header; {} if it is no header."""
  titles = [called(cell) for cell in cells]
  columns = {
    column: next(titles.index(name) for name in names if name in titles)
    for column, names in COLUMNS.items()
    if set(names) & set(titles)
  }
  return columns if {'file', 'text'} <= set(columns) else {}


def without_header(
  path: pathlib.Path,
  separator: str,
  rows: Sequence[tuple[int, list[str]]],
  is_file: Callable[[str], bool],
) -> Layout | None:
  """The layout of a table whose first column names files, or None."""
  named = [len(cells) > 1 and is_file(cells[0]) for _, cells in rows]
  if 2 * sum(named) < len(named) or not any(named):
    return None
  thirds = [cells[2] for _, cells in rows[1:] or rows if len(cells) > 2]
  columns = {'file': 0, 'text': 1}
  if thirds and all(map(split_named, thirds)):
    columns['split'] = 2
  number, first = rows[0]
  # A title of a column in some other language has no suffix.
  if named[0] or pathlib.PurePath(first[0]).suffix:
    return Layout(separator, columns, 0, [], 0)
  warning = (
    f'{path.name}: the header {first} was not understood; the first column '
    'was read as the file names and the second one as the texts. To be sure, '
    f'make the header {LINE.format(separator)!r}.'
  )
  return Layout(separator, columns, 0, [], number, warning)


def row_of(number: int, cells: Sequence[str], layout: Layout) -> Row:
  columns = layout.columns
  width = layout.width or len(columns)
  names = sorted(columns, key=lambda name: columns[name])
  expected = ','.join(names) if layout.width <= len(names) else f'{width}'
  cells = list(cells)
  while len(cells) > width and not cells[-1].strip():
    cells.pop()
  if len(cells) > width or len(cells) <= max(columns['file'], columns['text']):
    hint = ''
    if len(cells) > width:
      mark = SEPARATORS[layout.separator]
      hint = f'; put quotation marks around a text that has {mark}'
    return Row(
      number,
      cells[min(columns['file'], len(cells) - 1)],
      wrong=f'found {len(cells)} columns, expected {expected}{hint}',
    )
  found = {
    name: cells[place] for name, place in columns.items() if place < len(cells)
  }
  return Row(number, **found)
