"""One stage of a recipe, from its data to its figures.

A stage is a folder of the workdir. Its position is the step of its newest
checkpoint; a stage that has written `stage.json` is done.
"""

import csv
import functools
import pathlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import build, core, evals, parallel
from ssljax.checkpoint import Checkpoints, read
from ssljax.data import pipeline, sources
from ssljax.errors import UserError
from ssljax.log import Log, read_json, write_json
from ssljax.text import frames_needed

AXIS = 'devices'
EVALUATION_BATCH = 500


class Stopped(Exception):
  """A signal asked for an end; the state is saved."""


def run_stage(config, name: str, *, workdir, builder, stop) -> None:
  """Runs or resumes a stage to its last step, and evaluates it.

  Args:
    config: of the whole run.
    name: of the stage.
    workdir: of the run.
    builder: the prepared data.
    stop: `() -> bool`; once true, the state is saved and `Stopped` raised.
  """
  stage, directory = config[name], workdir / name
  if (directory / 'stage.json').exists():
    return
  source = stage_source(stage, builder)
  if stage.method.name == 'recognize':
    check_labels(config, source)
  batches = functools.partial(
    pipeline.batches,
    source,
    batch_size=stage.batch_size,
    seed=config.seed + stage.seed,
    transform=functools.partial(to_arrays, config),
  )
  example = next(batches(steps=1))
  cost = loss_flops(build.method(config, stage), example)
  steps = stage_steps(stage, source, workdir, cost)
  rate = chosen_rate(config, stage, workdir)
  parts = {
    'method': build.method(
      config, stage, axis_name=None if config.mapping == 'jit' else AXIS
    ),
    'optimizer': build.optimizer(stage, steps=steps, learning_rate=rate),
  }
  create = jax.jit(functools.partial(core.create_state, **parts))
  key = jax.random.key(config.seed + stage.seed)
  metadata = {'config': config.to_dict(), 'stage': name}
  with Checkpoints(directory / 'checkpoints', metadata=metadata) as checkpoints:
    state = checkpoints.restore(jax.eval_shape(create, key, example))
    if state is None:
      state = create(key, example, **taken(workdir, stage.take))
    with Log(
      directory, name=name, total=steps, start=int(state.step)
    ) as log:
      state = fit(
        state,
        batches,
        config=config,
        name=name,
        steps=steps,
        epoch=len(source) // stage.batch_size,
        source=source,
        checkpoints=checkpoints,
        log=log,
        stop=stop,
        **parts,
      )
  summary = {
    'steps': steps,
    'examples': steps * stage.batch_size,
    'labels': len(source) if stage.method.name == 'recognize' else 0,
    'learning_rate': rate,
    'flops': cost * steps,
  }
  if parts['method'].predict is not None:
    summary |= evaluate(config, parts['method'], state, source, builder, directory)
  write_json(directory / 'stage.json', summary)


def fit(
  state,
  batches: Callable[..., Iterator],
  *,
  method,
  optimizer,
  config,
  name,
  steps,
  epoch,
  source,
  checkpoints,
  log,
  stop,
) -> core.TrainState:
  """The loop: one compiled, donated call a step, and nothing else on it."""
  step = parallel.compile_step(
    functools.partial(core.train_step, method=method, optimizer=optimizer),
    mapping=config.mapping,
    axis_name=AXIS,
  )
  features = functools.partial(encode_all, method, source)
  done, window = int(state.step), []
  for batch in batches(start=done, steps=steps):
    if done % epoch == 0:
      state = core.begin_epoch(
        state, features, method=method, optimizer=optimizer
      )
    state, metrics = step(state, batch)
    window.append(metrics)
    done += 1
    ending = stop() or done == steps
    saving = ending or done % config.checkpoint_every == 0
    if saving or done % config.log_every == 0:
      values = averages(window)
      check_finite(name, done, values)
      log.scalars(done, values)
      window = []
    log.advance(done)
    if saving:
      checkpoints.save(done, state)
    if ending and done < steps:
      raise Stopped
  return state


def averages(window) -> dict[str, float]:
  """The mean of each metric since the last line of the log."""
  window = jax.device_get(window)
  return {
    name: float(np.mean([metrics[name] for metrics in window]))
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


def stage_source(stage, builder) -> sources.Source:
  """The stage's examples: a split, or the first of some layouts of it."""
  source = sources.open_split(builder, stage.data.split)
  layouts = tuple(stage.data.layouts) or None
  if stage.data.count is None and layouts is None:
    return source
  return sources.subset(source, stage.data.count or len(source), layouts)


def check_labels(config, source) -> None:
  """Refuses labels that the model could never read, before any training."""
  charset, frames = build.charset(config), build.frames(config)
  for position in range(len(source)):
    label = source.text_of(position)
    charset.encode(label, config.data.max_length)
    if frames_needed(label) > frames:
      raise UserError(
        f'Found label {label!r} (example {position}), which needs '
        f'{frames_needed(label)} frames, a blank between repeats included; an '
        f'image of width {config.data.width} gives {frames}. Use wider images '
        'or a smaller stride, or leave the example out.'
      )


def to_arrays(config, batch) -> dict[str, np.ndarray]:
  """What the step reads: image, index and int32 label, padded with 0."""
  encode, length = build.charset(config).encode, config.data.max_length
  return {
    'image': batch['image'],
    'index': batch['index'].astype(np.int32),
    'label': np.stack([encode(str(text), length) for text in batch['text']]),
  }


def taken(workdir: pathlib.Path, take) -> dict:
  """Parts of earlier stages: arguments of `create_state`."""
  params, statistics = {}, {}
  for part, origin in take.items():
    saved = read(
      workdir / origin / 'checkpoints', 'params', 'method_state'
    ).state
    params[part] = saved['params'][part]
    batch_stats = saved['method_state'].get('batch_stats', {})
    if part in batch_stats:
      statistics[part] = batch_stats[part]
  return {'params': params, 'batch_stats': statistics}


def loss_flops(method, batch) -> float:
  """FLOPs of the loss and its gradient on one batch, as XLA counts them."""

  def gradient(key, batch):
    params, method_state = method.init(key, batch)
    loss = jax.value_and_grad(method.loss, has_aux=True)
    return loss(params, method_state, batch, key, jnp.zeros((), jnp.int32))

  def count(function):
    lowered = jax.jit(function).lower(jax.random.key(0), batch)
    return float(lowered.cost_analysis()['flops'])

  return count(gradient) - count(method.init)


def stage_steps(stage, source, workdir, cost) -> int:
  """Optimizer steps: given, by epochs, or by the compute of other stages."""
  if stage.match_compute:
    spent = [
      read_json(workdir / other / 'stage.json')['flops']
      for other in stage.match_compute
    ]
    return round(sum(spent) / cost)
  if stage.steps is not None:
    return stage.steps
  steps = stage.epochs * (len(source) // stage.batch_size)
  if steps < 1:
    raise UserError(
      f'Found {stage.epochs} epochs of {len(source)} examples in batches of '
      f'{stage.batch_size}, which is no step; set epochs or steps.'
    )
  return steps


def chosen_rate(config, stage, workdir) -> float:
  """The stage's own learning rate, or the best of others on validation."""
  if not stage.best_rate_of:
    return stage.optimizer.learning_rate

  def validation(other):
    figures = read_json(workdir / other / 'stage.json')['validation']
    return figures['edit_distance_accuracy']

  best = max(stage.best_rate_of, key=validation)
  return config[best].optimizer.learning_rate


def encode_all(method, source, params, method_state) -> np.ndarray:
  """Features of every example, in order, of the images as they are."""
  encode = jax.jit(method.encode)
  return np.concatenate(
    [
      np.asarray(encode(params, method_state, batch['image']))[batch['valid']]
      for batch in pipeline.evaluation_batches(source, EVALUATION_BATCH)
    ]
  )


def evaluate(config, method, state, source, builder, directory) -> dict:
  """Reads the stage's own labels, `validation` and `test`.

  The predictions on `test` go to `predictions.csv`.
  """
  predict = jax.jit(method.predict)

  def read_all(source):
    return evals.read(
      functools.partial(predict, state.params, state.method_state),
      pipeline.evaluation_batches(source, EVALUATION_BATCH),
      build.charset(config),
    )

  figures = {'fit': evals.figures(*read_all(source)[:2])}
  validation = sources.open_split(builder, 'validation')
  figures['validation'] = evals.figures(*read_all(validation)[:2])
  test = sources.open_split(builder, 'test')
  predictions, labels, layouts = read_all(test)
  names = [test.layouts[layout] for layout in layouts]
  with (directory / 'predictions.csv').open('w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(('layout', 'label', 'prediction'))
    rows.writerows(zip(names, labels, predictions, strict=True))
  figures['test'] = evals.figures(predictions, labels)
  return figures
