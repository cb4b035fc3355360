"""The tables of a run on text, from what its stages have read.

A row is (label set, name, stages), where the stages are the same row with other
seeds. Every row reads the same test images, so that the difference between two
rows is paired, image by image.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax import durable, evals, workdir
from ssljax.records import read_json
from ssljax.reports import confidence
from ssljax.reports.tables import FEWEST, TOO_FEW, Cells, shown, table

# Below this accuracy on its own training labels a row did not fit, and shows
# nothing of what its labels are worth.
FITTED = 0.9
PAIRED = 'Differences are paired, image by image.'
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
  confidence: np.ndarray | None = None  # of runs that wrote it down
  calibrated: tuple[dict, ...] = ()  # 'calibration' of each `stage.json`

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


def read_row(folders: Sequence[Any]) -> Row:
  """A row from the folders of its stages, or of the best among several."""
  folders = [
    folder
    if isinstance(folder, pathlib.Path)
    else workdir.best_on_validation(folder)
    for folder in folders
  ]
  tables = [columns_of(folder / 'predictions.csv') for folder in folders]
  samples = [
    evals.per_sample(table['prediction'], table['label']) for table in tables
  ]
  # Runs of earlier versions have no confidences.
  sure = [table['confidence'] for table in tables if 'confidence' in table]
  done = [read_json(folder / 'stage.json') for folder in folders]
  return Row(
    splits=np.array(tables[0]['split']),
    layouts=np.array(tables[0]['layout']),
    samples=samples,
    fit=[each['fit']['edit_distance_accuracy'] for each in done],
    labels=done[0]['labels'],
    learning_rates=[each['learning_rate'] for each in done],
    flops=float(np.mean([workdir.flops(folder) for folder in folders])),
    confidence=np.array(sure, float) if len(sure) == len(tables) else None,
    calibrated=tuple(each.get('calibration', {}) for each in done),
  )


def columns_of(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
  """The columns of a table by their names."""
  text = durable.read_bytes(path).decode(errors='surrogateescape')
  header, *rows = csv.reader(io.StringIO(text, newline=''))
  return dict(zip(header, zip(*rows, strict=True), strict=True))


def groups_of(row: Row, labelled: Sequence[str]) -> dict[str, np.ndarray]:
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


def summarize(row: Row, groups: Mapping[str, np.ndarray]) -> dict:
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
      group: {'count': int(part.sum()), 'too_few': int(part.sum()) < FEWEST}
      | {name: figure(name, part) for name in FIGURES}
      for group, part in groups.items()
    },
  } | confidence.summarize(
    row.confidence,
    np.array([each.exact for each in row.samples]),
    groups.get('test'),
    row.calibrated,
  )


def rows_of(
  folder: pathlib.Path, described: Sequence[Sequence[Any]]
) -> dict[str, dict[str, Row]]:
  """The rows that ran, by label set and name.

  Args:
    folder: of the run.
    described: (label set, name, stages) of each row. A stage is a name, or
      several names of which the best on validation stands in the row.
  """
  rows: dict[str, dict[str, Row]] = {}
  for labels, name, stages in described:
    # A recipe may be cut short (to pretrain alone, say), and too few of the
    # user's own images may have labels to test with.
    folders = [folder / stage for stage in np.hstack(stages)]
    if all((each / 'predictions.csv').exists() for each in folders):
      chosen = [
        folder / stage
        if isinstance(stage, str)
        else [folder / each for each in stage]
        for stage in stages
      ]
      rows.setdefault(labels, {})[name] = read_row(chosen)
  return rows


def results(
  folder: pathlib.Path,
  *,
  rows: Sequence[Sequence[Any]],
  differences: Sequence[tuple[str, str]] = (),
  labelled_layouts: Mapping[str, Sequence[str]] | None = None,
  published: Mapping[str, float] | None = None,
) -> dict[str, dict]:
  """{label set: {'rows': ..., 'published': ..., 'differences': ...}}.

  Args:
    folder: of the run.
    rows: as for `rows_of`.
    differences: pairs of rows to compare, image by image.
    labelled_layouts: the layouts that have labels, by label set, where only
      some have.
    published: figures of a paper, by row.
  """
  found, figures = {}, published or {}
  for labels, group in rows_of(folder, rows).items():
    first = next(iter(group.values()))
    groups = groups_of(first, (labelled_layouts or {}).get(labels, ()))
    accuracy = {
      name: row.values('edit_distance_accuracy')[0]
      for name, row in group.items()
    }
    found[labels] = {
      'rows': {name: summarize(row, groups) for name, row in group.items()},
      'published': {name: figures[name] for name in group if name in figures},
      'differences': {
        f'{a} - {b}': {
          name: interval(
            (accuracy[a] - accuracy[b])[:, part], np.ones(part.sum())
          )
          for name, part in groups.items()
        }
        for a, b in differences
        if a in group and b in group
      },
    }
  return found


def _fit(row) -> str:
  fit = f'{min(row["fit"]):.3f}'
  return fit if row['fitted'] else f'{fit}, did not fit'


def _shown(group, figure) -> str:
  return shown(group[figure], group['count'])


def figures_cells(part) -> Cells:
  """The three figures on `test`, fit and cost of each row."""
  cells = [
    (
      name,
      *(_shown(row['figures']['test'], figure) for figure in FIGURES),
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
  return cells, headers


def layouts_cells(part, mark: str = '') -> Cells:
  """Edit-distance accuracy by layout, and the paired differences.

  `mark` stands around the names of differences.
  """
  groups = next(iter(part['rows'].values()))['figures']
  cells = [
    (name, *(_shown(row['figures'][g], FIGURES[0]) for g in groups))
    for name, row in part['rows'].items()
  ] + [
    (
      f'{mark}{name}{mark}',
      *(shown(each[g], groups[g]['count']) for g in groups),
    )
    for name, each in part['differences'].items()
  ]
  return cells, ('edit distance accuracy', *groups)


def told(part: Mapping[str, Any]) -> str:
  """How many images and seeds the figures of a label set are of."""
  first = next(iter(part['rows'].values()))
  count = first['figures']['test']['count']
  if count < FEWEST:
    return (
      f'{count} test images: {TOO_FEW}. A figure needs at least {FEWEST} '
      'labelled images to test with, better 100; the readings of those here '
      'are in predictions.csv.'
    )
  seeds = len(first['fit'])
  more = '; ±: standard deviation over seeds' if seeds > 1 else ''
  return (
    f'{count} test images; seeds: {seeds}; brackets: 95 % over images{more}.'
  )


def render(found: Mapping[str, Any]) -> str:
  """The results as markdown: for each label set, figures and layouts.

  Values are means over seeds, brackets the 95 % bootstrap interval over test
  images, ± the standard deviation over seeds.
  """
  blocks = []
  for labels, part in found.items():
    first = next(iter(part['rows'].values()))
    few = first['figures']['test']['count'] < FEWEST
    blocks += [
      f'### {labels}',
      told(part),
      table(*figures_cells(part)),
      PAIRED,
      table(*layouts_cells(part, mark='*')),
      *([] if few else confidence.render(part['rows'])),
    ]
  return '\n\n'.join(blocks)
