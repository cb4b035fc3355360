"""Reads a table of labels against the files that its rows name."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from ssljax.data import mending
from ssljax.data.file_names import FileNames
from ssljax.data.splits import WORDS, split_named
from ssljax.data.tables import Row, read_table

LABELS = 'labels.csv'


class Label(NamedTuple):
  """The text in an image, and where it stands.

  Attributes:
    text: at least one character.
    row: of the table; a header is row 1. 0 if the label is in no table.
    source: the table's name, or what else says the text.
  """

  text: str
  row: int = 0
  source: str = LABELS

  @property
  def where(self) -> str:
    return f'{self.source} row {self.row}' if self.row else self.source


class Read(NamedTuple):
  """What one table says; an empty text is kept, and removes a label.

  `wrong` says why some rows cannot be used, a line for each of these.
  """

  found: dict[str, Label]
  splits: dict[str, str]
  warnings: list[str]
  wrong: list[str]


def of_table(
  path: pathlib.Path,
  names: FileNames,
  *,
  base: str = '',
  corrects: bool = False,
) -> Read:
  """Reads one table.

  Args:
    path: the table.
    names: of the folder's images.
    base: the folder in the folder where the table is.
    corrects: whether a later row may contradict an earlier one, and an empty
      text removes a label.
  """
  table = read_table(path, lambda cell: bool(names.find(cell, base)))
  source = f'{base}/{path.name}' if base else path.name
  found: dict[str, Label] = {}
  splits, wrong, notes = {}, [], Notes(source)
  for row in table.rows:
    file = '' if row.wrong else names.find(row.file, base)
    text, said = mending.mended(row.text)
    label, before = Label(text, row.number, source), found.get(file)
    why = row.wrong or row_mistake(row, file, text, names, base)
    if before and not corrects and contradicts(before, label):
      why = why or contradiction(before, label)
    if why:
      wrong.append(f'{source} row {row.number}, {row.file!r}: {why}')
      continue
    for what in said:
      notes.add(what, row.number)
    if not names.exact(row.file, base):
      notes.add('files were found by another spelling', row.number, file)
    if before and before.text == text:
      notes.add('a row before it says the same', row.number)
    if not text and not corrects:
      notes.add('there is no text, so no label', row.number)
    if text or corrects or not before:
      found[file] = label
    if row.split.strip():
      splits[file] = split_named(row.split)
  texts = {label.row: label.text for label in found.values() if label.text}
  odd = suspicion(source, texts)
  return Read(found, splits, [*table.warnings, *notes.lines(), *odd], wrong)


def suspicion(source: str, texts: Mapping[int, str]) -> list[str]:
  """A line for the user if a spreadsheet may have changed a table."""
  odd = mending.suspicions(texts)
  if not odd:
    return []
  return [
    f'{source} may have been changed by a spreadsheet: {"; ".join(odd)}. '
    'Compare these rows with their images, and format the column as text '
    'before you type codes.'
  ]


class Notes:
  """Collects rows of a table by what is to be said of them."""

  def __init__(self, source: str):
    self._source = source
    self._rows: dict[str, list[str]] = {}

  def add(self, what: str, row: int, file: str = '') -> None:
    words = f'{row}: {file}' if file else f'{row}'
    self._rows.setdefault(what, []).append(words)

  def lines(self) -> list[str]:
    return [
      f'{self._source}: {what} in {len(rows)} '
      f'{"row" if len(rows) == 1 else "rows"} ({mending.shown(rows)}).'
      for what, rows in self._rows.items()
    ]


def contradicts(before: Label, label: Label) -> bool:
  """Whether two labels of one image say different texts."""
  return bool(before.text and label.text) and before.text != label.text


def contradiction(before: Label, label: Label) -> str:
  same = before.source == label.source
  return (
    f'found twice, first in {f"row {before.row}" if same else before.where} '
    f'with the text {before.text!r}, now with {label.text!r}; expected one row'
  )


def row_mistake(
  row: Row, file: str, text: str, names: FileNames, base: str
) -> str:
  """Says what is wrong with a row of a table, or returns ''.

  Args:
    row: the row.
    file: the file that it names, or ''.
    text: its text, mended.
    names: of the folder's images.
    base: the folder in the folder where the table is.
  """
  if not file:
    near = names.near(row.file, base) if row.file.strip() else ()
    hint = f'; the nearest names are {", ".join(near)}' if near else ''
    return f'found no such file in the folder{hint}'
  if row.split.strip() and not split_named(row.split):
    return f'found split {row.split!r}, expected one of {", ".join(WORDS)}'
  if odd := mending.unprintable(text):
    return (
      f'found {odd!r} (U+{ord(odd):04X}) in the label {text!r:.60}, which no '
      'image shows; look for a quotation mark that is not closed'
    )
  return ''
