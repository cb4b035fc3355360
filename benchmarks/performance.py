"""How fast the parts are: each row is a ratio of two that ran side by side.

  python benchmarks/performance.py            every row
  python benchmarks/performance.py ROW...     these rows
  python benchmarks/performance.py --list     the names of the rows
  python benchmarks/performance.py --smoke [ROW...]   small sizes, in seconds

What is found goes to docs/results/performance.json, a record a row, from which
docs/draw/reliability.py makes docs/performance.md. With --smoke nothing is
written. The status is 1 where a row misses its goal. Ratios hold on a machine
that does other work, seconds do not.
"""

import importlib
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import _rows

from ssljax.process import keep_heap

PAGES = ('performance',)
for path in sorted(pathlib.Path(__file__).parent.glob('_speed_*.py')):
  importlib.import_module(path.stem)


def main(
  arguments: Sequence[str],
  results: pathlib.Path = _rows.RESULTS / 'performance.json',
) -> int:
  keep_heap()  # as a run does
  return _rows.run(arguments, results, PAGES, 'performance.py')


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
