"""Reads labels.csv and splits its images into training and test sets."""

import csv
import hashlib
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ssljax.errors import UserError

LABELS = 'labels.csv'
SHOWN = 20  # the most files or rows that one error message names


class Label(NamedTuple):
  """The text in an image, and its row in labels.csv; the header is row 1."""

  text: str
  row: int


def shorten(lines: Sequence[str]) -> str:
  """Joins the first `SHOWN` lines and says how many more there are."""
  more = [f'and {len(lines) - SHOWN} more'] if len(lines) > SHOWN else []
  return '\n  '.join([*lines[:SHOWN], *more])


def read_labels(
  directory: pathlib.Path, files: set[str], charset: str, max_length: int
) -> dict[str, Label]:
  """Reads the labels of a folder.

  Args:
    directory: the folder.
    files: the names of its files, relative to the folder.
    charset: the characters that labels may have; '' allows every character.
    max_length: the most characters that a label may have; 0 allows any length.

  Returns:
    The labels by file name; {} if the folder has no labels.csv.

  Raises:
    UserError: labels.csv is not a CSV file of this kind, or some of its rows
      cannot be used; the error names these rows and the reasons.
  """
  path = directory / LABELS
  if not path.exists():
    return {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      rows = list(csv.reader(file))
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(
      f'Found {path} unreadable ({error}); expected a CSV file in UTF-8. Save '
      'it as UTF-8.'
    ) from None
  if not rows or rows[0] != ['file', 'text']:
    raise UserError(
      f'Found the header {rows[0] if rows else []} in {path}; expected the '
      'columns file,text. Make file,text its first line.'
    )
  labels, wrong = {}, []
  for row, cells in enumerate(rows[1:], start=2):
    if not cells:
      continue  # a blank line
    why = mistake(cells, labels, files, charset, max_length)
    if why:
      wrong.append(f'row {row}, {cells[0]!r}: {why}')
    else:
      labels[pathlib.PurePosixPath(cells[0]).as_posix()] = Label(cells[1], row)
  if wrong:
    raise UserError(
      f'Found {len(wrong)} rows of {path} that cannot be used; correct or '
      'remove them:\n  ' + shorten(wrong)
    )
  return labels


def mistake(
  cells: Sequence[str],
  labels: Mapping[str, Label],
  files: Collection[str],
  charset: str,
  max_length: int,
) -> str:
  """Says what is wrong with a row of labels.csv, or returns ''.

  Args:
    cells: the cells of the row.
    labels: the labels of the rows before it.
    files: the names of all files.
    charset: the characters that labels may have; '' allows every character.
    max_length: the most characters that a label may have; 0 allows any length.
  """
  if len(cells) != 2:
    return f'found {len(cells)} columns, expected file,text'
  name, text = pathlib.PurePosixPath(cells[0]).as_posix(), cells[1]
  if name in labels:
    return f'found twice, first in row {labels[name].row}; expected one row'
  if name not in files:
    return 'found no such file in the folder'
  if not text:
    return 'found an empty label, expected at least one character'
  for character in text if charset else '':
    if character not in charset:
      return (
        f'found {character!r} (U+{ord(character):04X}) in the label {text!r}, '
        f'expected characters of {charset!r}'
      )
  if max_length and len(text) > max_length:
    return (
      f'found {len(text)} characters in the label {text!r}, expected at most '
      f'{max_length}'
    )
  return ''


def held_out(names: Collection[str], share: float) -> set[str]:
  """Chooses the labelled images that are kept for testing.

  An image is chosen if the hash of its name, as a fraction of the largest
  hash, is below `share`. If `share` is above 0, at least one of two or more
  images is chosen; in any case one is left to train on.
  """

  def place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])

  chosen = {name for name in names if place(name) < share * 2**64}
  order = sorted(names, key=place)
  if share > 0 and not chosen:
    chosen = set(order[:1])
  if len(names) < 2:
    return set()
  return chosen - {order[-1]}
