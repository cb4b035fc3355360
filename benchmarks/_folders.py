"""What the benchmarks on a folder of images share: making it, runs, figures.

A benchmark is a `Kind` of picture. All of them have the same commands:

  make DIR --labels 30 100 --draws 3    draws the pictures
  run DIR --labels 30 100 --start=both  trains on them as a user does
  score RUN DIR/new                     reads the test pictures with one run
  --smoke                               make and run, small, in seconds

DIR/new has the test pictures and their labels. DIR/draw0/30 has the user's
pictures, of which 30 have labels; the files of all such folders are the same
ones. The 30 are among the 100 of the same draw, and another draw labels other
pictures. `make` draws the same DIR again, because every picture has a seed.

`run` starts a training for each folder, with the number of the draw as its
seed. Then every stage that reads reads DIR/new. The figures go to
docs/results/NAME.json, and their means over the draws are printed. What has
been done stays done, so that the same command goes on after an interruption.
Further flags are given to the training, such as --config.data.holdout=0.
"""

import argparse
import csv
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import _smoke
import numpy as np
from PIL import Image

import ssljax
from ssljax import evals, workdir
from ssljax import trained as runs
from ssljax.records import read_json, read_lines, write_json
from ssljax.reports.tables import table

RESULTS = _smoke.ROOT / 'docs' / 'results'
CONFIG = 'simclr_ocr.py'
FIGURES = ('edit_distance_accuracy', 'exact_match')


class Kind(NamedTuple):
  """A kind of picture.

  Attributes:
    name: of the file of its results.
    draw: `(split, place) -> text, picture`, always the same of a split, 'mine'
      or 'new', and a place.
    count: the user's pictures, with and without labels.
    labels: the numbers of labels.
    tested: test pictures.
  """

  name: str
  draw: Callable[[str, int], tuple[str, Image.Image]]
  count: int
  labels: tuple[int, ...]
  tested: int = 2000


def make(
  kind: Kind, directory: pathlib.Path, *, labels: Sequence[int], draws: int
) -> None:
  """Writes the test pictures, and a folder for each draw and number of labels.

  Args:
    kind: of the pictures.
    directory: DIR, which must not exist.
    labels: the number of labels of each folder of a draw.
    draws: how often the pictures with labels are drawn.
  """
  if directory.exists():
    sys.exit(f'Found {directory}; expected a new folder. Name another one.')
  if max(labels) > kind.count:
    sys.exit(f'Found {max(labels)} labels; expected at most {kind.count}.')
  write_labels(directory / 'new', _draw(kind, directory / 'new', kind.tested))
  drawn = _draw(kind, directory / 'mine', kind.count)
  for draw in range(draws):
    order = np.random.default_rng(draw).permutation(kind.count)
    for number in labels:
      folder = folder_of(directory, draw, number)
      folder.mkdir(parents=True)
      for name, _ in drawn:
        _link(directory / 'mine' / name, folder / name)
      if number:
        write_labels(folder, [drawn[place] for place in sorted(order[:number])])


def folder_of(directory: pathlib.Path, draw: int, number: int) -> pathlib.Path:
  return directory / f'draw{draw}' / str(number)


def _draw(kind, folder, count) -> list[tuple[str, str]]:
  """Draws the pictures of a split; returns (file, text) of each."""
  folder.mkdir(parents=True)
  rows = []
  for place in range(count):
    text, picture = kind.draw(folder.name, place)
    rows.append((f'{place:05}.png', text))
    picture.save(folder / rows[-1][0])
  return rows


def _link(source, target) -> None:
  try:
    os.link(source, target)
  except OSError:  # the file system has no hard links
    shutil.copyfile(source, target)


def write_labels(folder: pathlib.Path, rows) -> None:
  with (folder / 'labels.csv').open('w', newline='') as file:
    csv.writer(file).writerows([('file', 'text'), *rows])


def run(
  kind: Kind,
  directory: pathlib.Path,
  out: pathlib.Path,
  *,
  labels: Sequence[int],
  draws: int,
  start: str = '',
  config: str = CONFIG,
  flags: Sequence[str] = (),
) -> None:
  """Trains and scores on each folder; prints the means over the draws.

  Args:
    kind: of the pictures.
    directory: DIR.
    out: the file of the records. Those of other commands stay in it.
    labels: the number of labels of each folder.
    draws: the first draws to run.
    start: the config's option of this name; '' for its default.
    config: a file of `configs/`, with a scale behind a colon.
    flags: further ones of the training.
  """
  found = []
  for draw in range(draws):
    for number in labels:
      found += run_one(directory, draw, number, start, config, flags)
      write_records(out, found)
  print(summary(found))


def run_one(directory, draw, number, start, config, flags) -> list[dict]:
  """Trains on one folder and scores it, or reads the scores of before."""
  folder = folder_of(directory, draw, number)
  if not folder.is_dir():
    sys.exit(f'Found no {folder}; expected a folder of `make`. Make it.')
  # An option too, because a few labels may lack a character.
  options = f'data={folder},charset=digits' + (start and f',start={start}')
  config += (',' if ':' in config else ':') + options
  flags = [f'--config.seed={draw}', *flags]
  command = ' '.join(
    ('python -m ssljax.main', f'--config=configs/{config}', *flags)
  ).replace(str(directory), 'DIR')
  digest = hashlib.sha256(command.encode()).hexdigest()[:8]
  name = f'{start or "default"}-{number}-{draw}-{digest}'
  trained = directory / 'runs' / name
  scores = trained.with_suffix('.json')
  if not scores.exists():
    # '' takes the data folder that a user has by default.
    _smoke.run(config, trained, '', *flags)
    write_json(
      scores,
      [
        {
          'labels': number,
          'draw': draw,
          'start': start or 'default',
          **record,
          'command': command,
        }
        for record in score_stages(trained, directory / 'new')
      ],
    )
  return read_json(scores)


def score_stages(trained: pathlib.Path, new: pathlib.Path) -> list[dict]:
  """The figures on `new` of every stage of a run that reads, and its cost."""
  described = read_json(trained / 'config.json')
  titles = {
    stage: title
    for _, title, stages in described['rows']
    for stage in np.hstack(stages).tolist()
  }
  found = []
  for stage in described['recipe']:
    folder = trained / stage
    if not (workdir.is_finished(folder) and runs.reads(described, stage)):
      continue
    samples = evals.per_sample(*readings(str(folder), new))
    logs = [
      read_lines(each / 'metrics.jsonl') for each in workdir.lineage(folder)
    ]
    found.append(
      {
        'seed': described['seed'],
        'row': titles.get(stage, stage),
        'stage': stage,
        'edit_distance_accuracy': samples.accuracies.mean(),
        'exact_match': samples.exact.mean(),
        'tflop': workdir.flops(folder) / 1e12,
        'seconds': sum(lines[-1]['seconds'] for lines in logs if lines),
      }
    )
  return found


def readings(
  trained: str, folder: pathlib.Path
) -> tuple[list[str], tuple[str, ...]]:
  """What a run, a stage's folder or ddddocr reads, and what is written."""
  with (folder / 'labels.csv').open(newline='') as file:
    names, labels = zip(*list(csv.reader(file))[1:], strict=True)
  paths = [folder / name for name in names]
  if trained == 'ddddocr':
    import ddddocr

    model = ddddocr.DdddOcr(show_ad=False)
    return [model.classification(path.read_bytes()) for path in paths], labels
  found = ssljax.load(trained).recognize(paths)
  return [text for text, _ in found], labels


def score(trained: str, folder: pathlib.Path) -> str:
  """The figures of one run, with 95 % intervals over the pictures."""
  samples = evals.per_sample(*readings(trained, folder))
  figures = {
    'exact match': samples.exact,
    'edit-distance accuracy': samples.accuracies,
  }
  shown = []
  for name, values in figures.items():
    low, high = evals.bootstrap(values)
    shown.append(f'{name} {values.mean():.3f} [{low:.3f}, {high:.3f}]')
  return f'{len(samples.exact)} images: {", ".join(shown)}'


def write_records(out: pathlib.Path, found: Sequence[dict]) -> None:
  """Adds records to a file, in place of those of the same commands."""
  commands = {record['command'] for record in found}
  kept = read_json(out) if out.exists() else []
  kept = [record for record in kept if record['command'] not in commands]
  write_json(out, kept + list(found))


def summary(records: Sequence[dict]) -> str:
  """A table of the means over draws, with their standard deviation."""
  groups: dict[tuple, list[dict]] = {}
  for record in records:
    key = record['labels'], record['row'], record['stage']
    groups.setdefault(key, []).append(record)

  def cell(name, group, digits=3):
    values = [record[name] for record in group]
    text = f'{np.mean(values):.{digits}f}'
    if len(values) > 1:
      text += f' ± {np.std(values, ddof=1):.{digits}f}'
    return text

  rows = [
    (
      number,
      row,
      len(group),
      *(cell(name, group) for name in FIGURES),
      cell('tflop', group, 1),
      cell('seconds', group, 0),
    )
    for (number, row, _), group in groups.items()
  ]
  headers = 'labels', 'row', 'draws', *FIGURES, 'tflop', 'seconds'
  return table(rows, [name.replace('_', ' ') for name in headers])


def smoke(kind: Kind) -> None:
  """Makes a small folder, trains on it for two steps, and scores it."""
  small = kind._replace(count=24, tested=8)
  with tempfile.TemporaryDirectory() as name:
    directory = pathlib.Path(name) / 'made'
    make(small, directory, labels=(16,), draws=1)
    run(
      small,
      directory,
      pathlib.Path(name) / 'results.json',
      labels=(16,),
      draws=1,
      config='supervised_ocr.py:smoke',
      flags=(
        '--config.supervised.steps=2',
        '--config.supervised.batch_size=8',
      ),
    )
    (trained,) = (path for path in directory.glob('runs/*') if path.is_dir())
    print(score(str(trained), directory / 'new'))


def absolute(path: str) -> pathlib.Path:
  return pathlib.Path(path).absolute()


def main(kind: Kind, description: str, arguments: Sequence[str]) -> None:
  """The command of a benchmark; `description` is its docstring."""
  if list(arguments) == ['--smoke']:
    return smoke(kind)
  parser = argparse.ArgumentParser(
    description=f'{description}\n{__doc__}',
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(dest='command', required=True)
  parsers = {}
  for name in ('make', 'run', 'score'):
    parsers[name] = commands.add_parser(name)
  for each in (parsers['make'], parsers['run']):
    each.add_argument('directory', type=absolute)
    each.add_argument('--labels', type=int, nargs='+', default=kind.labels)
    each.add_argument('--draws', type=int, default=3)
  parsers['run'].add_argument('--start', default='')
  parsers['run'].add_argument('--config', default=CONFIG)
  out = RESULTS / f'{kind.name}.json'
  parsers['run'].add_argument('--out', type=pathlib.Path, default=out)
  parsers['score'].add_argument('trained')
  parsers['score'].add_argument('folder', type=pathlib.Path)
  found, flags = parser.parse_known_args(arguments)
  given = vars(found)
  command = given.pop('command')
  if flags and command != 'run':
    parser.error(f'unknown: {" ".join(flags)}')
  if command == 'score':
    print(score(**given))
  elif command == 'make':
    make(kind, **given)
  else:
    run(kind, **given, flags=flags)
