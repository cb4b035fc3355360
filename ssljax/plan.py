"""What a stage needs before its loop: data, steps, cost, and parts to take."""

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import build, evals, results, runs
from ssljax.checkpoint import read
from ssljax.core import Method
from ssljax.data import pipeline, sources
from ssljax.data.clean import Cleaned
from ssljax.errors import UserError, check_known
from ssljax.log import read_json
from ssljax.text import frames_needed

AXIS = 'devices'
FURTHER = ('width', 'clean')  # what some examples have beside the others


class Plan(NamedTuple):
  """A stage, ready to run."""

  name: str
  source: sources.Source
  example: dict  # one batch of arrays, for its shapes
  transform: Callable[[dict], dict]  # of a batch, to what the step reads
  batch_size: int
  seed: int  # of the order
  method: Method
  optimizer: optax.GradientTransformation
  steps: int
  epoch: int  # steps of one pass over the source
  summary: dict  # of `stage.json`


def plan(config, name: str, *, workdir: pathlib.Path, dataset) -> Plan:
  """Resolves a stage of the config.

  Raises:
    UserError: labels that cannot be read, too little data, unknown names.
  """
  stage = config[name]
  source = with_clean(stage, stage_source(stage, dataset), dataset)
  labelled = stage.method.name in results.LABELLED
  transform = image_arrays
  if build.reads_text(config):
    transform = functools.partial(to_arrays, config)
    if labelled:
      check_labels(config, source)
  pipeline.check_batch_size(stage.batch_size, source)
  example = transform(source.gather(range(stage.batch_size)))
  build.check(stage)(example)
  examples = None
  if build.remembers(stage):
    examples = len(source)
    check_positions(name, source)
  cost = loss_flops(build.method(config, stage, examples=examples), example)
  steps = stage_steps(stage, source, workdir, cost)
  rate = chosen_rate(config, stage, workdir)
  axis_name = None if config.mapping == 'jit' else AXIS
  return Plan(
    name=name,
    source=source,
    transform=transform,
    example=example,
    batch_size=stage.batch_size,
    seed=config.seed + stage.seed,
    method=build.method(
      config, stage, steps=steps, examples=examples, axis_name=axis_name
    ),
    optimizer=build.optimizer(config, stage, steps=steps, learning_rate=rate),
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


def stage_source(stage, dataset) -> sources.Source:
  """The stage's examples: splits, or some of a layout or class of them."""
  parts = [dataset.open(split) for split in stage.data.split.split('+')]
  source = parts[0] if len(parts) == 1 else sources.Joined(parts)
  for draw, amount in (
    (evals.per_class, stage.data.per_class),
    (evals.share, stage.data.share),
  ):
    if amount is not None:
      positions = draw(source.labels, amount, seed=stage.seed)
      return sources.Subset(source, positions)
  layouts = tuple(stage.data.layouts) or None
  if stage.data.count is None and layouts is None:
    return source
  return sources.subset(source, stage.data.count or len(source), layouts)


def with_clean(stage, source, dataset, *, split=None) -> sources.Source:
  """The source with the plain print of its images, if the stage asks for it.

  Args:
    stage: whose `data.clean` is '', 'own', or 'other' for that of other images.
    source: the examples.
    dataset: that they are of.
    split: a single one whose examples the source has, each with its own print;
      those of the stage by default.
  """
  kind = stage.data.clean
  if not kind:
    return source
  check_known('clean', kind, ('own', 'other'))
  names = [split] if split else stage.data.split.split('+')
  masks = [dataset.masks(name) for name in names]
  # Those of one split stay the file that they are.
  masks = masks[0] if len(masks) == 1 else np.concatenate(masks)
  return Cleaned(source, masks, other=kind == 'other' and not split)


def check_positions(name: str, source) -> None:
  """Refuses examples that are not numbered from 0 on, as a memory is."""
  last = len(source) - 1
  found = source.gather([0, last])['index']
  if list(found) != [0, last]:
    raise UserError(
      f'Stage {name!r}: found examples {found[0]} to {found[1]}, {last + 1} of '
      'them; expected all of a split or its first ones, which its method keeps '
      'by number. Leave data.layouts, data.per_class and data.share out.'
    )


def check_labels(config, source) -> None:
  """Refuses labels that the model could never read, before any training."""
  charset = build.charset(config)
  for position in range(len(source)):
    label = source.text_of(position)
    charset.encode(label, config.data.max_length)
    shown = source.width_of(position)
    frames = build.frames(config, shown)
    if frames_needed(label) > frames:
      raise UserError(
        f'Found label {label!r} of {source.name_of(position)}, which needs '
        f'{frames_needed(label)} frames, a blank between repeats included; an '
        f'image shown {shown} pixels wide gives {frames}. Raise '
        '--config.data.height and --config.data.width, use a smaller stride, '
        'or leave the image out.'
      )


def to_arrays(config, batch) -> dict[str, np.ndarray]:
  """What the step reads: image, index, label and, if padded, its width.

  Labels are int32 and padded with 0, which is all there is of an image that
  has none.
  """
  encode, length = build.charset(config).encode, config.data.max_length
  labels = np.zeros((len(batch['text']), length), np.int32)
  for row, text in zip(labels, batch['text'], strict=True):
    if text:
      row[:] = encode(str(text), length)
  arrays = {'image': batch['image'], 'index': batch['index'], 'label': labels}
  return arrays | {key: batch[key] for key in FURTHER if key in batch}


def image_arrays(batch) -> dict[str, np.ndarray]:
  """What the step reads of images: image, index and label, -1 for none."""
  known = ('image', 'index', 'label', *FURTHER)
  return {key: batch[key] for key in known if key in batch}


def taken(place: runs.Place) -> dict:
  """Parts that the stage takes over: arguments of `create_state`."""
  params, statistics = {}, {}
  for part, origin in place.config[place.stage].take.items():
    folder = runs.locate(place, origin).folder
    saved = read(folder / 'checkpoints', 'params', 'method_state').state
    check_known(f'part of {folder}', part, saved['params'])
    params[part] = saved['params'][part]
    batch_stats = saved['method_state'].get('batch_stats', {})
    if batch_stats.get(part):
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
