"""Makes docs/reliability.md from docs/results/reliability.json.

  python docs/draw/reliability.py           makes the page anew
  python docs/draw/reliability.py --check   fails where it is of other results

The results are those of benchmarks/reliability.py. The prose of the page is in
docs/draw/reliability_template.md.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ssljax.records import read_json
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
TEMPLATE = DOCS / 'draw' / 'reliability_template.md'


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
  """The text of the page: a table, and what is to be said of single rows."""
  rows, notes = [], []
  for name, found in sorted(records.items()):
    figure = f'{found["passed"]} of {found["tries"]}'
    if found['figure']:
      figure += f': {found["figure"]}'
    met = 'yes' if found['met'] else '**no**'
    rows.append((f'`{name}`', found['what'], found['goal'], figure, met))
    if found['notes']:
      notes.append(f'- `{name}`: {found["notes"]}')
  machines = sorted({found['machine'] for found in records.values()})
  text = TEMPLATE.read_text(encoding='utf-8')
  headers = ('row', 'what', 'goal', 'found', 'met')
  for mark, value in (
    ('TABLE', table(rows, headers)),
    ('NOTES', '\n'.join(notes) or 'No row has more to tell.'),
    ('MACHINES', '; '.join(machines)),
  ):
    text = text.replace(f'{{{mark}}}', value)
  return text


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  made = page(read_json(docs / 'results' / 'reliability.json'))
  path = docs / 'reliability.md'
  if list(arguments) != ['--check']:
    path.write_text(made, encoding='utf-8')
  elif not path.exists() or path.read_text(encoding='utf-8') != made:
    sys.exit(
      f'Found {path.name} of other results than those in docs/results; run '
      'python docs/draw/reliability.py and commit what it writes.'
    )


if __name__ == '__main__':
  main(sys.argv[1:])
