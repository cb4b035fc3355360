"""What a run survives, and where it runs: each row is tried and written down.

  python benchmarks/reliability.py            every row, in hours
  python benchmarks/reliability.py ROW...     these rows
  python benchmarks/reliability.py --list     the names of the rows
  python benchmarks/reliability.py --smoke [ROW...]   a few tries, in minutes

What is found goes to docs/results/reliability.json, a record a row, from which
docs/draw/reliability.py makes docs/reliability.md and docs/devices.md. With
--smoke nothing is written. The status is 1 where a row misses its goal.
"""

import importlib
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import _rows

PAGES = ('reliability', 'devices')
for path in sorted(pathlib.Path(__file__).parent.glob('_rows_*.py')):
  importlib.import_module(path.stem)


def main(
  arguments: Sequence[str],
  results: pathlib.Path = _rows.RESULTS / 'reliability.json',
) -> int:
  return _rows.run(arguments, results, PAGES, 'reliability.py')


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
