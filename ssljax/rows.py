"""Readings as rows of a file: text, CSV or JSON lines, and such files again."""

import contextlib
import csv
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TextIO

from ssljax.decoding import Reading
from ssljax.errors import UserError

FORMATS = ('text', 'csv', 'jsonl')
Write = Callable[[str, Reading], None]
# A file's name may be no UTF-8; its bytes go through as they are.
ENCODING: Any = {'encoding': 'utf-8', 'errors': 'surrogateescape'}


class Layout(NamedTuple):
  """How a row looks.

  Attributes:
    format: one of `FORMATS`.
    top: how many texts a row has.
    characters: whether it has the confidence of each character.
  """

  format: str
  top: int = 1
  characters: bool = False

  @property
  def header(self) -> list[str]:
    """The columns of a CSV file."""
    further = [
      f'{name}_{place}'
      for place in range(2, self.top + 1)
      for name in ('text', 'confidence')
    ]
    last = ['characters'] if self.characters else []
    return ['file', 'text', 'confidence', *further, *last]

  def row(self, file: str, reading: Reading) -> str:
    """A reading as a line, with its end."""
    texts = reading.alternatives[: self.top] if self.top > 1 else ()
    if self.format == 'jsonl':
      found: dict[str, Any] = {'file': file, 'text': reading.text}
      found['confidence'] = _short(reading.confidence)
      if self.top > 1:
        found['top'] = [[text, _short(value)] for text, value in texts]
      if self.characters:
        found['characters'] = [_short(each) for each in reading.characters]
      return json.dumps(found) + '\n'
    cells = [reading.text, f'{reading.confidence:.4f}']
    further = [
      cell for text, value in texts[1:] for cell in (text, f'{value:.4f}')
    ]
    further += [''] * (2 * (self.top - 1) - len(further))
    if self.characters:
      further.append(' '.join(f'{each:.4f}' for each in reading.characters))
    if self.format == 'csv':
      return _csv([file, *cells, *further])
    return '\t'.join(map(_escaped, [*cells, file, *further])) + '\n'


def _short(value: float) -> float:
  return round(value, 6)


def _csv(cells: list[str]) -> str:
  line = io.StringIO()
  csv.writer(line, lineterminator='\n').writerow(cells)
  return line.getvalue()


def _escaped(cell: str) -> str:
  """A cell without tabs and ends of lines, which would look like others."""
  for sign, escape in (
    ('\\', r'\\'),
    ('\t', r'\t'),
    ('\n', r'\n'),
    ('\r', r'\r'),
  ):
    cell = cell.replace(sign, escape)
  return cell


def _unescaped(cell: str) -> str:
  found, signs = '', iter(cell)
  for sign in signs:
    if sign == '\\':
      sign = {'t': '\t', 'n': '\n', 'r': '\r'}.get(
        following := next(signs), following
      )
    found += sign
  return found


@contextlib.contextmanager
def opened(
  layout: Layout, path: str | None, *, resume: bool = False
) -> Iterator[tuple[Write, set[str]]]:
  """Opens what rows are written to.

  Args:
    layout: of the rows.
    path: of the file; None for standard output.
    resume: whether to keep the rows of the file.

  Yields:
    A function that writes a row at once, and the files that have a row already.

  Raises:
    UserError: the file cannot be written, or has rows of another layout.
  """
  kept: set[str] = set()
  with contextlib.ExitStack() as stack:
    if path is None:
      stream: TextIO = sys.stdout
      if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(**ENCODING)
    else:
      file = pathlib.Path(path).expanduser()
      try:
        if resume and file.exists():
          kept = read_back(layout, file)
        stream = file.open('a' if resume else 'w', newline='', **ENCODING)
      except OSError as error:
        raise UserError(
          f'Found that {path} cannot be written ({error.strerror}); expected a '
          'file in a folder that exists. Name another --output.'
        ) from None
      stack.enter_context(stream)
    if layout.format == 'csv' and (path is None or not stream.tell()):
      stream.write(_csv(layout.header))

    def write(name: str, reading: Reading) -> None:
      stream.write(layout.row(name, reading))
      stream.flush()

    yield write, kept
    stream.flush()


def read_back(layout: Layout, path: pathlib.Path) -> set[str]:
  """The files that have a row; a last row that a kill tore is cut off.

  Raises:
    UserError: the file has rows of another layout.
  """
  data = path.read_bytes()
  whole = data[: data.rfind(b'\n') + 1]
  # The kill may have torn a name that has ends of lines in it.
  while layout.format == 'csv' and whole.count(b'"') % 2:
    whole = whole[: whole.rfind(b'\n', 0, -1) + 1]
  if whole != data:
    os.truncate(path, len(whole))
  lines = io.StringIO(whole.decode(**ENCODING), newline='')
  try:
    if layout.format == 'jsonl':
      found = [json.loads(line) for line in lines]
      keys = {'file', 'text', 'confidence'}
      keys |= {'top'} if layout.top > 1 else set()
      keys |= {'characters'} if layout.characters else set()
      if any(set(each) != keys for each in found):
        raise ValueError
      return {each['file'] for each in found}
    if layout.format == 'csv':
      found = list(csv.reader(lines))
      if found and found[0] != layout.header:
        raise ValueError
      return {row[0] for row in found[1:]}
    cells = [line.rstrip('\n').split('\t') for line in lines]
    if any(len(row) != len(layout.header) for row in cells):
      raise ValueError
    return {_unescaped(row[2]) for row in cells}
  except (ValueError, TypeError, KeyError, IndexError, csv.Error):
    raise UserError(
      f'Found rows in {path} that are not {layout.format} with '
      f'{", ".join(layout.header)}; expected those of the same command. Give '
      'the --format, --top and --characters that it was made by, or another '
      '--output.'
    ) from None
