"""Makes docs/labels.md and docs/labels.png from docs/results/labels.json.

  python docs/draw/labels.py           makes the page and the picture anew
  python docs/draw/labels.py --check   fails where they are of other results
  python docs/draw/labels.py RUN...    takes the results from run folders first

A RUN is of a config that compares rows over numbers of labels. Its rows
are the config's `rows`, and the stages of a row are its draws of the labels.
The prose of the page is in docs/draw/labels_template.md.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from PIL import Image

from ssljax.records import read_json, write_json
from ssljax.reports import readings
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
TEMPLATE = DOCS / 'draw' / 'labels_template.md'
# Of Okabe and Ito, which colour-blind people can tell apart.
COLORS = (
  *('#000000', '#e69f00', '#56b4e9', '#009e73'),
  *('#d55e00', '#cc79a7', '#0072b2'),
)
MARKERS = 'osD^vPX'
# The layouts that a label set is tested on, as the page says them.
TESTED = {
  'all': '',
  'labelled and unlabelled': ', tested on all layouts',
  'labelled': ', tested on the layouts with labels',
  'unlabelled': ', tested on the layouts without labels',
}


def records(run: pathlib.Path) -> list[dict[str, Any]]:
  """The results of a run: a record for each row and the layouts of its test.

  `layouts` is 'all' where all layouts have labels. A label set of only some
  layouts has three records: 'labelled', 'unlabelled', and both together. The
  figures named edit_distance_accuracy and exact_match are means over the draws.
  `sd`, `low`, `high` and `by_draw` are of the first, and those that begin with
  exact_match_ are of the second.
  """
  config = read_json(run / 'config.json')
  seeds = {
    (label_set, name): [
      config['seed'] + config[np.hstack([stage])[0]]['seed'] for stage in stages
    ]
    for label_set, name, stages in config['rows']
  }
  found = []
  for label_set, rows in readings.rows_of(run, config['rows']).items():
    labelled = config['labelled_layouts'].get(label_set, ())
    for name, row in rows.items():
      for layouts, part in parts(row, labelled).items():
        accuracy = row.values('edit_distance_accuracy')[0][:, part]
        exact = spread(row.values('exact_match')[0][:, part].mean(axis=1), 0)
        exact = {f'exact_match_{key}': each for key, each in exact.items()}
        accuracy = spread(accuracy.mean(axis=1))
        found.append(
          {
            'label_set': label_set,
            'labels': row.labels,
            'layouts': layouts,
            'row': name,
            'edit_distance_accuracy': accuracy.pop('mean'),
            'exact_match': exact.pop('exact_match_mean'),
            **accuracy,
            **exact,
            'seeds': seeds[label_set, name],
            'images': int(part.sum()),
            'tflop': row.flops / 1e12,
          }
        )
  return found


def parts(row: readings.Row, labelled: Sequence[str]) -> dict[str, np.ndarray]:
  """Masks over the readings: the test images of each record."""
  test = row.splits == 'test'
  if not labelled:
    return {'all': test}
  known = np.isin(row.layouts, labelled)
  return {
    'labelled and unlabelled': test,
    'labelled': test & known,
    'unlabelled': test & ~known,
  }


def spread(by_draw: np.ndarray, lowest: float = -np.inf) -> dict[str, Any]:
  """The mean over draws, and its 95 % t-interval; one draw has none.

  Args:
    by_draw: the figure of each draw.
    lowest: the least value that the figure can have.
  """
  count, mean = len(by_draw), by_draw.mean()
  sd = low = high = None
  if count > 1:
    sd = by_draw.std(ddof=1)
    half = scipy.stats.t.ppf(0.975, count - 1) * sd / np.sqrt(count)
    low, high = np.clip((mean - half, mean + half), lowest, 1)
  return {
    'mean': mean,
    'sd': sd,
    'low': low,
    'high': high,
    'by_draw': by_draw.tolist(),
  }


def page(found: Sequence[dict[str, Any]]) -> str:
  """The text of docs/labels.md."""
  groups: dict[str, list[dict[str, Any]]] = {}
  for record in found:
    title = record['label_set'] + TESTED[record['layouts']]
    groups.setdefault(title, []).append(record)
  headers = ('row', 'edit-distance accuracy', 'exact match', 'TFLOP', 'draws')
  tables = []
  for title, group in groups.items():
    rows = [
      (
        record['row'],
        shown(record['edit_distance_accuracy'], record['sd']),
        shown(record['exact_match'], record['exact_match_sd']),
        f'{record["tflop"]:.1f}',
        len(record['by_draw']),
      )
      for record in group
    ]
    tables += [f'## {title}', table(rows, headers)]
  template = TEMPLATE.read_text(encoding='utf-8')
  return template.replace('{tables}', '\n\n'.join(tables))


def shown(mean: float, sd: float | None) -> str:
  return f'{mean:.3f}' if sd is None else f'{mean:.3f} ± {sd:.3f}'


def curves(found: Sequence[dict[str, Any]]) -> dict[str, list]:
  """What the picture shows: (labels, accuracy, low, high) of each row.

  Only label sets of all layouts are on one curve. A single draw has a band of
  no width.
  """
  made: dict[str, list] = {}
  for record in found:
    if record['layouts'] == 'all':
      mean, low = record['edit_distance_accuracy'], record['low']
      band = (mean, mean) if low is None else (low, record['high'])
      point = [record['labels'], mean, *band]
      made.setdefault(record['row'], []).append(point)
  return {row: sorted(points) for row, points in made.items()}


def draw(shown: dict[str, list], path: pathlib.Path) -> None:
  """Draws accuracy against labels, a line for each row with its band."""
  figure = Figure(figsize=(8, 4.8), dpi=150, layout='constrained')
  axes = figure.subplots()
  for number, (row, points) in enumerate(shown.items()):
    color = COLORS[number % len(COLORS)]
    labels, accuracy, low, high = np.transpose(points)
    axes.fill_between(labels, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(
      labels,
      accuracy,
      color=color,
      marker=MARKERS[number % len(MARKERS)],
      linestyle='-' if number % 2 == 0 else '--',
      label=row,
    )
  every = sorted({point[0] for points in shown.values() for point in points})
  axes.set_xscale('log')
  axes.set_xticks(every, [f'{number:,}' for number in every])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.set_ylim(top=1.02)
  axes.grid(alpha=0.3)
  axes.set_xlabel('labels')
  axes.set_ylabel('edit-distance accuracy')
  axes.legend(loc='lower right', frameon=False)
  figure.savefig(path, metadata={'Software': None, 'Data': digest(shown)})


def digest(shown: dict[str, list]) -> str:
  """Of what a picture shows.

  Pictures of the same data differ between versions of matplotlib.
  """
  return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def stale(docs: pathlib.Path) -> list[str]:
  """The names of the files that are of other results, or are not there."""
  found = read_json(docs / 'results' / 'labels.json')
  text, picture = docs / 'labels.md', docs / 'labels.png'
  wrong = []
  if not text.exists() or text.read_text(encoding='utf-8') != page(found):
    wrong.append(text.name)
  drawn = ''
  if picture.exists():
    with Image.open(picture) as image:
      drawn = image.info.get('Data')
  if drawn != digest(curves(found)):
    wrong.append(picture.name)
  return wrong


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  results = docs / 'results' / 'labels.json'
  if list(arguments) == ['--check']:
    if not results.exists():
      print(f'{results} does not exist yet; there is nothing to check.')
    elif wrong := stale(docs):
      sys.exit(
        f'Found {" and ".join(wrong)} of other results than {results}; run '
        'python docs/draw/labels.py and commit what it writes.'
      )
    return
  if arguments:
    write_json(
      results,
      [each for run in arguments for each in records(pathlib.Path(run))],
    )
  if not results.exists():
    sys.exit(f'Found no {results}; expected results. Name a run folder.')
  found = read_json(results)
  (docs / 'labels.md').write_text(page(found), encoding='utf-8')
  draw(curves(found), docs / 'labels.png')


if __name__ == '__main__':
  main(sys.argv[1:])
