"""How pretraining ended: the last line of each stage's log."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ssljax import durable
from ssljax.records import read_json
from ssljax.reports.tables import table


def telemetry(folders: Iterable[pathlib.Path]) -> dict[str, dict[str, Any]]:
  """The last line of each stage's log, by the stage's name.

  The seconds are left out, because the results of a resumed run equal those of
  an undisturbed one. 'task' is what a pretext task achieves on held-out images.

  Args:
    folders: of the stages.
  """
  found = {}
  for folder in folders:
    text = durable.read_bytes(folder / 'metrics.jsonl').decode()
    lines = text.splitlines()
    if not lines:
      continue
    found[folder.name] = json.loads(lines[-1])
    del found[folder.name]['seconds']
    achieved = read_json(folder / 'stage.json').get('task')
    if achieved:
      found[folder.name]['task'] = achieved
  return found


def render(found: Mapping[str, Mapping[str, Any]]) -> str:
  """The ends of the logs and, where there are tasks, what they achieve."""
  names = dict.fromkeys(name for line in found.values() for name in line)
  shown = [name for name in names if name not in ('update_norm', 'task')]
  cells = [
    (stage, *(line.get(name) for name in shown))
    for stage, line in found.items()
  ]
  made = table(
    cells, ('pretraining', *(name.replace('_', ' ') for name in shown))
  )
  tasks = [
    (
      stage,
      name.replace('_', ' '),
      '{value:.3f} [{low:.3f}, {high:.3f}]'.format(**figure),
      figure['count'],
    )
    for stage, line in found.items()
    for name, figure in line.get('task', {}).items()
  ]
  if tasks:
    made += '\n\n' + table(tasks, ('task', 'figure', 'held out', 'images'))
  return made
