"""One stage of a recipe, from its plan to its figures.

A stage is a folder of the workdir. Its position is the step of its newest
checkpoint; a stage that has written `stage.json` is done.
"""

import functools
import pathlib

import jax
import numpy as np

from ssljax import build, core, feed
from ssljax.checkpoint import Checkpoints
from ssljax.errors import UserError
from ssljax.evaluate import encode_all, evaluate, grid
from ssljax.health import Monitor
from ssljax.log import Log, read_lines, write_json
from ssljax.plan import AXIS, Plan, plan, taken
from ssljax.runs import Place


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
    'preprocessing': build.preprocessing(config),
  }
  if build.reads_text(config):
    metadata['characters'] = build.charset(config).characters
  with Checkpoints(directory / 'checkpoints', metadata=metadata) as checkpoints:
    state = checkpoints.restore(jax.eval_shape(create, key, stage.example))
    if state is None:
      state = create(key, stage.example, **taken(Place(config, workdir, name)))
      if not stage.steps:  # an evaluation, whose parts others may take
        checkpoints.save(0, state)
    start = int(state.step)
    with Log(directory, name=name, total=stage.steps, start=start) as log:
      monitor = watch(config, stage, directory)
      show = grid(config, stage, dataset)
      state = fit(state, stage, config, checkpoints, log, monitor, stop, show)
  summary = stage.summary
  if monitor.raised:
    summary['alarms'] = list(monitor.raised.values())
  summary |= evaluate(config, stage, state, dataset, directory)
  write_json(directory / 'stage.json', summary)


def watch(config, stage: Plan, directory) -> Monitor:
  """The stage's alarms, with what the lines of before a restart say."""
  warmup = config[stage.name].optimizer.warmup_share * stage.steps
  monitor = Monitor(warmup=round(warmup))
  for line in read_lines(directory / 'metrics.jsonl'):
    monitor.read(line['step'], line)
  return monitor


def fit(
  state, stage: Plan, config, checkpoints, log, monitor, stop, show=None
) -> core.TrainState:
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
      for message in monitor.read(done, values):
        log.note(f'{stage.name}: {message}')
      window = []
    log.advance(done)
    if saving:
      checkpoints.save(done, state)
      if show is not None:
        log.picture(done, show(state))
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
