"""Writes a page about runs: python -m ssljax.report WORKDIR [WORKDIR...]

The page has the figures of a run and how they came about: training, readings,
mistakes, confidence, views, neighbours, cost. It is one HTML file that needs no
network, `report.html` in the folder of the first run. Several runs stand side
by side. The command of a run ends by writing it.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import collections
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from ssljax import build, evals, process, tasks, trained, workdir
from ssljax import reader as reader_lib
from ssljax.data import datasets, pipeline, sources
from ssljax.data.datasets import Dataset
from ssljax.errors import DEBUG, UserError, told
from ssljax.evals import doubt
from ssljax.records import json_text, read_json, read_lines, replace_text
from ssljax.reports import looks, page, report
from ssljax.reports.page import Card, Part, Section
from ssljax.reports.readings import columns_of
from ssljax.text import shown_frames

NAME = 'report.html'
LOOKED = 200  # test images whose features are looked at
VIEWED = 4  # images whose views are shown
BATCH = 100


def write(
  workdirs: Sequence[str | os.PathLike[str]],
  *,
  out: str | os.PathLike[str] | None = None,
  data_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
  """Writes the page of one run or of several; returns its path.

  Args:
    workdirs: folders of runs that have ended.
    out: the file; by default `report.html` in the first of the folders.
    data_dir: where rendered data is kept, by default where the command keeps
      it.

  Raises:
    UserError: a folder is no run, or its run has no results.
  """
  folders = [pathlib.Path(each).expanduser().absolute() for each in workdirs]
  kept = str(data_dir or process.default_data_dir())
  for folder in folders:
    trained.described(folder)
    if not (folder / 'results.json').exists():
      raise UserError(
        f'Found no results.json in {folder}; expected a run that has ended. '
        'Run its command again, which goes on where it stopped.'
      )
  names = names_of(folders)
  runs = dict(zip(names, folders, strict=True))
  parts = [Part(name, sections(each, kept)) for name, each in runs.items()]
  if len(runs) > 1:
    parts.insert(0, Part('Side by side', beside(runs)))
  told = ' '.join(about(each) for each in folders)
  text = page.page(f'Report of {", ".join(names)}', told, parts)
  path = pathlib.Path(out).expanduser() if out else folders[0] / NAME
  replace_text(path, text.encode(errors='backslashreplace').decode())
  return path


def names_of(folders: Sequence[pathlib.Path]) -> list[str]:
  """A name for each run: that of its folder, or its path where two share it."""
  names = [each.name for each in folders]
  return [
    name if names.count(name) == 1 else str(folder)
    for name, folder in zip(names, folders, strict=True)
  ]


def about(folder: pathlib.Path) -> str:
  config = read_json(folder / 'config.json')
  what = config['data'].get('directory') or 'rendered or prepared images'
  return (
    f'A run of ssljax on {what}, seed {config.get("seed", 0)}, of the stages '
    f'{", ".join(config["recipe"])}.'
  )


def beside(runs: Mapping[str, pathlib.Path]) -> list[Section]:
  """The figures of several runs in one table, and their losses."""
  rows: dict[tuple[str, ...], list[tuple]] = {}  # by the headers above them
  for name, folder in runs.items():
    for cells, headers in report.headlines(read_json(folder / 'results.json')):
      named = [(name, *each) for each in cells]
      rows.setdefault(('run', *headers), []).extend(named)
  blocks = [page.table(each, headers) for headers, each in rows.items()]
  lines = {
    name: {
      stage: read_lines(folder / stage / 'metrics.jsonl')
      for stage in workdir.recipe_of(folder)
    }
    for name, folder in runs.items()
  }
  return [Section('All runs', '', [*blocks, *report.together(lines)])]


def sections(folder: pathlib.Path, data_dir: str) -> list[Section]:
  """All sections of one run; without its data, those that do without."""
  run = trained.described(folder)
  try:
    reader = reader_lib.load(folder)
  except UserError as error:  # a run of which no stage has ended
    return [*report.of_files(folder, ''), Section('Images', str(error), [])]
  found = report.of_files(folder, reader.stage)
  try:
    dataset = datasets.open_dataset(
      workdir.found_data(run['data'], folder), data_dir=data_dir
    )
    drawn = looked(reader, dataset, folder)
  except (UserError, OSError) as error:  # the images are gone, or elsewhere
    return [*found, Section('Images', f'No images are shown: {error}', [])]
  # What one looks at comes before what one looks up.
  later = [each for each in found if each.title in report.LAST]
  return [each for each in found if each not in later] + drawn + later


def looked(
  reader: reader_lib.Reader, dataset: Dataset, folder: pathlib.Path
) -> list[Section]:
  """The sections that need the images and the network."""
  found: list[Section | None] = []
  read = folder / reader.stage / 'predictions.csv'
  if reader.charset is not None and read.exists():
    columns = columns_of(read)
    if 'confidence' in columns:
      found += looks.readings({
        name: _cards(reader, dataset, columns, rows)
        for name, rows in looks.chosen(columns).items()
      })  # fmt: skip
  split = next(
    (each for each in ('test', 'validation', 'unlabeled', 'train')
     if each in dataset.splits), None,
  )  # fmt: skip
  if split is None:
    return [each for each in found if each is not None]
  whole = dataset.open(split)
  # Images with classes may stand in the order of these.
  order = np.random.default_rng(0).permutation(len(whole))[:LOOKED]
  source = sources.Subset(whole, order.tolist() if reader.charset is None else
                          range(min(LOOKED, len(whole))))  # fmt: skip
  found.append(looks.views(_views(reader.config, source)))
  found += _features(reader, source, split)
  if reader.charset is None and split == 'test':
    found.append(_classified(folder, whole))
  return [each for each in found if each is not None]


def _cards(
  reader: reader_lib.Reader, dataset: Dataset, columns: Any, rows: Sequence[int]
) -> list[Card]:
  """Rows of predictions.csv with their images; without those that are gone."""
  found = []
  for row in rows:
    split = columns['split'][row]
    # Rendered images stand in their order, which cannot change.
    place = row - columns['split'].index(split)
    if files := dataset.files(split):
      name = columns['file'][row]
      place = files.index(name) if name in files else None
    if place is not None:
      found.append(_card(reader, dataset.open(split), columns, row, place))
  return found


def _card(
  reader: reader_lib.Reader,
  source: sources.Source,
  columns: Any,
  row: int,
  place: int,
) -> Card:
  """A row of predictions.csv with its image, at its place, and its frames."""
  batch = source.gather([place])
  pixels, width = batch['image'][0], batch['image'].shape[2]
  assert reader.charset is not None  # or nothing could have been read
  shown = int(batch['width'][0]) if 'width' in batch else width
  widths = np.array([shown], np.int32)
  logits = reader.logits(batch['image'], widths)
  frames = looks.frames_of(
    logits,
    shown_frames(widths, frames=logits.shape[1], width=width),
    reader.charset,
    width,
    widths,
  )
  return Card(
    Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))[:, :shown]),
    columns['file'][row],
    columns['label'][row],
    columns['prediction'][row],
    float(columns['confidence'][row]),
    frames[0],
  )


def _views(run: Any, source: sources.Source) -> dict[str, np.ndarray]:
  """A few images and their views, by the names of the stages that have them."""
  task = tasks.make(run)
  found: dict[str, np.ndarray] = {}
  alike: dict[str, list[str]] = {}
  for stage in run['recipe']:
    described = [run[stage]['views'], run[stage]['method'].get('encoder')]
    alike.setdefault(json_text(described), []).append(stage)
  batch = source.gather(range(min(VIEWED, len(source))))
  arrays = batch['image'], np.arange(len(batch['image'])), batch.get('width')
  given = [each for each in arrays if each is not None]
  plain = np.broadcast_to(batch['image'], (*batch['image'].shape[:3], 3))
  for stage, *others in alike.values():
    options = run[stage]['views']
    if not options:
      continue
    changes = run[stage]['method'].get('encoder')
    encoder = build.encoder(build.networks(run), changes)
    made = jax.jit(task.views(options, encoder))(jax.random.key(0), *given)
    whole = [
      np.rint(127.5 * (np.asarray(view) + 1)).clip(0, 255).astype(np.uint8)
      for view, _ in made
    ]
    found[', '.join([stage, *others])] = looks.tiles([plain, *whole])
  return found


def _features(
  reader: reader_lib.Reader, source: sources.Source, split: str
) -> list[Section | None]:
  """Neighbours and, of text, a map of frames."""
  batches = list(pipeline.evaluation_batches(source, BATCH))
  encode = functools.partial(jax.jit(reader.method.encode), *reader.variables)
  features = evals.outputs(encode, batches).astype(np.float32)
  valid = np.concatenate([each['valid'] for each in batches])
  images = np.concatenate([each['image'] for each in batches])[valid]
  images = np.broadcast_to(images, (*images.shape[:3], 3))
  if features.ndim == 2:
    return [looks.neighbours(images, features)]
  width = images.shape[2]
  widths = np.full(len(images), width)
  if 'width' in batches[0]:
    widths = np.concatenate([each['width'] for each in batches])[valid]
  shown = shown_frames(widths, frames=features.shape[1], width=width)
  found = [looks.neighbours(images, doubt.means(features, shown))]
  if reader.charset is None or not reader.method.learns_labels:
    return found
  parts = evals.outputs_of_text(_predict(reader), batches)
  best = evals.joined(list(parts)).logits.argmax(axis=-1)
  said = (best > 0) & shown
  names = [reader.charset.characters[k - 1] for k in best[said]]
  drawn = looks.frame_map(features[said], names, split)
  about = 'Frames that are read as one character should lie together.'
  return [*found, Section('Map of frames', about, drawn) if drawn else None]


def _predict(reader: reader_lib.Reader) -> Callable[..., Any]:
  assert reader.method.predict is not None  # it learns labels
  return functools.partial(jax.jit(reader.method.predict), *reader.variables)


def _classified(folder: pathlib.Path, source: sources.Source) -> Section | None:
  """Which classes are taken for which, by the last stage that learns them."""
  run = trained.described(folder)
  done = [each for each in run['recipe'] if workdir.is_finished(folder / each)]
  task = tasks.make(run)
  learn = [
    each
    for each in done
    if run[each]['steps'] != 0
    and trained.method_of(run, each, task).learns_labels
  ]
  if not learn or not task.classes:
    return None
  stage = trained.preferred(run, learn)
  reader, names = reader_lib.load(folder, stage=stage), task.classes
  batches = list(pipeline.evaluation_batches(source, BATCH))
  logits = evals.outputs(_predict(reader), batches)
  valid = np.concatenate([each['valid'] for each in batches])
  labels = np.concatenate([each['label'] for each in batches])[valid]
  pairs = [
    (names[true], names[found])
    for true, found in zip(labels, logits.argmax(axis=-1), strict=True)
    if true >= 0
  ]
  among = f'{len(pairs):,} test images, classified by {stage}'
  return report.confused(collections.Counter(pairs), among)


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    usage='python -m ssljax.report [options] WORKDIR [WORKDIR...]',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    'workdirs', nargs='+', metavar='WORKDIR', help='the folder of a run'
  )
  parser.add_argument('--out', help='the page; by default WORKDIR/report.html')
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='where rendered data is kept, as for ssljax.main',
  )
  parser.add_argument('--debug', action='store_true', help=DEBUG)
  given = parser.parse_args(arguments)
  process.quiet()
  jax.config.update('jax_threefry_partitionable', True)
  try:
    with process.compiled_kept():
      path = write(given.workdirs, out=given.out, data_dir=given.data_dir)
  except UserError as error:
    sys.exit(told(error, debug=given.debug))
  except (OSError, ValueError, KeyError) as error:
    if given.debug:
      raise
    sys.exit(
      f'Found a file of a run that cannot be used ({error!r}); expected what '
      'the run has written. Its command makes it again.'
    )
  print(f'Report: {path}')


if __name__ == '__main__':
  main()
