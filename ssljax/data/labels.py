"""labels.csv: what some of a person's images say, and which of them test."""

import csv
import hashlib
import pathlib
from typing import NamedTuple

from ssljax.errors import UserError

LABELS = 'labels.csv'
SHOWN = 20  # files or rows that one message names


class Label(NamedTuple):
  """What an image says, and the row of labels.csv; the header is row 1."""

  text: str
  row: int


def shorten(lines: list[str]) -> str:
  """The first lines, and how many more there are."""
  more = [f'and {len(lines) - SHOWN} more'] if len(lines) > SHOWN else []
  return '\n  '.join([*lines[:SHOWN], *more])


def read_labels(
  directory: pathlib.Path, files: set[str], charset: str, max_length: int
) -> dict[str, Label]:
  """The labels by file name; {} without a labels.csv.

  Raises:
    UserError: naming all rows that are wrong, and how.
  """
  path = directory / LABELS
  if not path.exists():
    return {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      rows = list(csv.reader(file))
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(
      f'Found {path} unreadable ({error}); expected a CSV file in UTF-8.'
    ) from None
  if not rows or rows[0] != ['file', 'text']:
    raise UserError(
      f'Found the header {rows[0] if rows else []} in {path}; expected the '
      'columns file,text.'
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


def mistake(cells, labels, files, charset: str, max_length: int) -> str:
  """What is wrong with a row, or ''."""
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


def held_out(labels: dict[str, Label], share: float) -> set[str]:
  """The labelled images that only test: those whose name hashes lowest.

  At least one where the share is above 0, and never all.
  """

  def place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])

  chosen = {name for name in labels if place(name) < share * 2**64}
  order = sorted(labels, key=place)
  if share > 0 and not chosen:
    chosen = set(order[:1])
  if len(labels) < 2:
    return set()
  return chosen - {order[-1]}
