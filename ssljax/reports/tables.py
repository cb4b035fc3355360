"""GitHub-markdown tables, and how a figure stands in one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Figures from fewer test images say too little: where all of 9 images are read
# wrongly, the share that is read rightly may still be anything up to 0.28.
FEWEST = 10
TOO_FEW = 'too few to say'
Cells = tuple[list[tuple], Sequence[str]]  # the rows of a table, its headers


def shown(figure: Mapping[str, Any], count: int = FEWEST) -> str:
  """'value [low, high]', and the deviation over seeds where there are some.

  Args:
    figure: `value`, `low`, `high` and perhaps `by_seed`.
    count: the test images behind it; too few of them have no figure.
  """
  if count < FEWEST:
    return TOO_FEW
  text = f'{figure["value"]:.3f} [{figure["low"]:.3f}, {figure["high"]:.3f}]'
  if len(figure.get('by_seed', ())) > 1:
    text += f' ± {np.std(figure["by_seed"], ddof=1):.3f}'
  return text


def table(rows: Iterable[Iterable[Any]], headers: Sequence[str]) -> str:
  """Makes a GitHub-markdown table that also reads well as plain text.

  Args:
    rows: the cells of each row. A float is written with three decimals and
      None as a dash. A column in which all cells are numbers or None is
      aligned right.
    headers: the names of the columns.

  Raises:
    ValueError: a row has more or fewer cells than there are headers.
  """
  rows = [list(row) for row in rows]
  for row in rows:
    if len(row) != len(headers):
      raise ValueError(
        f'Found {len(row)} cells under {len(headers)} headers: {row}; expected '
        'one cell per header. Write None for an empty cell.'
      )
  columns = list(zip(*rows, strict=True)) or [()] * len(headers)
  right = [is_numeric(column) for column in columns]
  text = [[_escaped(each) for each in row] for row in [headers, *rows]]
  widths = [max(3, *map(len, column)) for column in zip(*text, strict=True)]

  def line(cells: Sequence[str]) -> str:
    padded = [
      cell.rjust(width) if is_right else cell.ljust(width)
      for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return f'| {" | ".join(padded)} |'

  rule = [
    '-' * (width - 1) + (':' if is_right else '-')
    for width, is_right in zip(widths, right, strict=True)
  ]
  return '\n'.join([line(text[0]), line(rule), *map(line, text[1:])])


def is_numeric(column: Iterable[Any]) -> bool:
  """Whether all cells are numbers or None, and some are numbers."""
  numbers = [cell for cell in column if cell is not None]
  return bool(numbers) and all(
    isinstance(cell, (int, float, np.number)) for cell in numbers
  )


def cell(value: Any) -> str:
  """A float with three decimals, None as a dash, anything else as it is."""
  if value is None:
    return '-'
  if isinstance(value, (float, np.floating)):
    return f'{value:.3f}'
  return str(value)


def _escaped(value: Any) -> str:
  return cell(value).replace('|', r'\|')  # a bare | would end the column
