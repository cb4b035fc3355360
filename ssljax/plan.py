"""What a stage needs before its loop: data, steps, cost, and parts to take."""

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import build, results
from ssljax.checkpoint import read
from ssljax.core import Method
from ssljax.data import pipeline, sources
from ssljax.errors import UserError
from ssljax.log import read_json
from ssljax.text import frames_needed

AXIS = 'devices'

# The stages of a run share their splits; a split in memory is decoded once.
open_split = functools.lru_cache(maxsize=None)(sources.open_split)


class Plan(NamedTuple):
  """A stage, ready to run."""

  name: str
  source: sources.Source
  batches: Callable[..., Iterator]  # (start, steps) -> batches of arrays
  method: Method
  optimizer: optax.GradientTransformation
  steps: int
  epoch: int  # steps of one pass over the source
  summary: dict  # of `stage.json`


def plan(config, name: str, *, workdir: pathlib.Path, builder) -> Plan:
  """Resolves a stage of the config.

  Raises:
    UserError: labels that cannot be read, too little data, unknown names.
  """
  stage = config[name]
  source = stage_source(stage, builder)
  labelled = stage.method.name == 'recognize'
  if labelled:
    check_labels(config, source)
  batches = functools.partial(
    pipeline.batches,
    source,
    batch_size=stage.batch_size,
    seed=config.seed + stage.seed,
    transform=functools.partial(to_arrays, config),
  )
  cost = loss_flops(build.method(config, stage), next(batches(steps=1)))
  steps = stage_steps(stage, source, workdir, cost)
  rate = chosen_rate(config, stage, workdir)
  axis_name = None if config.mapping == 'jit' else AXIS
  return Plan(
    name=name,
    source=source,
    batches=batches,
    method=build.method(config, stage, axis_name=axis_name),
    optimizer=build.optimizer(stage, steps=steps, learning_rate=rate),
    steps=steps,
    epoch=len(source) // stage.batch_size,
    summary={
      'steps': steps,
      'examples': steps * stage.batch_size,
      'labels': len(source) if labelled else 0,
      'learning_rate': rate,
      'flops': cost * steps,
    },
  )


def stage_source(stage, builder) -> sources.Source:
  """The stage's examples: a split, or the first of some layouts of it."""
  source = open_split(builder, stage.data.split)
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
  steps = stage.steps
  # Epochs before steps, or --config.pretrain.epochs=3 would do nothing where a
  # scale counts in steps.
  if stage.epochs or steps is None:
    steps = stage.epochs * (len(source) // stage.batch_size)
    if steps < 1:
      raise UserError(
        f'Found {stage.epochs} epochs of {len(source)} examples in batches of '
        f'{stage.batch_size}, which is no step; set epochs or steps.'
      )
  if steps < 0:
    raise UserError(f'Found {steps} steps; expected 0 or more.')
  return steps


def chosen_rate(config, stage, workdir) -> float:
  """The stage's own learning rate, or the best of others on validation."""
  if not stage.best_rate_of:
    return stage.optimizer.learning_rate

  best = results.best_on_validation(workdir, stage.best_rate_of)
  return config[best].optimizer.learning_rate
