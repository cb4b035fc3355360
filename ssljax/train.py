"""One stage of a recipe, from its plan to its figures.

A stage is a folder of the workdir. Its position is the step of its newest
checkpoint; a stage that has written `stage.json` is done.
"""

import csv
import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from ssljax import build, core, evals, feed
from ssljax.checkpoint import Checkpoints
from ssljax.data import pipeline
from ssljax.errors import UserError
from ssljax.log import Log, write_json
from ssljax.plan import AXIS, Plan, plan, taken
from ssljax.runs import Place

EVALUATION_BATCH = 500


class Stopped(Exception):
  """A signal asked for an end; the state is saved."""


def run_stage(
  config, name: str, *, workdir: pathlib.Path, dataset, stop
) -> None:
  """Runs or resumes a stage to its last step, and evaluates it.

  Args:
    config: of the whole run.
    name: of the stage.
    workdir: of the run.
    dataset: the run's data.
    stop: `() -> bool`; once true, the state is saved and `Stopped` raised.
  """
  directory = workdir / name
  if (directory / 'stage.json').exists():
    return
  stage = plan(config, name, workdir=workdir, dataset=dataset)
  create = jax.jit(
    functools.partial(
      core.create_state, method=stage.method, optimizer=stage.optimizer
    )
  )
  key = jax.random.key(config.seed + config[name].seed)
  metadata = {
    'config': config.to_dict(),
    'stage': name,
    'characters': build.charset(config).characters,
    'preprocessing': build.preprocessing(config),
  }
  with Checkpoints(directory / 'checkpoints', metadata=metadata) as checkpoints:
    state = checkpoints.restore(jax.eval_shape(create, key, stage.example))
    if state is None:
      state = create(key, stage.example, **taken(Place(config, workdir, name)))
    start = int(state.step)
    with Log(directory, name=name, total=stage.steps, start=start) as log:
      state = fit(state, stage, config, checkpoints, log, stop)
  summary = stage.summary
  if stage.method.predict is not None:
    read_all = reader(config, stage.method, state)
    summary |= evaluate(read_all, stage.source, dataset, directory)
  write_json(directory / 'stage.json', summary)


def fit(state, stage: Plan, config, checkpoints, log, stop) -> core.TrainState:
  """The loop: one compiled, donated call a step or a few, nothing else on it.

  How many is for `feed` to say.
  """
  parts = {'method': stage.method, 'optimizer': stage.optimizer}
  call = feed.compile_call(
    functools.partial(core.train_step, **parts), stage, config, axis_name=AXIS
  )
  features = functools.partial(encode_all, stage.method, stage.source)
  done, window = int(state.step), []
  for batch, count in feed.chunks(stage, config, start=done):
    if done % stage.epoch == 0:
      state = core.begin_epoch(state, features, **parts)
    state, metrics = call(state, batch)
    window.append(metrics)
    done += count
    ending = stop() or done == stage.steps
    saving = ending or done % config.checkpoint_every == 0
    if saving or done % config.log_every == 0:
      values = averages(window)
      check_finite(stage.name, done, values)
      log.scalars(done, values)
      window = []
    log.advance(done)
    if saving:
      checkpoints.save(done, state)
    if ending and done < stage.steps:
      raise Stopped
  return state


def averages(window) -> dict[str, float]:
  """The mean of each metric since the last line of the log."""
  window = jax.device_get(window)
  return {
    name: float(np.mean(np.hstack([metrics[name] for metrics in window])))
    for name in window[0]
  }


def check_finite(name: str, step: int, values) -> None:
  """Stops before a state that can no longer learn is saved."""
  bad = [key for key, value in values.items() if not np.isfinite(value)]
  if bad:
    raise UserError(
      f'Stage {name!r}: found {", ".join(bad)} not finite at step {step}; the '
      'last checkpoint, from before, is kept. Lower '
      f'--config.{name}.optimizer.learning_rate or set '
      f'--config.{name}.optimizer.clip, in another --workdir.'
    )


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


def evaluate(read_all, source, dataset, directory) -> dict:
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
