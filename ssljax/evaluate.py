"""The figures of a stage: of its pretext task, and of the run's own task."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ssljax import core, evals
from ssljax.data import pipeline, sources
from ssljax.data.datasets import Dataset
from ssljax.examples import with_clean
from ssljax.stage import Stage
from ssljax.tasks import Task


def evaluate(
  stage: Stage, state: core.TrainState, *, task: Task, dataset: Dataset
) -> dict[str, Any]:
  """Figures of a stage that has run to its end, for its `stage.json`.

  Args:
    stage: that has run.
    state: after its last step.
    task: what the run is about.
    dataset: the run's data.
  """
  found = examine(stage, state, dataset) if stage.steps else {}
  return found | task.evaluate(stage, state, dataset)


def held_out(stage: Stage, dataset: Dataset) -> sources.Source | None:
  """Examples that a pretext task is tested on; None without task or examples.

  Each has its own plain print, also where the stage learns from that of other
  images. Nothing is opened for other methods.
  """
  split = held_out_split(dataset)
  if stage.method.examine is None or not split:
    return None
  kind = 'own' if stage.clean else ''
  return with_clean(dataset.open(split), dataset, [split], kind=kind)


def held_out_split(dataset: Dataset) -> str | None:
  known = [each for each in ('test', 'validation') if each in dataset.splits]
  return known[0] if known else None


def examine(
  stage: Stage, state: core.TrainState, dataset: Dataset
) -> dict[str, dict[str, Any]]:
  """What a pretext task achieves on held-out images, with 95 % intervals.

  {'task': {figure: {'value', 'low', 'high', 'count', 'split'}}}, or {} of other
  methods.
  """
  source, examine = held_out(stage, dataset), stage.method.examine
  if source is None or examine is None:
    return {}
  compiled = jax.jit(examine)
  parts = []
  for batch in pipeline.evaluation_batches(source, stage.batch_size):
    figures, _ = compiled(
      state.params,
      state.method_state,
      stage.arrays(batch),
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


def grid(
  stage: Stage, dataset: Dataset, *, rows: int = 8
) -> Callable[[core.TrainState], np.ndarray] | None:
  """`state -> uint8 (height, width, 3)`: held-out pictures, a row each.

  A row shows what the task was given, what it made of it, and what it should
  have made. None for methods that make no pictures.
  """
  source, examine = held_out(stage, dataset), stage.method.examine
  if source is None or examine is None:
    return None
  batch = stage.arrays(source.gather(range(min(rows, len(source)))))
  key = jax.random.key(0)

  def pictures(params, method_state):
    return examine(params, method_state, batch, key)[1]

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
