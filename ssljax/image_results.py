"""The table of a run on images: what each row's features are worth.

A row of `config.rows` is (name, stages), the stages being the same row with
other seeds. Every row is probed with the same labels, so the difference between
two rows is paired, draw by draw.
"""

import pathlib

import numpy as np

from ssljax import evals, runs
from ssljax.log import read_json, table
from ssljax.results import telemetry_table


def results(config, workdir: pathlib.Path) -> dict:
  """{'rows': ..., 'differences': ...} of the rows that ran.

  Raises:
    UserError: figures of one name that come from different protocols.
  """
  rows = {}
  for name, stages in config.rows:
    if not all(stage in config.recipe for stage in stages):
      continue
    done = [read_json(workdir / stage / 'stage.json') for stage in stages]
    found = [each['evaluation'] for each in done if 'evaluation' in each]
    if len(found) < len(stages):
      continue
    costs = [runs.flops(runs.Place(config, workdir, stage)) for stage in stages]
    rows[name] = {
      'flops': float(np.mean(costs)),
      'alarms': [line for each in done for line in each.get('alarms', ())],
      'figures': _over_seeds(found),
    }
  for figure in dict.fromkeys(
    f for row in rows.values() for f in row['figures']
  ):
    evals.comparable(
      {
        name: row['figures'][figure]
        for name, row in rows.items()
        if figure in row['figures']
      }
    )
  return {'rows': rows, 'differences': _differences(config, rows)}


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


def _differences(config, rows) -> dict:
  """Of every other row to each baseline, in the figures that have draws."""
  found = {}
  for base in config.get('baselines', ()):
    for name, row in rows.items():
      if base not in rows or name in config.baselines:
        continue
      found[f'{name} - {base}'] = {
        figure: evals.paired(value, rows[base]['figures'][figure])
        for figure, value in row['figures'].items()
        if 'by_draw' in value and figure in rows[base]['figures']
      }
  return found


def _shown(figure) -> str:
  text = f'{figure["value"]:.3f} [{figure["low"]:.3f}, {figure["high"]:.3f}]'
  if len(figure.get('by_seed', ())) > 1:
    text += f' ± {np.std(figure["by_seed"], ddof=1):.3f}'
  return text


def render(found: dict, pretraining: dict) -> str:
  """The results as markdown."""
  rows = found['rows']
  if not rows:
    return 'No classes, and so nothing to test the features by.\n'
  names = list(
    dict.fromkeys(f for row in rows.values() for f in row['figures'])
  )
  cells = [
    (
      name,
      *(
        _shown(row['figures'][figure]) if figure in row['figures'] else None
        for figure in names
      ),
      f'{row["flops"] / 1e12:.1f}',
    )
    for name, row in rows.items()
  ]
  test = next(iter(next(iter(rows.values()))['figures'].values()))['protocol']
  blocks = [
    f'Accuracy on {test["test"]} test images. Brackets: 95 % over draws of the '
    'labels where they are so many a class, over test images elsewhere. '
    'Features are frozen but for the classifier.',
    table(cells, ('row', *names, 'TFLOP')),
  ]
  if found['differences']:
    figures = list(next(iter(found['differences'].values())))
    cells = [
      (name, *(_shown(each[figure]) for figure in figures))
      for name, each in found['differences'].items()
    ]
    blocks.append('Differences are paired, draw by draw.')
    blocks.append(table(cells, ('difference', *figures)))
  blocks += [
    f'Alarm in {name}: {line}'
    for name, row in rows.items()
    for line in row['alarms']
  ]
  if pretraining:
    blocks.append(telemetry_table(pretraining))
  return '\n\n'.join(blocks) + '\n'
