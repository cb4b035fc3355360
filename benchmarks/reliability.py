"""What a run survives, and where it runs: each row is tried and written down.

  python benchmarks/reliability.py            every row, in hours
  python benchmarks/reliability.py ROW...     these rows
  python benchmarks/reliability.py --list     the names of the rows
  python benchmarks/reliability.py --smoke [ROW...]   a few tries, in minutes

What is found goes to docs/results/reliability.json, a record a row, from which
docs/draw/reliability.py makes docs/reliability.md and docs/devices.md. With
--smoke nothing is written. The status is 1 where a row misses its goal.
"""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import _reliability

from ssljax.records import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / 'docs' / 'results' / 'reliability.json'
for path in sorted((ROOT / 'benchmarks').glob('_rows_*.py')):
  importlib.import_module(path.stem)


def main(arguments: Sequence[str], results: pathlib.Path = RESULTS) -> int:
  parser = argparse.ArgumentParser(allow_abbrev=False)
  parser.add_argument('rows', nargs='*', metavar='ROW')
  parser.add_argument('--list', action='store_true')
  parser.add_argument('--smoke', action='store_true')
  given = parser.parse_args(arguments)
  rows = _reliability.ROWS
  if unknown := sorted(set(given.rows) - set(rows)):
    sys.exit(f'Found {unknown[0]!r}; expected rows of {", ".join(rows)}.')
  if given.list:
    print('\n'.join(rows))
    return 0
  missed = 0
  for name in given.rows or rows:
    record = _reliability.measured(name, smoke=given.smoke)
    missed += not record['met']
    print(
      f'{name}: {record["passed"]} of {record["tries"]}, {record["figure"]}'
      f'{"" if record["met"] else "; MISSED"} ({record["seconds"]} s)',
      flush=True,
    )
    if record['notes']:
      print(f'  {record["notes"]}', flush=True)
    if not given.smoke:
      known = read_json(results) if results.exists() else {}
      write_json(results, known | {name: record})
  return int(missed > 0)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
