"""Runs on images: labels are classes, and features are probed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ssljax import evals, losses
from ssljax.augment.policies import policy_views
from ssljax.core import TrainState
from ssljax.data import pipeline
from ssljax.data.classes import middle_square
from ssljax.data.datasets import Dataset
from ssljax.errors import UserError
from ssljax.models.heads import Classifier
from ssljax.records import write_json
from ssljax.reports import features
from ssljax.tasks.task import (
  EVALUATION_BATCH,
  FURTHER,
  Task,
  preprocessing,
  shares,
)

ARRAYS = ('image', 'index', 'label', *FURTHER)


def images(
  *,
  size: int,
  classes: Sequence[str],
  evaluation: Mapping[str, Any] | None,
  tables: Mapping[str, Any],
  directory: str = '',
  **others: Any,
) -> Task:
  """The task of learning features of images.

  Args:
    size: pixels of each side.
    classes: names of the classes; none where the images have none.
    evaluation: options of `evals.evaluate`, and the kinds of `pictures`; None
      tests no features.
    tables: options of `features.results`.
    directory: of the user's own images, for messages.
    **others: options of the data that only its loader reads.
  """
  del others
  classes = tuple(classes)

  def require(name):
    if not classes:
      raise UserError(
        f'Found no classes in {directory}; expected some, as stage {name!r} '
        'learns from them. Put the images of each class into a folder of its '
        'name, or pretrain alone: --config.recipe="(\'pretrain\',)".'
      )

  def views(options, encoder):
    del encoder
    options = dict(options)
    return policy_views(options.pop('policy'), size=size, **options)

  def report(folder):
    found = features.results(folder, **tables)
    return found, features.render(found)

  return Task(
    head=Classifier(max(1, len(classes))),
    criterion=losses.cross_entropy,
    views=views,
    frames=lambda encoder, width=None: None,
    arrays=lambda batch: {key: batch[key] for key in ARRAYS if key in batch},
    require=require,
    check=lambda source, encoder: None,
    shares=functools.partial(class_shares, count=len(classes)),
    evaluate=functools.partial(evaluate, classes=classes, options=evaluation),
    score=score,
    report=report,
    fit=lambda picture: (middle_square(picture, size), size),
    metadata={'preprocessing': preprocessing(size, size)},
    classes=classes,
  )


def class_shares(source: Any, *, count: int) -> np.ndarray:
  """`shares` of the classes among a source's labels."""
  labels = source.gather(range(len(source)))['label']
  return shares(np.bincount(labels[labels >= 0], minlength=count))


def evaluate(
  stage: Any,
  state: TrainState,
  dataset: Dataset,
  *,
  classes: tuple[str, ...],
  options: Mapping[str, Any] | None,
) -> dict:
  """What frozen features are worth, and how well a classifier does.

  Features are tested by kNN and by linear probes, unless `options` is None. A
  stage that learns labels is tested by its own classifier. All figures go to
  `evaluation.json` in the stage's folder, and pictures of the features beside
  it. Images without a test split have nothing to be tested by.
  """
  if {'train', 'test'} - set(dataset.splits):
    return {}
  variables = state.params, state.method_state
  figures = {}
  if options is not None:
    figures = probe(stage, variables, dataset, classes, options)
  if stage.method.learns_labels and stage.steps:
    figures['classifier'] = classify(stage, variables, dataset.open('test'))
  if not figures:
    return {}
  write_json(stage.folder / 'evaluation.json', figures)
  return {'evaluation': figures}


def probe(
  stage: Any,
  variables: tuple[Any, Any],
  dataset: Dataset,
  classes: tuple[str, ...],
  options: Mapping[str, Any],
) -> dict:
  """What frozen features are worth to a kNN and to linear probes."""
  options = dict(options)
  pictures = options.pop('pictures')
  encode = functools.partial(jax.jit(stage.method.encode), *variables)
  parts = {}
  for split in ('train', 'test'):
    source: Any = dataset.open(split)
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    found = evals.outputs(encode, batches)
    parts[split] = evals.Features(found, source.labels)
  figures = evals.evaluate(
    parts['train'], parts['test'], classes=len(classes), **options
  )
  for kind in pictures:
    evals.embed(
      parts['test'].features,
      parts['test'].labels,
      classes,
      stage.folder / f'{kind}.png',
      method=kind,
    )
  return figures


def score(stage: Any, source: Any, count: int) -> Callable[[TrainState], float]:
  """`state -> accuracy` of the first images of a source."""
  source = source.part(np.arange(min(count, len(source))))
  predict = jax.jit(stage.method.predict)

  def accuracy(state):
    variables = state.params, state.method_state
    batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
    found = evals.outputs(functools.partial(predict, *variables), batches)
    return float(np.mean(found.argmax(axis=1) == source.labels))

  return accuracy


def classify(stage: Any, variables: tuple[Any, Any], source: Any) -> dict:
  """The accuracy of a trained classifier on the test images."""
  predict = functools.partial(jax.jit(stage.method.predict), *variables)
  batches = pipeline.evaluation_batches(source, EVALUATION_BATCH)
  hits = evals.outputs(predict, batches).argmax(axis=1) == source.labels
  protocol = {
    'evaluation': 'classifier',
    'labels': len(stage.labels),
    'test': len(hits),
    'checkpoint': 'last',
  }
  return evals.proportion(hits, protocol)
