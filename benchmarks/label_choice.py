"""What the page of `ssljax.review` finds, on rendered images.

  python benchmarks/label_choice.py wrong --run=RUN --stage=STAGE
  python benchmarks/label_choice.py choose --run=RUN --stage=STAGE
  python benchmarks/label_choice.py --smoke    on a tiny run, in seconds

`wrong` changes 5 % of the labels of the test split (or of --split), which no
stage has learned from. It prints how many of them the first part of the page
holds (recall), and how many of the labels in this part were changed
(precision). The changes are slips: a wrong character, a missing one, a doubled
one, two in the wrong order, or the label of another image.

`choose` begins with the reader STAGE and the labels that it was trained on. It
adds as many as --count says, chosen by doubt and difference or at random from
the labelled images that the reader has not seen, trains on all of them for
--steps steps, and prints the figures on the test split. Three draws of the
random labels take three trainings.

STAGE is a stage of RUN, the folder of a run on rendered text. Without --run,
both commands first train a reader on 30 labels for 600 steps.
"""

import argparse
import functools
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import _smoke
import jax
import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from ssljax import review, stage, tasks, train
from ssljax.data import datasets, sources
from ssljax.evals import doubt
from ssljax.examples import examples_of
from ssljax.process import keep_compiled, keep_heap
from ssljax.records import read_json
from ssljax.reports.tables import table

SHARE = 0.05  # of the labels are changed
TIMES = (2.0, 20.0, 100.0, 1000.0, 10_000.0)
SLIPS = ('character', 'missing', 'doubled', 'order', 'other image')
FIGURES = ('edit_distance_accuracy', 'exact_match')


def slip(rng, kind: str, text: str, texts: Sequence[str], characters: str):
  """A label that is wrong in one way; '' if this text cannot be."""
  place = int(rng.integers(len(text)))
  if kind == 'character':
    other = rng.choice([each for each in characters if each != text[place]])
    found = text[:place] + str(other) + text[place + 1 :]
  elif kind == 'missing':
    found = text[:place] + text[place + 1 :]
  elif kind == 'doubled':
    found = text[:place] + text[place] + text[place:]
  elif kind == 'order':
    found = text[:place] + text[place : place + 2][::-1] + text[place + 2 :]
  else:
    found = str(rng.choice(texts))
  return '' if found == text else found


def planted(texts: Sequence[str], characters: str, seed: int = 0):
  """The labels with slips, and the kind of slip by place."""
  rng = np.random.default_rng(seed)
  labels, kinds = list(texts), {}
  for place in rng.permutation(len(texts)):
    if len(kinds) >= SHARE * len(texts):
      break
    kind = SLIPS[len(kinds) % len(SLIPS)]
    found = slip(rng, kind, texts[place], texts, characters)
    if found:
      labels[place], kinds[int(place)] = found, kind
  return labels, kinds


def texts_of(source) -> list[str]:
  return [source.describe(place).text for place in range(len(source))]


@functools.cache  # both commands of `smoke` then compile once
def opened(run: pathlib.Path, name: str, data_dir: str):
  trained = review.opened(run, name)
  data = ConfigDict(read_json(run / 'config.json')).data.to_dict()
  return trained, datasets.open_dataset(data, data_dir=data_dir)


def wrong(
  run: pathlib.Path, name: str, data_dir: str, split: str = 'test'
) -> None:
  """Prints precision and recall of labels that are said to be wrong."""
  trained, dataset = opened(run, name, data_dir)
  source = dataset.open(split)
  texts = texts_of(source)
  labels, kinds = planted(texts, trained.charset.characters)
  seen = trained.see(source, labels)
  exact = np.mean([a == b for a, b in zip(seen.texts, texts, strict=True)])
  print(
    f'{len(kinds)} of {len(texts)} labels changed; the reader reads '
    f'{exact:.3f} of the images exactly.\n'
  )
  rows = []
  for times in TIMES:
    found = doubt.contradicted(seen.reading, seen.label, times=times)
    hits = sum(place in kinds for place in found)
    rows.append(
      (
        f'{times:g}' + (' (the page)' if times == doubt.TIMES else ''),
        len(found),
        f'{hits / max(1, len(found)):.3f}',
        f'{hits / len(kinds):.3f}',
      )
    )
  print(table(rows, ('times more probable', 'found', 'precision', 'recall')))
  found = doubt.contradicted(seen.reading, seen.label)
  first = found[: len(kinds)]
  print(
    f'\nOf the first {len(first)}, '
    f'{sum(place in kinds for place in first)} were changed.\n'
  )
  rows = []
  for kind in SLIPS:
    places = [place for place, each in kinds.items() if each == kind]
    hits = sum(place in found for place in places)
    rows.append((kind, len(places), f'{hits / max(1, len(places)):.3f}'))
  print(table(rows, ('slip', 'labels', 'recall')))


class Chosen:
  """A data set whose `train` has only the images at some positions."""

  def __init__(self, dataset, positions):
    self.splits = dataset.splits
    self._dataset, self._positions = dataset, positions

  def open(self, split):
    source = self._dataset.open(split)
    return (
      sources.Subset(source, self._positions) if split == 'train' else source
    )

  def files(self, split):
    return self._dataset.files(split)

  def masks(self, split):
    return self._dataset.masks(split)


def known_to(run, name: str, dataset) -> np.ndarray:
  """Which images of `train` the stage was trained on, as bools."""
  described = run[name]
  known = examples_of(described, dataset, described['data']['split'].split('+'))
  every = dataset.open('train').gather(range(len(dataset.open('train'))))
  return np.isin(every['index'], known.gather(range(len(known)))['index'])


def choose(
  run: pathlib.Path,
  name: str,
  data_dir: str,
  *,
  count: int = 30,
  steps: int = 300,
  draws: int = 3,
) -> None:
  """Prints what labels chosen by doubt and difference are worth."""
  trained, dataset = opened(run, name, data_dir)
  known = known_to(trained.run, name, dataset)
  source = dataset.open('train')
  texts = texts_of(source)
  seen = trained.see(source, texts)
  more = doubt.to_label(1 - np.exp(seen.reading), seen.rows, known, count=count)
  choices = {'no more': [], 'doubt and difference': more}
  for draw in range(draws):
    rng = np.random.default_rng(draw)
    choices[f'random, draw {draw}'] = rng.choice(
      np.flatnonzero(~known), count, replace=False
    ).tolist()
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    for title, places in choices.items():
      positions = [*np.flatnonzero(known), *places]
      where = pathlib.Path(folder) / title.replace(' ', '_')
      figures = trained_on(run, name, Chosen(dataset, positions), where, steps)
      read = [
        seen.texts[place] == source.describe(place).text for place in places
      ]
      wrongly = f'{len(read) - sum(read)}' if read else ''
      rows.append((title, len(positions), wrongly, *figures))
      print(*map(str, rows[-1]), file=sys.stderr)
  random = [row[3:] for row in rows if row[0].startswith('random')]
  rows.append(('random, mean', rows[1][1], '', *np.mean(random, axis=0)))
  shown = [(*row[:3], *(f'{value:.3f}' for value in row[3:])) for row in rows]
  headers = 'added', 'labels', 'of them misread before', *FIGURES
  print(table(shown, [each.replace('_', ' ') for each in headers]))


def trained_on(run, name: str, dataset, folder, steps: int):
  """Figures on `test` after training the stage's reader further."""
  config = ConfigDict(read_json(run / 'config.json'))
  each = config[name]
  each.take = {part: str(run / name) for part in ('encoder', 'head')}
  each.method, each.freeze = ConfigDict({'name': 'recognize'}), ()
  each.match_compute, each.best_rate_of = (), ()
  each.data.update(count=None, split='train', unlabelled='', labelled=0)
  each.steps, each.epochs = steps, 0
  each.batch_size = min(32, len(dataset.open('train')))
  config.more, config.recipe = each, ('more',)
  config.rows, config.differences = (), ()
  task = tasks.make(config)
  recipe = stage.resolve(config, folder=folder, task=task, dataset=dataset)
  (more,) = recipe.stages
  train.run_stage(more, task=task, dataset=dataset, stop=lambda: False)
  found = read_json(folder / 'more' / 'stage.json')['test']
  return [found[figure] for figure in FIGURES]


def reader(folder: pathlib.Path, data_dir: str, *flags: str, scale='laptop'):
  """Trains a reader on 30 labels; returns its run and its stage."""
  _smoke.run(
    f'supervised_ocr.py:{scale}',
    folder,
    pathlib.Path(data_dir),
    '--config.supervised.data.count=30',
    '--config.supervised.steps=600',
    *flags,
  )
  return folder, 'supervised'


def smoke() -> None:
  with tempfile.TemporaryDirectory() as name:
    folder, data_dir = pathlib.Path(name), str(pathlib.Path(name) / 'data')
    keep_compiled(data_dir)
    # Programs that compile sooner, and take longer for more than a step.
    jax.config.update('jax_disable_most_optimizations', True)
    splits = ('unlabeled', 'train', 'validation', 'test')
    where = reader(
      folder / 'run',
      data_dir,
      # A whole batch of labels, so that all trainings share their programs.
      '--config.supervised.data.count=32',
      '--config.supervised.steps=1',
      '--config.supervised.batch_size=32',
      *(f'--config.data.counts.{each}={3 * _smoke.COUNT}' for each in splits),
      scale='smoke',
    )
    wrong(*where, data_dir)
    choose(*where, data_dir, count=4, steps=1, draws=1)


def main(arguments: Sequence[str]) -> None:
  if list(arguments) == ['--smoke']:
    return smoke()
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('command', choices=('wrong', 'choose'))
  parser.add_argument('--run', type=lambda path: pathlib.Path(path).absolute())
  parser.add_argument('--stage')
  parser.add_argument('--split', default='test')
  parser.add_argument('--count', type=int, default=30)
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--draws', type=int, default=3)
  given = parser.parse_args(arguments)
  data_dir = os.environ.get(
    'SSLJAX_DATA_DIR', os.path.expanduser('~/.cache/ssljax')
  )
  keep_heap()
  keep_compiled(data_dir)
  with tempfile.TemporaryDirectory() as folder:
    run, name = given.run, given.stage
    if run is None:
      run, name = reader(pathlib.Path(folder) / 'run', data_dir)
    if given.command == 'wrong':
      return wrong(run, name, data_dir, given.split)
    options = {key: getattr(given, key) for key in ('count', 'steps', 'draws')}
    choose(run, name, data_dir, **options)


if __name__ == '__main__':
  main(sys.argv[1:])
