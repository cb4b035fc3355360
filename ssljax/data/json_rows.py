"""Reads rows of labels in JSON: an object a line, a list, or file to text."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

EXAMPLE = '{"file": "7.png", "text": "4812"}'


def read(
  text: str, columns_of: Callable[[Sequence[str]], Mapping[str, int]]
) -> tuple[list[dict], list[str]]:
  """Reads JSON lines, such as {"file": "7.png", "text": "4812"}.

  A list of such objects is read too, and one object that has the text of each
  file, such as {"7.png": "4812"}.

  Args:
    text: of the file.
    columns_of: from the keys of an object to the positions of `file`, `text`
      and `split` among them; {} if it finds no file and no text.

  Returns:
    The arguments of `tables.Row` for each row, numbered by its line or by its
    place in the list, and the keys that are not read.
  """
  rows, unread = [], {}
  for number, found in _objects(text, columns_of):
    keys = list(found) if isinstance(found, dict) else []
    columns = columns_of(keys)
    row = {'number': number, 'file': ''}
    for column, place in columns.items():
      value = found[keys[place]]
      row[column] = '' if value is None else value
      if not isinstance(row[column], str):
        row |= {column: '', 'wrong': f'found {value!r:.60} as {column}'}
    if not columns:
      row['wrong'] = f'found {found!r:.60}, expected an object as {EXAMPLE}'
    rows.append(row)
    read = [keys[place] for place in columns.values()]
    unread |= dict.fromkeys(key for key in keys if columns and key not in read)
  return rows, list(unread)


def _objects(
  text: str, columns_of: Callable[[Sequence[str]], Mapping[str, int]]
) -> list[tuple[int, Any]]:
  whole = _loads(text)
  if isinstance(whole, list):
    return list(enumerate(whole, 1))
  if isinstance(whole, dict) and not columns_of(list(whole)):
    pairs = enumerate(whole.items(), 1)
    return [(at, {'file': name, 'text': label}) for at, (name, label) in pairs]
  # Not `splitlines`, because a text may have other characters that end lines.
  lines = enumerate(text.split('\n'), 1)
  return [(number, _loads(line)) for number, line in lines if line.strip()]


def _loads(text: str) -> Any:
  """JSON whose numbers stay as they are written; other text stays text."""
  try:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
  except (ValueError, RecursionError):
    return text
