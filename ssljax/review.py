"""Writes a page for mending labels: python -m ssljax.review WORKDIR

The page shows images of the run's folder with their readings: first the labels
that the trained run contradicts, then images to label next, doubtful ones that
differ from each other, then the others by doubt. It saves the corrected rows as
corrections.csv, which the next run takes:

  python -m ssljax.main \\
    --config=configs/simclr_ocr.py:data=DIR,labels=corrections.csv
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from ssljax import process, reader
from ssljax import workdir as workdir_lib
from ssljax.data import datasets, images, pipeline, sources
from ssljax.data.own import RENDERED
from ssljax.errors import DEBUG, UserError, told
from ssljax.evals import doubt
from ssljax.reports import review
from ssljax.tasks.task import EVALUATION_BATCH
from ssljax.text import Charset
from ssljax.workdir import is_run


class Trained(NamedTuple):
  """A stage that reads, as functions of a batch.

  Attributes:
    stage: its name.
    run: the config that it was trained by.
    charset: what it reads.
    temperature: of its confidences.
    predict: of uint8 images, and of their widths if they are padded.
    encode: of the same.
  """

  stage: str
  run: dict[str, Any]
  charset: Charset
  temperature: float
  predict: Callable[..., Any]
  encode: Callable[..., Any]

  def see(self, source: sources.Source, labels: Sequence[str]) -> doubt.Seen:
    """Reads the examples of a source, whose labels are given in its order."""
    return doubt.see(
      self.predict,
      self.encode,
      pipeline.evaluation_batches(source, EVALUATION_BATCH),
      labels,
      self.charset,
      temperature=self.temperature,
    )


def opened(workdir: pathlib.Path, stage: str | None = None) -> Trained:
  """Opens a stage of a run that reads.

  Raises:
    UserError: as `reader.load`, or the stage does not read.
  """
  loaded = reader.load(workdir, stage=stage)
  method, charset = loaded.method, loaded.charset
  if charset is None or method.predict is None or not method.learns_labels:
    raise UserError(
      f'Found stage {loaded.stage!r}, which does not read text; expected a '
      'stage that was trained on labels of text. Name another one by --stage.'
    )
  predict, encode = jax.jit(method.predict), jax.jit(method.encode)
  run = dict(loaded.config)
  folder = pathlib.Path(workdir)
  run['data'] = workdir_lib.found_data(
    run['data'], folder if is_run(folder) else folder.parent
  )
  return Trained(
    loaded.stage,
    run,
    charset,
    loaded.temperature,
    functools.partial(predict, *loaded.variables),
    functools.partial(encode, *loaded.variables),
  )


class Found(NamedTuple):
  """The images of a folder; `labels` has '' for an image without one."""

  source: sources.Source
  files: list[str]
  labels: list[str]


def images_of(run: dict[str, Any]) -> Found:
  """The user's images as they are now, in the frame of the run.

  Labels may have been added or changed since, also by characters that the run
  cannot read.

  Raises:
    UserError: the run is of rendered images, or the folder cannot be read.
  """
  data = dict(run['data'])
  if not data.get('directory'):
    raise UserError(
      'Found a run on rendered images, whose labels are right; expected a run '
      "on a folder of the user's images, as by "
      '--config=configs/simclr_ocr.py:data=DIR.'
    )
  data |= {'charset': '', 'max_length': 0, 'rendered': 0, 'lengths': ()}
  dataset = datasets.open_dataset(data, data_dir='')
  splits = [split for split in dataset.splits if split not in RENDERED]
  joined = sources.Joined([dataset.open(split) for split in splits])
  files = [name for split in splits for name in dataset.files(split)]
  # The images of `train` are among `unlabeled`, too.
  once = {name: place for place, name in enumerate(files)}
  labels = [joined.describe(place).text for place in once.values()]
  return Found(sources.Subset(joined, [*once.values()]), [*once], labels)


def write(
  workdir: str | os.PathLike[str],
  *,
  stage: str | None = None,
  most: int = 300,
  count: int = 30,
  out: str | os.PathLike[str] | None = None,
) -> tuple[pathlib.Path, dict[str, int]]:
  """Writes the page; returns its path and how many images each section has.

  Args:
    workdir: of a run on the user's images, or a stage's folder in it.
    stage: that reads; by default the one that the recipe is for.
    most: the most images on the page.
    count: the most images to label next.
    out: the file; by default review.html in the folder of the run.

  Raises:
    UserError: there is no such run, it does not read, or its folder is gone.
  """
  if most < 1 or count < 0:
    raise UserError(
      f'Found {most} images on the page and {count} to label next; expected at '
      'least 1 on the page and 0 to label. Change --most or --next.'
    )
  folder = pathlib.Path(workdir).expanduser().absolute()
  trained = opened(folder, stage)
  found = images_of(trained.run)
  seen = trained.see(found.source, found.labels)
  places = doubt.chosen(seen, found.labels, most=most, count=count)
  directory = pathlib.Path(trained.run['data']['directory']).absolute()
  sections = {
    name: [_item(directory, found, seen, place) for place in part]
    for name, part in places.items()
  }
  shown, labelled = sum(map(len, places.values())), sum(map(bool, found.labels))
  text = review.page(
    sections,
    folder=str(directory),
    reader=f'{trained.stage} of {folder}',
    summary=(
      f'{shown:,} of {len(found.files):,} images are shown; {labelled:,} have '
      'labels.'
    ),
    characters=trained.charset.characters,
  )
  run = folder if is_run(folder) else folder.parent
  path = pathlib.Path(out).expanduser() if out else run / 'review.html'
  path.write_text(text, encoding='utf-8', errors='backslashreplace')
  return path, {name: len(part) for name, part in places.items()}


def _item(
  directory: pathlib.Path, found: Found, seen: doubt.Seen, place: int
) -> review.Item:
  label = found.labels[place]
  try:
    picture = images.read_image(directory / found.files[place])
  except images.BadImage:  # its name was escaped
    example = found.source[place]
    picture = Image.fromarray(example['image'][:, : example['width']])
  return review.Item(
    found.files[place],
    label,
    seen.texts[place],
    float(np.exp(seen.reading[place])),
    float(np.exp(seen.label[place])) if label else 0.0,
    review.thumbnail(picture),
  )


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    usage='python -m ssljax.review [options] WORKDIR',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    'workdir',
    metavar='WORKDIR',
    help='the folder of a run, or of a stage in it',
  )
  add('--stage', help='that reads; by default the one that the run is for')
  add(
    '--most', type=int, default=300, help='images on the page; 300 by default'
  )
  add('--next', type=int, default=30, help='images to label; 30 by default')
  add('--out', help='the page; by default WORKDIR/review.html')
  add('--debug', action='store_true', help=DEBUG)
  given = parser.parse_args(arguments)
  process.quiet()
  try:
    path, counts = write(
      given.workdir,
      stage=given.stage,
      most=given.most,
      count=given.next,
      out=given.out,
    )
  except UserError as error:
    sys.exit(told(error, debug=given.debug))
  print(
    f'{counts["wrong"]} labels that may be wrong, {counts["next"]} images to '
    f'label next, {counts["rest"]} others.'
  )
  print(f'Open in a browser: {path.absolute().as_uri()}')


if __name__ == '__main__':
  main()
