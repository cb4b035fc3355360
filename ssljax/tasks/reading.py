"""What a stage reads: figures, confidences, and files that list readings."""

import csv
import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from ssljax import durable, evals
from ssljax.core import TrainState
from ssljax.data import pipeline
from ssljax.data.datasets import Dataset
from ssljax.data.sources import Source, Subset
from ssljax.decoding import Reading, calibration
from ssljax.reports import sheet
from ssljax.tasks.task import EVALUATION_BATCH
from ssljax.text import Charset

FIT = 2000  # the most of its own examples that a stage reads for 'fit'
COLUMNS = (
  'file',
  'split',
  'layout',
  'label',
  'prediction',
  'confidence',
  'second_best',
)


def evaluate(
  stage: Any, state: TrainState, dataset: Dataset, *, charset: Charset
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

  def outputs(source):
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    return evals.outputs_of_text(predict, batches)

  calibrated = calibrate(outputs, dataset, charset)
  options = {'temperature': calibrated.get('temperature', 1.0)}

  def read(source, second=False):
    return evals.read_outputs(
      outputs(source), charset, second=second, **options
    )

  # 20,000 rendered images would take longer to read than to learn from.
  own = Subset(stage.labels, range(min(FIT, len(stage.labels))))
  found = read_splits(read, own, dataset, stage.folder)
  if calibrated:
    found['calibration'] = calibrated
  if not any(map(is_test, dataset.splits)) and dataset.files('unlabeled'):
    source = dataset.open('unlabeled')
    shown = read(source).readings
    show_readings(shown, source, dataset.files('unlabeled'), stage.folder)
  return found


def score(
  stage: Any, source: Source, count: int, *, charset: Charset
) -> Callable[[TrainState], float]:
  """`state -> edit-distance accuracy` on the first images of a source."""
  source = Subset(source, range(min(count, len(source))))
  predict = jax.jit(stage.method.predict)

  def accuracy(state):
    variables = state.params, state.method_state
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    found = evals.read(functools.partial(predict, *variables), batches, charset)
    return evals.figures(found.texts, found.labels)['edit_distance_accuracy']

  return accuracy


def is_test(split: str) -> bool:
  """Whether the figures of a split are results."""
  return split.startswith('test')


def calibrate(
  outputs: Callable[[Source], Iterable[evals.Outputs]],
  dataset: Dataset,
  charset: Charset,
) -> dict[str, Any]:
  """The temperature of a stage's readings, and what it does for them.

  It is chosen on images that the stage did not learn from: on `validation`, or
  else on `test`, or else on rendered text. Rendered text is easier to read
  than the user's images, so it can only make a reader less sure of itself.

  Args:
    outputs: what the stage's network makes of a source.
    dataset: the run's data.
    charset: the characters of the outputs.

  Returns:
    {'temperature', 'from': the split, 'images': of it, 'ece': {'before',
    'after'}: the expected calibration error on it}, or {} without such a split.
  """
  known = ('validation', 'test', 'rendered_validation')
  split = next((each for each in known if each in dataset.splits), None)
  if split is None:
    return {}
  source = dataset.open(split)
  source = Subset(source, range(min(FIT, len(source))))
  found = evals.joined(list(outputs(source)))
  least = 1.0 if split.startswith('rendered') else 0.0
  temperature = calibration.fit_temperature(
    found.logits, found.shown, found.labels, charset, least=least
  )

  def error(temperature):
    read = evals.read_outputs([found], charset, temperature=temperature)
    right = np.array(read.texts) == np.array(read.labels)
    confidence = np.array([reading.confidence for reading in read.readings])
    return calibration.expected_calibration_error(confidence, right)

  return {
    'temperature': temperature,
    'from': split,
    'images': len(source),
    'ece': {'before': error(1.0), 'after': error(temperature)},
  }


def show_readings(
  shown: Sequence[Reading],
  source: Source,
  files: Sequence[str],
  folder: pathlib.Path,
) -> None:
  """Draws and lists what was read in images without labels.

  Args:
    shown: the reading of each example of the source.
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
  read: Callable[..., evals.Read],
  source: Source,
  dataset: Dataset,
  folder: pathlib.Path,
) -> dict[str, dict[str, Any]]:
  """Figures of each split; the readings of the test splits go to the folder.

  Args:
    read: `(source, second=False)` to what was read; with `second`, each reading
      has its most probable alternative.
    source: the labelled examples that were trained on, whose figures are
      'fit'.
    dataset: the run's data.
    folder: of the stage.
  """

  def figures(read):
    return evals.figures(read.texts, read.labels)

  found = {'fit': figures(read(source))}
  if 'validation' in dataset.splits:
    found['validation'] = figures(read(dataset.open('validation')))
  rows = []
  for split in filter(is_test, dataset.splits):
    test, files = dataset.open(split), dataset.files(split)
    parts = read(test, second=True)
    found[split] = figures(parts)
    for place, (reading, label, layout) in enumerate(zip(*parts, strict=True)):
      name = files[place] if files else test.describe(place).name
      example = name, split, test.layouts[layout], label
      rows.append((*example, *described(reading)))
  if rows:
    write_predictions(folder / 'predictions.csv', rows)
  return found


def described(reading: Reading) -> tuple[str, str, str]:
  """The text, its confidence and the second best text, for a table."""
  others = [text for text, _ in reading.alternatives if text != reading.text]
  return reading.text, f'{reading.confidence:.4g}', (*others, '')[0]


def write_predictions(
  path: pathlib.Path, rows: Iterable[Sequence[str]]
) -> None:
  """Writes the `COLUMNS` of each image."""
  # A file's name may hold bytes that are not valid UTF-8.
  with durable.replacing(
    path, newline='', encoding='utf-8', errors='surrogateescape'
  ) as file:
    csv.writer(file).writerows([COLUMNS, *rows])
