"""The figures of a stage: what it reads, or what its features are worth."""

import csv
import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from ssljax import build, evals, results
from ssljax.data import pipeline
from ssljax.log import write_json
from ssljax.plan import with_clean

EVALUATION_BATCH = 500


def evaluate(config, stage, state, dataset, directory: pathlib.Path) -> dict:
  """Figures of a stage that has run to its end, for its `stage.json`.

  Args:
    config: of the run.
    stage: the Plan.
    state: after the last step.
    dataset: the run's data.
    directory: of the stage; what is shown goes there.
  """
  labelled = config[stage.name].method.name in results.LABELLED
  found = examine(config, stage, state, dataset) if stage.steps else {}
  if build.reads_text(config):
    if not labelled:
      return found
    read_all = reader(config, stage.method, state)
    return found | read_text(read_all, stage.source, dataset, directory)
  if not config.evaluation:
    return found
  return found | classify(config, stage, state, dataset, directory)


def held_out(config, stage, dataset):
  """Examples that a pretext task is tested on; None without task or examples.

  Nothing is opened for other methods.
  """
  split = held_out_split(dataset)
  if stage.method.examine is None or not split:
    return None
  return with_clean(
    config[stage.name], dataset.open(split), dataset, split=split
  )


def held_out_split(dataset) -> str | None:
  known = [each for each in ('test', 'validation') if each in dataset.splits]
  return known[0] if known else None


def examine(config, stage, state, dataset) -> dict:
  """What a pretext task achieves on held-out images, with 95 % intervals.

  {'task': {figure: {'value', 'low', 'high', 'count', 'split'}}}, or {} of other
  methods.
  """
  source = held_out(config, stage, dataset)
  if source is None:
    return {}
  compiled = jax.jit(stage.method.examine)
  parts = []
  for batch in pipeline.evaluation_batches(source, stage.batch_size):
    figures, _ = compiled(
      state.params,
      state.method_state,
      stage.transform(batch),
      jax.random.key(0),
    )
    valid = batch['valid']
    parts.append({name: np.asarray(x)[valid] for name, x in figures.items()})
  found = {}
  for name in parts[0]:
    values = np.concatenate([part[name] for part in parts])
    low, high = evals.bootstrap(values, np.ones(len(values)))
    found[name] = {
      'value': float(values.mean()),
      'low': low,
      'high': high,
      'count': len(values),
      'split': held_out_split(dataset),
    }
  return {'task': found}


def grid(config, stage, dataset, *, rows: int = 8):
  """`state -> uint8 (height, width, 3)`: held-out pictures, a row each.

  What the task was given, made of it, and should have made. None of methods
  that make no pictures.
  """
  source = held_out(config, stage, dataset)
  if source is None:
    return None
  batch = stage.transform(source.gather(range(min(rows, len(source)))))
  key = jax.random.key(0)

  def pictures(params, method_state):
    return stage.method.examine(params, method_state, batch, key)[1]

  template = jax.eval_shape(stage.method.init, key, batch)
  if not jax.eval_shape(pictures, *template):
    return None
  compiled = jax.jit(pictures)

  def drawn(state):
    found = jax.device_get(compiled(state.params, state.method_state))
    wide = np.concatenate(list(found.values()), axis=2)
    tall = wide.reshape(-1, *wide.shape[2:])
    return np.rint(255 * np.clip(tall, 0, 1)).astype(np.uint8)

  return drawn


def encode_all(method, source, params, method_state) -> np.ndarray:
  """Features of every example, in order, of the images as they are."""
  encode = jax.jit(method.encode)
  return np.concatenate(
    [
      np.asarray(encode(params, method_state, batch['image']))[batch['valid']]
      for batch in pipeline.evaluation_batches(source, EVALUATION_BATCH)
    ]
  )


def reader(config, method, state) -> Callable:
  """`source -> predictions, labels, layouts` of a trained state."""
  predict = jax.jit(method.predict)

  def read_all(source):
    return evals.read(
      functools.partial(predict, state.params, state.method_state),
      pipeline.evaluation_batches(source, EVALUATION_BATCH),
      build.charset(config),
    )

  return read_all


def read_text(read_all, source, dataset, directory) -> dict:
  """Figures on the stage's own labels, on `validation` and on the test splits.

  What was read of the latter goes to `predictions.csv`.
  """
  found = {'fit': evals.figures(*read_all(source)[:2])}
  if 'validation' in dataset.splits:
    validation = dataset.open('validation')
    found['validation'] = evals.figures(*read_all(validation)[:2])
  rows = []
  for split in dataset.splits:
    if not split.startswith('test'):
      continue
    test = dataset.open(split)
    predictions, labels, layouts = read_all(test)
    found[split] = evals.figures(predictions, labels)
    names = [test.layouts[layout] for layout in layouts]
    rows += zip([split] * len(labels), names, labels, predictions, strict=True)
  if rows:
    with (directory / 'predictions.csv').open('w', newline='') as file:
      header = ('split', 'layout', 'label', 'prediction')
      csv.writer(file).writerows([header, *rows])
  return found


def classify(config, stage, state, dataset, directory) -> dict:
  """What frozen features are worth to a kNN and to linear probes.

  Pictures of them go to the stage's folder, and all figures to
  `evaluation.json`.
  """
  if {'train', 'test'} - set(dataset.splits):
    return {}  # images without classes have nothing to be tested by
  options = config.evaluation.to_dict()
  pictures = options.pop('pictures')
  parts = {}
  for split in ('train', 'test'):
    source = dataset.open(split)
    features = encode_all(
      stage.method, source, state.params, state.method_state
    )
    parts[split] = evals.Features(features, source.labels)
  found = evals.evaluate(
    parts['train'], parts['test'], classes=len(config.data.classes), **options
  )
  if config[stage.name].method.name in results.LABELLED and stage.steps:
    predict = jax.jit(stage.method.predict)
    source = dataset.open('test')
    logits = [
      np.asarray(predict(state.params, state.method_state, batch['image']))[
        batch['valid']
      ]
      for batch in pipeline.evaluation_batches(source, EVALUATION_BATCH)
    ]
    hits = np.concatenate(logits).argmax(axis=1) == source.labels
    found['classifier'] = evals.proportion(
      hits,
      {
        'evaluation': 'classifier',
        'labels': stage.summary['labels'],
        'test': len(hits),
        'checkpoint': 'last',
      },
    )
  for kind in pictures:
    evals.embed(
      parts['test'].features,
      parts['test'].labels,
      config.data.classes,
      directory / f'{kind}.png',
      method=kind,
    )
  write_json(directory / 'evaluation.json', found)
  return {'evaluation': found}
