"""The table of a run on images: what each row's features are worth.

A row is (name, stages), where the stages are the same row with other seeds.
Every row is probed with the same labels, so that the difference between two
rows is paired, draw by draw.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssljax import evals, workdir
from ssljax.records import read_json
from ssljax.reports.tables import Cells, shown, table

NOTHING = 'No classes, and so nothing to test the features by.'
PAIRED = 'Differences are paired, draw by draw.'


def results(
  folder: pathlib.Path,
  *,
  rows: Sequence[tuple[str, Sequence[str]]],
  baselines: Sequence[str] = (),
) -> dict[str, dict]:
  """{'rows': ..., 'differences': ...} of the rows that ran.

  Args:
    folder: of the run.
    rows: (name, stages) of each row.
    baselines: rows that every other row is compared with.

  Raises:
    UserError: figures of one name that come from different protocols.
  """
  made = {}
  for name, stages in rows:
    folders = [folder / stage for stage in stages]
    if not all(map(workdir.is_finished, folders)):
      continue  # a recipe may be cut short
    done = [read_json(each / 'stage.json') for each in folders]
    found = [each['evaluation'] for each in done if 'evaluation' in each]
    if len(found) < len(stages):
      continue
    made[name] = {
      'flops': float(np.mean([workdir.flops(each) for each in folders])),
      'alarms': [line for each in done for line in each.get('alarms', ())],
      'figures': _over_seeds(found),
    }
  _check(made)
  return {'rows': made, 'differences': _differences(baselines, made)}


def _check(rows: Mapping[str, dict]) -> None:
  """Refuses figures of one name that come from different protocols.

  A row may have a classifier of more labels than that of another row, but the
  number is then a part of what the row is.
  """
  alike: dict[tuple, dict] = {}
  for name, row in rows.items():
    for figure, found in row['figures'].items():
      labels = found['protocol'].get('labels')
      labels = labels if figure == 'classifier' else None
      alike.setdefault((figure, labels), {})[name] = found
  for figures in alike.values():
    evals.comparable(figures)


def _over_seeds(found: list[dict]) -> dict:
  """Figures averaged over training seeds; draws stand one after another."""
  figures = {}
  for name, first in found[0].items():
    each = [evaluation[name] for evaluation in found]
    merged = dict(first)
    for key in ('value', 'low', 'high'):
      merged[key] = float(np.mean([figure[key] for figure in each]))
    merged['by_seed'] = [figure['value'] for figure in each]
    if 'by_draw' in first:
      merged['by_draw'] = np.mean([x['by_draw'] for x in each], axis=0).tolist()
    figures[name] = merged
  return figures


def _differences(baselines: Sequence[str], rows: Mapping[str, dict]) -> dict:
  """Of every other row to each baseline, in the figures that have draws."""
  found = {}
  for base in baselines:
    for name, row in rows.items():
      if base not in rows or name in baselines:
        continue
      found[f'{name} - {base}'] = {
        figure: evals.paired(value, rows[base]['figures'][figure])
        for figure, value in row['figures'].items()
        if 'by_draw' in value and figure in rows[base]['figures']
      }
  return found


def figures_cells(rows: Mapping[str, Any]) -> Cells:
  """The figures of each row on `test`, and its cost."""
  names = list(
    dict.fromkeys(f for row in rows.values() for f in row['figures'])
  )
  cells = [
    (
      name,
      *(
        shown(row['figures'][figure], images_of(rows))
        if figure in row['figures']
        else None
        for figure in names
      ),
      f'{row["flops"] / 1e12:.1f}',
    )
    for name, row in rows.items()
  ]
  return cells, ('row', *names, 'TFLOP')


def images_of(rows: Mapping[str, Any]) -> int:
  """The test images that the figures are of."""
  return next(
    figure['protocol']['test']
    for row in rows.values()
    for figure in row['figures'].values()
  )


def differences_cells(found: Mapping[str, Any]) -> Cells:
  figures = list(next(iter(found['differences'].values())))
  count = images_of(found['rows'])
  cells = [
    (name, *(shown(each[figure], count) for figure in figures))
    for name, each in found['differences'].items()
  ]
  return cells, ('difference', *figures)


def told(rows: Mapping[str, Any]) -> str:
  """How the figures of the table were found."""
  return (
    f'Accuracy on {images_of(rows)} test images. Brackets: 95 % over draws of '
    'the labels where they are so many a class, over test images elsewhere. '
    'Features are frozen but for the classifier.'
  )


def alarms(rows: Mapping[str, Any]) -> list[str]:
  return [
    f'Alarm in {name}: {line}'
    for name, row in rows.items()
    for line in row['alarms']
  ]


def render(found: Mapping[str, Any]) -> str:
  """The results as markdown."""
  rows = found['rows']
  if not rows:
    return NOTHING
  blocks = [told(rows), table(*figures_cells(rows))]
  if found['differences']:
    blocks.append(PAIRED)
    blocks.append(table(*differences_cells(found)))
  return '\n\n'.join([*blocks, *alarms(rows)])
