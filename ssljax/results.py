"""The tables of a run, from the predictions of its stages.

A row of `config.rows` is (label set, name, stages), the stages being the same
row with other seeds. Every row reads the same test images, so a difference
between two rows is paired, image by image.
"""

import csv
import json
import pathlib
from typing import NamedTuple

import numpy as np

from ssljax import evals, runs
from ssljax.log import read_json, table

# Below this accuracy on its own training labels a row did not fit, and shows
# nothing of what its labels are worth.
FITTED = 0.9
# Methods that learn from labels; what the others learn, telemetry shows.
LABELLED = ('recognize', 'supervised')
FIGURES = ('edit_distance_accuracy', 'exact_match', 'character_error_rate')


class Row(NamedTuple):
  """The readings of one row, `(seeds, images)`, and what they cost."""

  splits: np.ndarray
  layouts: np.ndarray
  samples: list[evals.Samples]
  fit: list[float]
  labels: int
  learning_rates: list[float]
  flops: float

  @property
  def fitted(self) -> bool:
    return min(self.fit) >= FITTED

  def values(self, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerators `(seeds, images)` and denominators `(images,)`."""
    ones = np.ones(len(self.layouts))
    if figure == 'edit_distance_accuracy':
      return np.array([each.accuracies for each in self.samples]), ones
    if figure == 'exact_match':
      return np.array([each.exact for each in self.samples], float), ones
    return (
      np.array([each.distances for each in self.samples], float),
      self.samples[0].lengths,
    )


def best_on_validation(workdir: pathlib.Path, stages) -> str:
  """The stage with the highest validation accuracy; the first of equals."""

  def validation(stage):
    figures = read_json(workdir / stage / 'stage.json')['validation']
    return figures['edit_distance_accuracy']

  return max(stages, key=validation)


def read_row(config, workdir: pathlib.Path, stages) -> Row:
  """A row from the folders of its stages, or of the best among several."""
  stages = [
    stage if isinstance(stage, str) else best_on_validation(workdir, stage)
    for stage in stages
  ]
  samples = []
  for stage in stages:
    with (workdir / stage / 'predictions.csv').open(newline='') as file:
      splits, layouts, labels, guesses = zip(
        *list(csv.reader(file))[1:], strict=True
      )
    samples.append(evals.per_sample(guesses, labels))
  done = [read_json(workdir / stage / 'stage.json') for stage in stages]
  costs = [runs.flops(runs.Place(config, workdir, stage)) for stage in stages]
  return Row(
    splits=np.array(splits),
    layouts=np.array(layouts),
    samples=samples,
    fit=[each['fit']['edit_distance_accuracy'] for each in done],
    labels=done[0]['labels'],
    learning_rates=[each['learning_rate'] for each in done],
    flops=float(np.mean(costs)),
  )


def groups_of(row: Row, labelled) -> dict[str, np.ndarray]:
  """Masks over the images read: each split, some of `test`, each layout.

  `test` is split into layouts with and without labels where only the layouts
  `labelled` have some.
  """
  splits = dict.fromkeys(row.splits)
  found = {split: row.splits == split for split in splits}
  if labelled:
    known = np.isin(row.layouts, labelled)
    found['labelled layouts'] = found['test'] & known
    found['unlabelled layouts'] = found['test'] & ~known
  for split in splits:
    layouts = sorted(set(row.layouts[row.splits == split]))
    if len(layouts) > 1:
      found |= {layout: row.layouts == layout for layout in layouts}
  return {name: part for name, part in found.items() if part.any()}


def interval(values: np.ndarray, sizes: np.ndarray) -> dict:
  """Σ values / Σ sizes of `(seeds, images)`, averaged over seeds.

  The 95 % interval is over test images; the seeds stand beside it.
  """
  low, high = evals.bootstrap(values.mean(axis=0), sizes)
  by_seed = values.sum(axis=1) / sizes.sum()
  return {
    'value': float(by_seed.mean()),
    'low': low,
    'high': high,
    'by_seed': by_seed.tolist(),
  }


def summarize(row: Row, groups) -> dict:
  """A row as it stands in `results.json`."""

  def figure(name, part):
    values, sizes = row.values(name)
    return interval(values[:, part], sizes[part])

  return {
    'labels': row.labels,
    'fit': row.fit,
    'fitted': row.fitted,
    'learning_rates': row.learning_rates,
    'flops': row.flops,
    'figures': {
      group: {'count': int(part.sum())}
      | {name: figure(name, part) for name in FIGURES}
      for group, part in groups.items()
    },
  }


def results(config, workdir: pathlib.Path) -> dict:
  """{label set: {'rows': ..., 'differences': ...}} of all rows."""
  rows: dict[str, dict[str, Row]] = {}
  for labels, name, stages in config.rows:
    # Not there: a recipe cut short, to pretrain alone, say, or a person's own
    # images of which too few have labels to test with.
    folders = [workdir / stage for stage in np.hstack(stages)]
    if not all((folder / 'predictions.csv').exists() for folder in folders):
      continue
    row = read_row(config, workdir, stages)
    rows.setdefault(labels, {})[name] = row
  found = {}
  for labels, group in rows.items():
    groups = groups_of(
      next(iter(group.values())), config.labelled_layouts.get(labels, ())
    )
    accuracy = {
      name: row.values('edit_distance_accuracy')[0]
      for name, row in group.items()
    }
    found[labels] = {
      'rows': {name: summarize(row, groups) for name, row in group.items()},
      'published': {
        name: config.published[name]
        for name in group
        if name in config.published
      },
      'differences': {
        f'{a} - {b}': {
          name: interval(
            (accuracy[a] - accuracy[b])[:, part], np.ones(part.sum())
          )
          for name, part in groups.items()
        }
        for a, b in config.differences
        if a in group and b in group
      },
    }
  return found


def telemetry(config, workdir: pathlib.Path) -> dict[str, dict]:
  """The last line of the log of each stage that learns without labels.

  Without its seconds: a resumed run's results equal an undisturbed one's. With
  'task', what a pretext task achieves on held-out images.
  """
  found = {}
  for stage in config.recipe:
    lines = (workdir / stage / 'metrics.jsonl').read_text().splitlines()
    if config[stage].method.name in LABELLED or not lines:
      continue
    found[stage] = json.loads(lines[-1])
    del found[stage]['seconds']
    achieved = read_json(workdir / stage / 'stage.json').get('task')
    if achieved:
      found[stage]['task'] = achieved
  return found


def telemetry_table(found) -> str:
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


def _shown(figure) -> str:
  text = f'{figure["value"]:.3f} [{figure["low"]:.3f}, {figure["high"]:.3f}]'
  if len(figure['by_seed']) > 1:
    text += f' ± {np.std(figure["by_seed"], ddof=1):.3f}'
  return text


def _fit(row) -> str:
  fit = f'{min(row["fit"]):.3f}'
  return fit if row['fitted'] else f'{fit}, did not fit'


def _figures_table(part) -> str:
  """The three figures on `test`, fit and cost of each row."""
  cells = [
    (
      name,
      *(_shown(row['figures']['test'][figure]) for figure in FIGURES),
      _fit(row),
      f'{row["flops"] / 1e12:.1f}',
    )
    for name, row in part['rows'].items()
  ]
  headers = ['row', *(figure.replace('_', ' ') for figure in FIGURES)]
  headers += ['on its own labels', 'TFLOP']
  if part['published']:
    headers.append("the article's")
    cells = [(*line, part['published'].get(line[0], '')) for line in cells]
  return table(cells, headers)


def _layouts_table(part) -> str:
  """Edit-distance accuracy by layout, and the paired differences."""
  groups = list(next(iter(part['rows'].values()))['figures'])
  cells = [
    (name, *(_shown(row['figures'][g][FIGURES[0]]) for g in groups))
    for name, row in part['rows'].items()
  ] + [
    (f'*{name}*', *(_shown(each[g]) for g in groups))
    for name, each in part['differences'].items()
  ]
  return table(cells, ('edit distance accuracy', *groups))


def render(found: dict, pretraining: dict | None = None) -> str:
  """The results as markdown: for each label set, figures and layouts.

  Values are means over seeds, brackets the 95 % bootstrap interval over test
  images, ± the standard deviation over seeds.
  """
  blocks = []
  for labels, part in found.items():
    first = next(iter(part['rows'].values()))
    count = first['figures']['test']['count']
    seeds = len(first['fit'])
    blocks += [
      f'### {labels}',
      f'{count} test images; seeds: {seeds}; brackets: 95 % over images'
      + ('; ±: standard deviation over seeds.' if seeds > 1 else '.'),
      _figures_table(part),
      'Differences are paired, image by image.',
      _layouts_table(part),
    ]
  if pretraining:
    blocks.append(telemetry_table(pretraining))
  return '\n\n'.join(blocks) + '\n'
