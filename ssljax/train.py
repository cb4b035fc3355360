"""One stage of a recipe, from its first step to its figures.

A stage is a folder of the run. Its position is the step of its newest
checkpoint; a stage that has written `stage.json` is done.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ssljax import core, damage, evals, feed, hosts, parallel, process
from ssljax.best import Best
from ssljax.checkpoint import Checkpoints
from ssljax.data import pipeline
from ssljax.data.datasets import Dataset
from ssljax.evaluate import evaluate, grid
from ssljax.forecast import Pace
from ssljax.health import Monitor, check_finite
from ssljax.log import Log, ended
from ssljax.records import read_lines
from ssljax.signals import Stopped, deferred
from ssljax.stage import Stage, taken
from ssljax.tasks import Task
from ssljax.tasks.task import EVALUATION_BATCH
from ssljax.trackers import Tracker


def run_stage(
  stage: Stage,
  *,
  task: Task,
  dataset: Dataset,
  stop: Callable[[], bool],
  pace: Pace | None = None,
  trackers: Sequence[Tracker] = (),
) -> None:
  """Runs or resumes a stage to its last step, and evaluates it.

  Args:
    stage: resolved.
    task: what the run is about.
    dataset: the run's data.
    stop: once it returns True, the state is saved and `Stopped` raised.
    pace: of the run; this stage alone if not given.
    trackers: are told what the stage logs.
  """
  stage = stage.settled()
  pace = pace or Pace([stage])
  pace.begin(stage)
  create = jax.jit(
    functools.partial(
      core.create_state, method=stage.method, optimizer=stage.optimizer
    )
  )
  key = jax.random.key(stage.seed)
  folder = stage.folder / 'checkpoints'
  saving = Checkpoints(folder, metadata=stage.metadata, keep=stage.keep)
  with deferred(), saving as checkpoints:
    like = parallel.shapes_everywhere(
      jax.eval_shape(create, key, stage.example)
    )
    state = checkpoints.restore(like)
    if state is None:
      state = create(key, stage.batch(), **taken(stage))
      if not stage.steps:  # an evaluation, whose parts other stages may take
        checkpoints.save(0, parallel.everywhere(state))
    start = int(state.step)
    hosts.check_same(f'the step that {stage.name} goes on from', start)
    with Log(
      stage.folder,
      name=stage.name,
      total=stage.steps,
      start=start,
      trackers=trackers,
    ) as log:
      monitor = watch(stage)
      show = grid(stage, dataset)
      saves = keeping_best(checkpoints, stage, task, dataset)
      state = fit(state, stage, saves, log, monitor, pace, stop, show)
  summary = stage.summary()
  if monitor.raised:
    summary['alarms'] = list(monitor.raised.values())
  if hosts.first():  # the others have the same state, and wait
    state = parallel.own(state)
    summary |= evaluate(stage, state, task=task, dataset=dataset)
    damage.finish(stage.folder, summary)
    ended(stage.folder, trackers)
  hosts.wait(f'{stage.name}-evaluated')


def keeping_best(
  checkpoints: Checkpoints, stage: Stage, task: Task, dataset: Dataset
) -> Checkpoints | Best:
  """What saves the stage: its best by validation too, if it is to be kept."""
  if not stage.keep_best or not stage.method.learns_labels:
    return checkpoints
  if 'validation' not in dataset.splits:
    return checkpoints
  score = task.score(stage, dataset.open('validation'), stage.keep_best)

  def due(step):
    return step == stage.steps or step % stage.checkpoint_every == 0

  return Best(checkpoints, stage.folder, score, stage.metadata, due)


def watch(stage: Stage) -> Monitor:
  """The stage's alarms, told what the log says of before a restart."""
  monitor = Monitor(warmup=stage.warmup)
  if not hosts.first():  # process 0 may be writing these lines
    return monitor
  for line in read_lines(stage.folder / 'metrics.jsonl'):
    monitor.read(line['step'], line)
  return monitor


def encode_all(
  stage: Stage, params: core.Params, method_state: core.MethodState
) -> np.ndarray:
  """Features of all examples of the stage, in order, of plain images."""
  encode = functools.partial(jax.jit(stage.method.encode), params, method_state)
  batches = pipeline.evaluation_batches(stage.source, EVALUATION_BATCH)
  return evals.outputs(encode, batches)


def fit(
  state: core.TrainState,
  stage: Stage,
  checkpoints: Checkpoints | Best,
  log: Log,
  monitor: Monitor,
  pace: Pace,
  stop: Callable[[], bool],
  show: Callable[[core.TrainState], np.ndarray] | None = None,
) -> core.TrainState:
  """The loop: one compiled, donated call a step or a few, nothing else on it.

  How many steps a call takes is for `feed` to say.
  """
  parts = {'method': stage.method, 'optimizer': stage.optimizer}
  step = functools.partial(
    core.train_step, **parts, accumulate=stage.accumulate
  )
  call = feed.compile_call(step, stage)
  features = functools.partial(encode_all, stage)
  begin = functools.partial(core.begin_epoch, features=features, **parts)
  stop = hosts.agreed(stop)
  hosts.wait(stage.name)
  done, window = int(state.step), log.kept()
  for batch, count in feed.chunks(stage, start=done):
    if done % stage.epoch == 0:
      state = parallel.changed_by_first(begin, state)
    state, metrics = call(state, batch)
    window.append(metrics)
    done += count
    ending = stop() or done == stage.steps
    dues = (stage.steps, stage.checkpoint_every, stage.log_every)
    due = any(done % each == 0 for each in dues)
    saving = ending or done % stage.checkpoint_every == 0
    if saving or due:
      check_finite(stage.name, done, window, state, saving=saving)
    if due:
      values = averages(window)
      log.scalars(done, values)
      for message in monitor.read(done, values):
        log.note(f'{stage.name}: {message}')
      pace.read(done)
      window = []
    elif ending:
      # The line of this window is written by who goes on.
      log.keep(done, jax.device_get(window))
    log.advance(done, pace.later)
    if saving:
      checkpoints.save(done, parallel.everywhere(state))
      process.trim_heap()
      if show is not None and due and hosts.first():
        log.picture(done, show(parallel.own(state)))
    if ending and done < stage.steps:
      raise Stopped('Stopped, and saved; the same command goes on from here.')
  return state


def averages(window: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """The mean of each metric since the last line of the log."""
  window = jax.device_get(window)
  return {
    name: float(np.mean(np.hstack([metrics[name] for metrics in window])))
    for name in window[0]
  }
