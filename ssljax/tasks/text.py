"""Runs on text: labels are strings, a head reads, and CTC decodes."""

import csv
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ssljax import evals, losses
from ssljax import text as text_lib
from ssljax.augment.text import text_views
from ssljax.core import TrainState
from ssljax.data import images as images_lib
from ssljax.data import pipeline
from ssljax.data.datasets import Dataset
from ssljax.data.sources import Source, Subset
from ssljax.errors import UserError, check_known
from ssljax.models.sequence import CtcHead
from ssljax.reports import readings, sheet
from ssljax.tasks.task import (
  EVALUATION_BATCH,
  FURTHER,
  Task,
  preprocessing,
  shares,
)

FIT = 2000  # the most of its own examples that a stage reads for 'fit'


def text(
  *,
  charset: str,
  height: int,
  width: int,
  max_length: int,
  head_width: int,
  tables: Mapping[str, Any],
  standardize: bool = False,
  directory: str = '',
  **others: Any,
) -> Task:
  """The task of reading lines of text.

  Args:
    charset: a charset's name, or the characters themselves on the user's own
      images.
    height: pixels of every image.
    width: pixels of every image, its padding on the right included.
    max_length: characters of the longest label.
    head_width: features of the head's hidden layer.
    tables: options of `readings.results`; empty where no results are asked for.
    standardize: whether the head standardises its features; see `CtcHead`.
    directory: of the user's own images; '' for rendered ones.
    **others: options of the data that only its loader reads.
  """
  del others
  if not directory:
    check_known('charset', charset, text_lib.CHARSETS)
  known = text_lib.CHARSETS.get(charset) or text_lib.Charset(charset)

  def frames(encoder, shown=None):
    return -(-(shown or width) // encoder.stride)

  def report(folder):
    found, sheets = readings.results(folder, **tables), sheet.found(folder)
    parts = readings.render(found), sheet.render(sheets)
    told = '\n\n'.join(filter(None, parts))
    return found | ({'sheets': sheets} if sheets else {}), told

  return Task(
    head=CtcHead(known.classes, head_width, standardize=standardize),
    criterion=losses.ctc,
    views=lambda options, encoder: text_views(stride=encoder.stride, **options),
    frames=frames,
    arrays=functools.partial(arrays, charset=known, length=max_length),
    require=lambda name: None,  # a split without labels does not open
    check=functools.partial(
      check, charset=known, length=max_length, frames=frames
    ),
    shares=functools.partial(character_shares, charset=known),
    evaluate=functools.partial(evaluate, charset=known),
    report=report,
    fit=lambda picture: images_lib.fit(picture, height, width),
    metadata={
      'preprocessing': preprocessing(height, width),
      'characters': known.characters,
    },
    charset=known,
  )


def arrays(
  batch: Mapping[str, np.ndarray], *, charset: text_lib.Charset, length: int
) -> dict[str, np.ndarray]:
  """What the step reads: image, index, label and, if padded, its width.

  Labels are int32 `(batch, length)`, padded with 0. An image without a label
  has nothing but the padding.
  """
  labels = np.zeros((len(batch['text']), length), np.int32)
  for row, label in zip(labels, batch['text'], strict=True):
    if label:
      row[:] = charset.encode(str(label), length)
  found = {'image': batch['image'], 'index': batch['index'], 'label': labels}
  return found | {key: batch[key] for key in FURTHER if key in batch}


def check(
  source: Source,
  encoder: Any,
  *,
  charset: text_lib.Charset,
  length: int,
  frames: Callable[..., int],
) -> None:
  """Refuses labels that the model could never read, before any training."""
  for position in range(len(source)):
    example = source.describe(position)
    label, shown = example.text, example.width
    charset.encode(label, length)
    needed, available = text_lib.frames_needed(label), frames(encoder, shown)
    if needed > available:
      raise UserError(
        f'Found label {label!r} of {example.name}, which needs '
        f'{needed} frames, a blank between repeats included; an image shown '
        f'{shown} pixels wide gives {available}. Raise --config.data.height '
        'and --config.data.width, use a smaller stride, or leave the image out.'
      )


def character_shares(
  source: Source, *, charset: text_lib.Charset
) -> np.ndarray:
  """`shares` of the characters in a source's labels; the blank's is 0."""
  counts = np.zeros(charset.classes)
  for position in range(len(source)):
    label = source.describe(position).text
    for character in charset.encode(label, len(label)):
      counts[character] += 1
  return shares(counts)


def evaluate(
  stage: Any,
  state: TrainState,
  dataset: Dataset,
  *,
  charset: text_lib.Charset,
) -> dict:
  """Figures on the stage's own labels, on `validation` and on the test splits.

  The readings of the test splits go to `predictions.csv` in the stage's folder.
  Where there is no test split, those of the user's images go to `sheet.png` and
  `readings.csv` instead. A stage that does not learn to read has no figures.
  """
  if not stage.method.learns_labels:
    return {}
  variables = state.params, state.method_state
  predict = functools.partial(jax.jit(stage.method.predict), *variables)

  def read(source):
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    return evals.read(predict, batches, charset)

  # 20,000 rendered images would take longer to read than to learn from.
  own = Subset(stage.labels, range(min(FIT, len(stage.labels))))
  found = read_splits(read, own, dataset, stage.folder)
  if not any(map(is_test, dataset.splits)) and dataset.files('unlabeled'):
    source = dataset.open('unlabeled')
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    shown = evals.readings(predict, batches, charset)
    show_readings(shown, source, dataset.files('unlabeled'), stage.folder)
  return found


def is_test(split: str) -> bool:
  """Whether the figures of a split are results."""
  return split.startswith('test')


def show_readings(
  shown: Sequence[tuple[str, float]],
  source: Source,
  files: Sequence[str],
  folder: pathlib.Path,
) -> None:
  """Draws and lists what was read in images without labels.

  Args:
    shown: (text, confidence) of each example of the source.
    source: the examples.
    files: the file behind each example.
    folder: of the stage.
  """
  places = [place for part in sheet.chosen(shown) for place in part]
  batch = source.gather(places)
  images = {
    place: pixels[:, :width]
    for place, pixels, width in zip(
      places, batch['image'], batch['width'], strict=True
    )
  }
  # Long lines need more room than four in a row would leave them.
  height, width = batch['image'].shape[1:3]
  columns = 4 if width <= 4 * height else 2
  sheet.sheet(images, shown, folder / 'sheet.png', columns=columns)
  sheet.write_readings(folder / 'readings.csv', files, shown)


def read_splits(
  read: Callable[..., tuple[list[str], list[str], list[int]]],
  source: Source,
  dataset: Dataset,
  folder: pathlib.Path,
) -> dict[str, dict[str, float]]:
  """Figures of each split; the readings of the test splits go to the folder.

  Args:
    read: `source -> predictions, labels, layouts`.
    source: the labelled examples that were trained on, whose figures are
      'fit'.
    dataset: the run's data.
    folder: of the stage.
  """
  found = {'fit': evals.figures(*read(source)[:2])}
  if 'validation' in dataset.splits:
    validation = dataset.open('validation')
    found['validation'] = evals.figures(*read(validation)[:2])
  rows = []
  for split in dataset.splits:
    if not is_test(split):
      continue
    test = dataset.open(split)
    predictions, labels, layouts = read(test)
    found[split] = evals.figures(predictions, labels)
    names = [test.layouts[layout] for layout in layouts]
    rows += zip([split] * len(labels), names, labels, predictions, strict=True)
  if rows:
    write_readings(folder / 'predictions.csv', rows)
  return found


def write_readings(
  path: pathlib.Path, rows: Iterable[tuple[str, str, str, str]]
) -> None:
  """Writes (split, layout, label, prediction) of each image."""
  with path.open('w', newline='') as file:
    header = ('split', 'layout', 'label', 'prediction')
    csv.writer(file).writerows([header, *rows])
