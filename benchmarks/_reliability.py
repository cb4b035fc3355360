"""The rows of reliability.py: what each tries, and what it found.

A row is a function in a file `benchmarks/_rows_*.py`:

  @row('two-runs', what='Two runs in one folder.', goal='the second is refused')
  def two_runs(folder, smoke):
    ...
    return Outcome(tries=3, passed=3, figure='refused within 0.2 s')

It may write to `folder`, which is empty and is removed afterwards. With `smoke`
it tries little, in seconds.
"""

import os
import pathlib
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Outcome(NamedTuple):
  """What a row found.

  Attributes:
    tries: how often it was tried.
    passed: how many of the tries went as the goal says.
    figure: what was measured, in words: '0.12 % of a run'.
    met: whether the goal is met; by default, whether every try passed.
    notes: sentences about what was tried, and about each miss.
  """

  tries: int
  passed: int
  figure: str
  met: bool | None = None
  notes: str = ''


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


def measured(name: str, *, smoke: bool) -> dict[str, Any]:
  """Runs a row in a folder of its own; returns its record."""
  each = ROWS[name]
  folder = pathlib.Path(tempfile.mkdtemp(prefix=f'{name}-'))
  start = time.perf_counter()
  try:
    found = each.measure(folder, smoke)
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  met = found.passed == found.tries if found.met is None else found.met
  return {
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
    'command': f'python benchmarks/reliability.py {name}',
  }
