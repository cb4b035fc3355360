"""The rows of reliability.py and performance.py: what each measures.

A row is a function in a file `benchmarks/_rows_*.py` (of reliability.py) or
`benchmarks/_speed_*.py` (of performance.py):

  @row('two-runs', what='Two runs in one folder.', goal='the second is refused')
  def two_runs(folder, smoke):
    ...
    return Outcome(tries=3, passed=3, figure='refused within 0.2 s')

It may write to `folder`, which is empty and is removed afterwards. With `smoke`
it tries little, in seconds.
"""

import argparse
import os
import pathlib
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from ssljax.records import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / 'docs' / 'results'


class Outcome(NamedTuple):
  """What a row found.

  Attributes:
    tries: how often it was tried.
    passed: how many of the tries went as the goal says.
    figure: what was measured, in words: '0.12 % of a run'.
    met: whether the goal is met; by default, whether every try passed.
    notes: sentences about what was tried, and about each miss.
    values: the numbers of the figure by name, with their spread.
  """

  tries: int
  passed: int
  figure: str
  met: bool | None = None
  notes: str = ''
  values: Mapping[str, float] | None = None


class Row(NamedTuple):
  """A row of a page of docs: its name, two phrases, and what measures it."""

  name: str
  page: str
  what: str
  goal: str
  measure: Callable[[pathlib.Path, bool], Outcome]


ROWS: dict[str, Row] = {}


def row(
  name: str, *, what: str, goal: str, page: str = 'reliability'
) -> Callable[[Any], Any]:
  """Registers a function `(folder, smoke) -> Outcome` as a row of a page."""

  def register(measure):
    if name in ROWS:
      raise ValueError(f'Found two rows named {name!r}.')
    ROWS[name] = Row(name, page, what, goal, measure)
    return measure

  return register


def run(
  arguments: Sequence[str],
  results: pathlib.Path,
  pages: Collection[str],
  script: str,
) -> int:
  """Measures rows and keeps what they found; 1 where one misses its goal.

  Args:
    arguments: names of rows, `--list` or `--smoke`.
    results: the file of the records; nothing is written with `--smoke`.
    pages: the pages whose rows there are.
    script: the name of the script that the rows are run by.
  """
  parser = argparse.ArgumentParser(prog=script, allow_abbrev=False)
  parser.add_argument('rows', nargs='*', metavar='ROW')
  parser.add_argument('--list', action='store_true')
  parser.add_argument('--smoke', action='store_true')
  given = parser.parse_args(arguments)
  rows = [name for name, each in ROWS.items() if each.page in pages]
  if unknown := sorted(set(given.rows) - set(rows)):
    sys.exit(f'Found {unknown[0]!r}; expected rows of {", ".join(rows)}.')
  if given.list:
    print('\n'.join(rows))
    return 0
  missed = 0
  for name in given.rows or rows:
    record = measured(name, smoke=given.smoke, script=script)
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


def measured(name: str, *, smoke: bool, script: str) -> dict[str, Any]:
  """Runs a row in a folder of its own; returns its record."""
  each = ROWS[name]
  folder = pathlib.Path(tempfile.mkdtemp(prefix=f'{name}-'))
  start = time.perf_counter()
  try:
    found = each.measure(folder, smoke)
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  met = found.passed == found.tries if found.met is None else found.met
  record = {
    'page': each.page,
    'what': each.what,
    'goal': each.goal,
    'tries': found.tries,
    'passed': found.passed,
    'figure': found.figure,
    'met': bool(met and found.tries),
    'notes': found.notes,
    'seconds': round(time.perf_counter() - start),
    'machine': f'{os.cpu_count()} cores, {platform.system()}',
    'command': f'python benchmarks/{script} {name}',
  }
  if found.values:
    record['values'] = dict(found.values)
    record['versions'] = f'jax {version("jax")}, flax {version("flax")}'
  return record
