"""Makes docs/labels.md and docs/labels.png from the results in docs/results.

  python docs/draw/labels.py           makes the page and the picture anew
  python docs/draw/labels.py --check   fails where they are of other results
  python docs/draw/labels.py RUN...    takes the results from run folders first

A RUN is of a config that compares rows over numbers of labels. Its rows
are the config's `rows`, and the stages of a row are its draws of the labels.
Runs on text replace docs/results/labels.json, from which the page and the
picture are made. Runs on images replace docs/results/labels_images.json, and
the page has a section on them where this file exists. The prose of the page is
in docs/draw/labels_template.md and docs/draw/labels_images_template.md.
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
from ssljax.reports import features, readings
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
TEMPLATE = DOCS / 'draw' / 'labels_template.md'
IMAGES_TEMPLATE = DOCS / 'draw' / 'labels_images_template.md'
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
  exact_match_ are of the second. A row of an unfinished run has fewer draws.
  """
  config = read_json(run / 'config.json')
  done = [
    (label_set, name, finished(run, stages))
    for label_set, name, stages in config['rows']
  ]
  done = [row for row in done if row[-1]]
  seeds = {
    (label_set, name): [
      config['seed'] + config[np.hstack([stage])[0]]['seed'] for stage in stages
    ]
    for label_set, name, stages in done
  }
  found = []
  for label_set, rows in readings.rows_of(run, done).items():
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


def finished(run: pathlib.Path, stages: Sequence[Any]) -> list[Any]:
  """The stages that have read the test images: a run may still go on."""
  return [
    stage
    for stage in stages
    if all(
      (run / each / 'predictions.csv').exists() for each in np.hstack([stage])
    )
  ]


def on_images(run: pathlib.Path) -> bool:
  return 'charset' not in read_json(run / 'config.json')['data']


def image_records(run: pathlib.Path) -> list[dict[str, Any]]:
  """The results of a run on images: a record for each finished row.

  A row of the config is titled 'labels: row'. `accuracy` is the mean over the
  draws, and `sd`, `low`, `high` and `by_draw` belong to it.
  """
  config = read_json(run / 'config.json')
  rows = features.results(run, rows=config['rows'])['rows']
  found = []
  for title, stages in config['rows']:
    if title not in rows:
      continue
    figure = rows[title]['figures']['classifier']
    accuracy = spread(np.array(figure['by_seed']), 0)
    found.append(
      {
        'dataset': config['data']['name'],
        'labels_per_class': config[stages[0]]['data']['per_class'],
        'row': title.partition(': ')[2],
        'accuracy': accuracy.pop('mean'),
        **accuracy,
        'seeds': [config['seed'] + config[stage]['seed'] for stage in stages],
        'images': figure['protocol']['test'],
        'tflop': rows[title]['flops'] / 1e12,
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


def page(
  found: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]] = ()
) -> str:
  """The text of docs/labels.md.

  Args:
    found: the records of text.
    images: the records of images; without them the page has no such section.
  """
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
  text = template.replace('{tables}', '\n\n'.join(tables))
  if not images:
    return text
  template = IMAGES_TEMPLATE.read_text(encoding='utf-8')
  return text + '\n' + template.replace('{tables}', image_tables(images))


def image_tables(found: Sequence[dict[str, Any]]) -> str:
  """A table for each data set."""
  headers = ('labels a class', 'row', 'accuracy', '95 %', 'TFLOP', 'draws')
  tables = []
  for dataset in dict.fromkeys(record['dataset'] for record in found):
    rows = [
      (
        record['labels_per_class'],
        record['row'],
        shown(record['accuracy'], record['sd']),
        record['sd'] and f'{record["low"]:.3f} to {record["high"]:.3f}',
        f'{record["tflop"]:.1f}',
        len(record['by_draw']),
      )
      for record in found
      if record['dataset'] == dataset
    ]
    tables += [f'### `{dataset}`', table(rows, headers)]
  return '\n\n'.join(tables)


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
  axes.set_ylim(0, 1.02)
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
  found, images = results_of(docs)
  text, picture = docs / 'labels.md', docs / 'labels.png'
  wrong = []
  if not text.exists() or text.read_text(encoding='utf-8') != page(
    found, images
  ):
    wrong.append(text.name)
  drawn = ''
  if picture.exists():
    with Image.open(picture) as image:
      drawn = image.info.get('Data')
  if drawn != digest(curves(found)):
    wrong.append(picture.name)
  return wrong


def results_of(docs: pathlib.Path) -> tuple[list, list]:
  """The records of text, and those of images, of which there may be none."""
  images = docs / 'results' / 'labels_images.json'
  found = read_json(docs / 'results' / 'labels.json')
  return found, read_json(images) if images.exists() else []


def take(runs: Sequence[pathlib.Path], docs: pathlib.Path) -> None:
  """Replaces the results of text, of images, or both, by those of the runs."""
  kinds = {'labels': (False, records), 'labels_images': (True, image_records)}
  for name, (images, read) in kinds.items():
    if chosen := [run for run in runs if on_images(run) == images]:
      path = docs / 'results' / f'{name}.json'
      write_json(path, [each for run in chosen for each in read(run)])


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  results = docs / 'results' / 'labels.json'
  if list(arguments) == ['--check']:
    if not results.exists():
      print(f'{results} does not exist yet; there is nothing to check.')
    elif wrong := stale(docs):
      sys.exit(
        f'Found {" and ".join(wrong)} of other results than those in '
        f'{results.parent}; run python docs/draw/labels.py and commit what it '
        'writes.'
      )
    return
  take([pathlib.Path(run) for run in arguments], docs)
  if not results.exists():
    sys.exit(f'Found no {results}; expected results. Name a run on text.')
  found, images = results_of(docs)
  (docs / 'labels.md').write_text(page(found, images), encoding='utf-8')
  draw(curves(found), docs / 'labels.png')


if __name__ == '__main__':
  main(sys.argv[1:])
