"""Makes pages from docs/results/reliability.json and performance.json.

  python docs/draw/reliability.py           makes all anew
  python docs/draw/reliability.py --check   fails where one is of other results

The results are those of benchmarks/reliability.py and performance.py; each
record names its page, docs/reliability.md, docs/devices.md or
docs/performance.md. The prose of a page is in docs/draw/PAGE_template.md.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import written

from ssljax.records import read_json
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
# Pages, and the results that they are made from.
PAGES = {
  'reliability': 'reliability',
  'devices': 'reliability',
  'performance': 'performance',
}


def page(name: str, records: Mapping[str, Mapping[str, Any]]) -> str:
  """The text of a page: a table, and what is to be said of single rows."""
  rows, notes = [], []
  text = (DOCS / 'draw' / f'{name}_template.md').read_text(encoding='utf-8')
  records = {key: each for key, each in records.items() if each['page'] == name}
  for key, found in sorted(records.items()):
    figure = found['figure']
    if name != 'performance':  # where a row is tried, and not measured
      tried = f'{found["passed"]} of {found["tries"]}'
      figure = f'{tried}: {figure}' if figure else tried
    met = 'yes' if found['met'] else '**no**'
    rows.append((f'`{key}`', found['what'], found['goal'], figure, met))
    if found['notes']:
      notes.append(f'- `{key}`: {found["notes"]}')
  machines = sorted(
    {
      ', '.join(filter(None, (found['machine'], found.get('versions'))))
      for found in records.values()
    }
  )
  headers = ('row', 'what', 'goal', 'found', 'met')
  for mark, value in (
    ('TABLE', table(rows, headers)),
    ('NOTES', '\n'.join(notes) or 'No row has more to tell.'),
    ('MACHINES', '; '.join(machines)),
  ):
    text = text.replace(f'{{{mark}}}', value)
  return text


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  made = {}
  for name, source in PAGES.items():
    results = docs / 'results' / f'{source}.json'
    records = read_json(results) if results.exists() else {}
    made[docs / f'{name}.md'] = page(name, records)
  written.keep(
    made,
    arguments,
    script='reliability.py',
    sources=f'results than those in {docs / "results"}',
  )


if __name__ == '__main__':
  main(sys.argv[1:])
