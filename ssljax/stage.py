"""A stage of a recipe as one value: from the config, resolved and checked.

All stages are resolved before the first one starts, so that a mistake in the
last stage is told in the first second and not after hours.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import build, core, workdir
from ssljax.checkpoint import read
from ssljax.core import Method
from ssljax.data import pipeline, sources
from ssljax.data.datasets import Dataset
from ssljax.errors import UserError, check_known
from ssljax.examples import check_positions, examples_of, with_clean
from ssljax.records import read_json
from ssljax.tasks import Task

AXIS = 'devices'


class Stage(NamedTuple):
  """A stage, ready to run.

  Attributes:
    name: of the stage.
    kind: name of its method.
    folder: where its checkpoints, log and figures go.
    source: the examples that it learns from.
    splits: the splits of the data that the examples are of.
    clean: which plain print its examples have; see `configs.common.stage`.
    arrays: from a gathered batch to the arrays that a step reads.
    example: the arrays of one batch, for their shapes.
    method: the objective, over the devices of `axis_name`.
    optimizer: of `learning_rate`.
    make_optimizer: the same, of another learning rate.
    learning_rate: at its peak.
    rates: where the learning rate is that of the best of earlier stages, by
      validation: the rate of each of their folders.
    steps: optimizer steps; 0 evaluates only.
    batch_size: examples a step, over all devices.
    epoch: steps of one pass over the source.
    warmup: steps at the start that no alarm looks at.
    seed: of the parameters, the views and the order of the examples.
    take: part -> the folder of the stage that it is taken from.
    cost: `() -> FLOPs` of a step, counted once.
    mapping: 'shard_map', 'pmap' or 'jit'; `axis_name` is None under 'jit'.
    steps_per_call: of the compiled step; 0 chooses by the device.
    resident: whether all examples stay on the device.
    log_every, checkpoint_every: in steps.
    metadata: what a checkpoint must know to be read again.
  """

  name: str
  kind: str
  folder: pathlib.Path
  source: sources.Source
  splits: tuple[str, ...]
  clean: str
  arrays: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
  example: dict[str, np.ndarray]
  method: Method
  optimizer: optax.GradientTransformation
  make_optimizer: Callable[[float], optax.GradientTransformation]
  learning_rate: float
  rates: dict[pathlib.Path, float]
  steps: int
  batch_size: int
  epoch: int
  warmup: int
  seed: int
  take: dict[str, pathlib.Path]
  cost: Callable[[], float]
  mapping: str
  axis_name: str | None
  steps_per_call: int
  resident: bool
  log_every: int
  checkpoint_every: int
  metadata: dict[str, Any]

  @property
  def predicts(self) -> bool:
    """Whether it learns to predict labels, by which it is then judged."""
    return self.method.labelled and self.method.predict is not None

  @property
  def flops(self) -> float:
    """Of all its steps, or as its `stage.json` has them."""
    if workdir.is_finished(self.folder):
      return read_json(self.folder / 'stage.json')['flops']
    return self.cost() * self.steps

  def summary(self) -> dict[str, Any]:
    """What `stage.json` says of a finished stage, beside its figures."""
    return {
      'steps': self.steps,
      'examples': self.steps * self.batch_size,
      'labels': len(self.source) if self.method.labelled else 0,
      'learning_rate': self.learning_rate,
      'flops': self.cost() * self.steps,
    }

  def settled(self) -> 'Stage':
    """The stage with the learning rate that earlier stages chose for it."""
    if not self.rates:
      return self
    rate = self.rates[workdir.best_on_validation(self.rates)]
    optimizer = self.make_optimizer(rate)
    return self._replace(optimizer=optimizer, learning_rate=rate)


def resolve(
  config: Any, *, folder: pathlib.Path, task: Task, dataset: Dataset
) -> list[Stage]:
  """Every stage of the recipe, in order, checked.

  Args:
    config: of the run, its data resolved.
    folder: of the run.
    task: what the run is about.
    dataset: the run's data.

  Raises:
    UserError: names that do not exist, labels that cannot be read, a batch
      larger than the data, parts that cannot be taken.
  """
  check_recipe(config, folder, task)
  stages: dict[str, Stage] = {}
  for name in config.recipe:
    stages[name] = _resolved(config, name, folder, task, dataset, stages)
  for stage in stages.values():
    check_taken(stage, stages)
  return list(stages.values())


def check_recipe(config: Any, folder: pathlib.Path, task: Task) -> None:
  """Every stage is described, by a method that exists, from parts that do.

  No data is opened yet, because rendering may take minutes.
  """
  known = [key for key in config if hasattr(config[key], 'method')]
  for name in config.recipe:
    check_known('stage', name, known)
    described = config[name].to_dict()
    method = build.method(described, run=config, task=task)
    if method.labelled and described['steps'] != 0:
      task.require(name)
    for origin in config[name].take.values():
      workdir.locate(folder, config.recipe, origin)


def _resolved(config, name, folder, task, dataset, earlier) -> Stage:
  described = config[name].to_dict()
  options, method_name = described['data'], described['method']['name']
  splits = tuple(options['split'].split('+'))
  source = examples_of(described, dataset, splits)
  source = with_clean(source, dataset, splits, kind=options['clean'])
  count = len(source) if build.remembers(method_name) else None
  make = functools.partial(
    build.method, described, run=config, task=task, examples=count
  )
  plain, batch_size = make(), described['batch_size']
  if described['steps'] == 0:  # an evaluation, which fills no batch
    batch_size = min(batch_size, len(source))
  elif plain.labelled:
    task.check(source, build.encoder(config))
  pipeline.check_batch_size(batch_size, source)
  example = task.arrays(source.gather(range(batch_size)))
  build.check_examples(method_name, example)
  if count:
    check_positions(name, source)
  cost = functools.cache(functools.partial(loss_flops, plain, example))
  steps = steps_of(described, source, cost, earlier)
  optimizer = functools.partial(_optimizer, described, task=task, steps=steps)
  rate = described['optimizer']['learning_rate']
  axis_name = None if config.mapping == 'jit' else AXIS
  recipe = config.recipe
  return Stage(
    name=name,
    kind=method_name,
    folder=folder / name,
    source=source,
    splits=splits,
    clean=options['clean'],
    arrays=task.arrays,
    example=example,
    method=make(steps=steps, axis_name=axis_name),
    optimizer=optimizer(rate),
    make_optimizer=optimizer,
    learning_rate=rate,
    rates={
      folder / other: config[other].optimizer.learning_rate
      for other in described['best_rate_of']
    },
    steps=steps,
    batch_size=batch_size,
    epoch=len(source) // batch_size,
    warmup=build.warmup(described, steps),
    seed=config.seed + described['seed'],
    take={
      part: workdir.locate(folder, recipe, origin)
      for part, origin in described['take'].items()
    },
    cost=cost,
    mapping=config.mapping,
    axis_name=axis_name,
    steps_per_call=config.steps_per_call,
    resident=config.resident,
    log_every=config.log_every,
    checkpoint_every=config.checkpoint_every,
    metadata={'config': config.to_dict(), 'stage': name, **task.metadata},
  )


def _optimizer(described, rate, *, task, steps):
  return build.optimizer(described, task=task, steps=steps, learning_rate=rate)


def steps_of(
  described: Mapping[str, Any],
  source: sources.Source,
  cost: Callable[[], float],
  earlier: Mapping[str, Stage],
) -> int:
  """Optimizer steps: given, by epochs, or by the compute of earlier stages."""
  if described['match_compute']:
    spent = sum(earlier[other].flops for other in described['match_compute'])
    return round(spent / cost())
  steps, epochs = described['steps'], described['epochs']
  batch_size = described['batch_size']
  # Epochs before steps, or --config.pretrain.epochs=3 would do nothing where a
  # scale counts in steps.
  if epochs or steps is None:
    steps = epochs * (len(source) // batch_size)
    if steps < 1:
      raise UserError(
        f'Found {epochs} epochs of {len(source)} examples in batches of '
        f'{batch_size}, which is no step; set epochs or steps.'
      )
  if steps < 0:
    raise UserError(f'Found {steps} steps; expected 0 or more.')
  return steps


def loss_flops(method: Method, batch: Mapping[str, np.ndarray]) -> float:
  """FLOPs of the loss and its gradient on one batch, as XLA counts them."""

  def gradient(key, batch):
    params, method_state = method.init(key, batch)
    loss = jax.value_and_grad(method.loss, has_aux=True)
    return loss(params, method_state, batch, key, jnp.zeros((), jnp.int32))

  def count(function):
    lowered = jax.jit(function).lower(jax.random.key(0), batch)
    counted: Any = lowered.cost_analysis()
    return float(counted['flops'])

  return count(gradient) - count(method.init)


def check_taken(stage: Stage, stages: Mapping[str, Stage]) -> None:
  """Refuses a part that its origin lacks, or has with arrays of another shape.

  Parts of another run are read; of this run's parts the names are enough, as
  its stages share their networks.
  """
  for part, folder in stage.take.items():
    origin = stages.get(folder.name)
    if origin is not None and origin.folder == folder:
      if part in build.parts(origin.kind) and part in build.parts(stage.kind):
        continue  # nothing has to be traced
      found = shapes_of(origin)
    else:
      found = read(folder / 'checkpoints', 'params').state['params']
    check_known(f'part of {folder}', part, found)
    own = shapes_of(stage)
    check_known(f'part of stage {stage.name!r}', part, own)
    core.check_part(part, found[part], own[part])


def shapes_of(stage: Stage) -> core.Params:
  """The shapes of a stage's params, found without a computation."""
  key = jax.random.key(0)
  return jax.eval_shape(stage.method.init, key, stage.example)[0]


def taken(stage: Stage) -> dict[str, dict[str, Any]]:
  """Parts that the stage takes over: arguments of `core.create_state`."""
  params, statistics = {}, {}
  for part, folder in stage.take.items():
    saved = read(folder / 'checkpoints', 'params', 'method_state').state
    check_known(f'part of {folder}', part, saved['params'])
    params[part] = saved['params'][part]
    batch_stats = saved['method_state'].get('batch_stats', {})
    if batch_stats.get(part):
      statistics[part] = batch_stats[part]
  return {'params': params, 'batch_stats': statistics}
