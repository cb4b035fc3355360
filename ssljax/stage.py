"""A stage of a recipe as one value: from the config, resolved and checked.

All stages are resolved before the first one starts, so that a mistake in the
last stage is told before the first step and not after hours.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from ssljax import build, core, hosts, parallel, weights, workdir
from ssljax.checkpoint import KEPT, read
from ssljax.core import Method
from ssljax.cost import cost_of, shapes, steps_for
from ssljax.data import pipeline, sources
from ssljax.data.datasets import Dataset
from ssljax.errors import UserError, check_known
from ssljax.examples import (
  check_positions,
  enough,
  examples_of,
  labelled_of,
  mixed,
  mixture_of,
  with_clean,
)
from ssljax.recipe import check_recipe, check_splits, evaluates
from ssljax.records import read_json, write_json
from ssljax.tasks import Task

AXIS = 'devices'


class Stage(NamedTuple):
  """A stage, ready to run.

  Attributes:
    name: of the stage.
    folder: where its checkpoints, log and figures go.
    source: the examples that it learns from.
    mixture: the labelled ones among them, if not all are the same.
    clean: which plain print its examples have; see `configs.common.stage`.
    arrays: from a gathered batch to the arrays that a step reads.
    example: the shapes of the arrays of one batch.
    method: the objective, over the devices of `axis_name`.
    optimizer: of `learning_rate`.
    make_optimizer: `(learning_rate=) -> optimizer`, of another one.
    learning_rate: at its peak.
    rates: where the learning rate is that of the best of earlier stages, by
      validation: the rate of each of their folders.
    steps: optimizer steps; 0 evaluates only.
    batch_size: examples a step, over all devices.
    epoch: steps of one pass over the source, or over its unlabelled examples.
    warmup: steps at the start that no alarm looks at.
    seed: of the parameters, the views and the order of the examples.
    take: part -> the folder of the stage, or the file of weights, that it is
      taken from.
    cost: `(steps) -> FLOPs` of so many steps, counted once.
    mapping: 'shard_map', 'pmap' or 'jit'; `axis_name` is None under 'jit'.
    steps_per_call: of the compiled step; 0 chooses by the device.
    resident: whether all examples stay on the device.
    log_every, checkpoint_every: in steps.
    metadata: what a checkpoint must know to be read again.
    keep: how many checkpoints are kept.
    keep_best: how many validation images each of them is tested on, so that the
      best is kept apart; 0 keeps no best.
    accumulate: parts that a device takes its rows of a batch in.
  """

  name: str
  folder: pathlib.Path
  source: sources.Source
  mixture: pipeline.Mixture | None
  clean: str
  arrays: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
  example: dict[str, jax.ShapeDtypeStruct]
  method: Method
  optimizer: optax.GradientTransformation
  make_optimizer: Callable[..., optax.GradientTransformation]
  learning_rate: float
  rates: dict[pathlib.Path, float]
  steps: int
  batch_size: int
  epoch: int
  warmup: int
  seed: int
  take: dict[str, pathlib.Path]
  cost: Callable[[int], float]
  mapping: str
  axis_name: str | None
  steps_per_call: int
  resident: bool
  log_every: int
  checkpoint_every: int
  metadata: dict[str, Any]
  keep: int = KEPT
  keep_best: int = 0
  accumulate: int = 1

  @property
  def labels(self) -> sources.Source:
    """The examples whose labels may be used."""
    return labelled_of(self.source)

  @property
  def flops(self) -> float:
    """Of all its steps."""
    return self.cost(self.steps) if self.steps else 0.0

  def batch(self) -> dict[str, np.ndarray]:
    """The arrays of a batch, from which the state is initialised."""
    return self.arrays(self.source.gather(range(self.batch_size)))

  def summary(self) -> dict[str, Any]:
    """What `stage.json` says of a finished stage, beside its figures."""
    return {
      'steps': self.steps,
      'examples': self.steps * self.batch_size,
      'labels': len(self.labels) if self.method.labelled else 0,
      'learning_rate': self.learning_rate,
      'flops': self.flops,
    }

  def settled(self) -> 'Stage':
    """The stage with the learning rate that earlier stages chose for it."""
    if not self.rates:
      return self
    rate = self.rates[workdir.best_on_validation(self.rates)]
    optimizer = self.make_optimizer(learning_rate=rate)
    return self._replace(optimizer=optimizer, learning_rate=rate)


class Resolved(NamedTuple):
  """A recipe: the stages that are still to run, and every stage's method."""

  stages: list[Stage]
  methods: dict[str, Method]


def resolve(
  config: Any, *, folder: pathlib.Path, task: Task, dataset: Dataset
) -> Resolved:
  """Turns a config into the stages that have not finished, all checked.

  Args:
    config: of the run, its data resolved.
    folder: of the run.
    task: what the run is about.
    dataset: the run's data, of which nothing is opened for finished stages.

  Raises:
    UserError: names that do not exist, labels that cannot be read, a batch
      larger than the data or uneven over the devices, parts that cannot be
      taken.
  """
  known = [key for key in config if hasattr(config[key], 'method')]
  for name in config.recipe:
    check_known('stage', name, known)
  described = {name: config[name].to_dict() for name in config.recipe}
  networks = build.networks(config)
  methods = check_recipe(
    described,
    networks=networks,
    task=task,
    folder=folder,
    mapping=config.mapping,
  )
  left = {
    name: stage
    for name, stage in described.items()
    if not workdir.is_finished(folder / name)
  }
  check_splits(left, dataset)
  run = _Run(config, networks, folder, task, dataset, {})
  _check_labels(run, left, methods)
  stages: dict[str, Stage] = {}
  for name, stage in left.items():
    stages[name] = _resolved(run, name, stage, methods[name], stages)
  for name in left:
    check_taken(stages[name], stages, described)
  return Resolved(list(stages.values()), methods)


class _Run(NamedTuple):
  """What all stages of a run share; `costs` has what has been counted."""

  config: Any
  networks: dict[str, dict[str, Any]]
  folder: pathlib.Path
  task: Task
  dataset: Dataset
  costs: dict[str, Callable[[int], float]]

  def cost(
    self,
    described: Mapping[str, Any],
    method: Method,
    batch: Mapping[str, jax.ShapeDtypeStruct],
    examples: int,
  ) -> Callable[[int], float]:
    """`cost.cost_of`; a table has many stages that cost the same."""
    named = [described[part] for part in ('method', 'views', 'freeze')]
    key = repr((named, sorted(batch.items()), examples))
    if key not in self.costs:
      # The whole config, because every part of it may decide about a network.
      made_of = self.config.to_dict(), described, batch, examples
      whole = json.dumps(made_of, sort_keys=True, default=repr)
      self.costs[key] = cost_of(method, batch, examples, key=whole)
    return self.costs[key]


def _check_labels(
  run: _Run,
  described: Mapping[str, Mapping[str, Any]],
  methods: Mapping[str, Method],
) -> None:
  """Refuses labels of the user's own files that no stage could learn from.

  Every stage is checked again as it is resolved; but an earlier stage may open
  rendered text, which takes minutes to render.
  """
  for name, stage in described.items():
    splits = stage['data']['split'].split('+')
    if methods[name].labelled and all(map(run.dataset.files, splits)):
      source = examples_of(stage, run.dataset, splits)
      run.task.check(source, build.encoder(run.networks))


def _source_of(
  run: _Run, described: Mapping[str, Any], method: Method
) -> sources.Source:
  options = described['data']
  splits = options['split'].split('+')
  source = examples_of(described, run.dataset, splits)
  mixes = bool(options.get('unlabelled'))
  if method.learns_labels and not mixes and not evaluates(described):
    # Labels may be fewer than a batch. Other examples are not repeated, because
    # a method would contrast copies of one image.
    source = enough(source, described['batch_size'])
  source = mixed(described, run.dataset, source)
  return with_clean(source, run.dataset, splits, kind=options['clean'])


def capped(
  described: Mapping[str, Any], source: sources.Source, *, devices: int = 1
) -> dict[str, Any]:
  """The stage with a batch that its examples can fill.

  The batch shrinks to the number of examples, rounded down to a multiple of the
  devices. In a mixed batch the unlabelled examples become fewer.

  Args:
    described: the stage.
    source: its examples.
    devices: over which a batch is divided; 1 for an evaluation, which fills no
      batch.
  """
  most, mixture = len(source), mixture_of(source)
  if mixture is not None:
    most += mixture.batch - mixture.examples
  size = described['batch_size']
  if size > most >= devices:
    size = most // devices * devices
  return {**described, 'batch_size': size}


def _checked_batch(
  run: _Run,
  name: str,
  described: Mapping[str, Any],
  method: Method,
  source: sources.Source,
) -> tuple[int, dict[str, jax.ShapeDtypeStruct]]:
  """The batch size, and the shapes of a batch; refuses what cannot be learnt.

  Shapes alone are kept, because a large batch of every stage would fill the
  memory.
  """
  kind, batch_size = described['method']['name'], described['batch_size']
  if method.labelled:
    run.task.check(labelled_of(source), build.encoder(run.networks))
  if not evaluates(described) and run.config.mapping != 'jit':
    parallel.check_divides(batch_size, jax.device_count())
  devices = 1 if run.config.mapping == 'jit' else jax.device_count()
  check_parts(name, described, method, devices)
  mixture = mixture_of(source)
  pipeline.check_batch_size(batch_size, source, mixture)
  batch = run.task.arrays(source.gather(range(batch_size)))
  build.check_examples(kind, batch)
  if build.asks_for(kind, 'examples'):
    check_positions(name, source)
  return batch_size, {
    key: jax.ShapeDtypeStruct(value.shape, value.dtype)
    for key, value in batch.items()
  }


def _resolved(
  run: _Run,
  name: str,
  described: Mapping[str, Any],
  named: Method,
  earlier: Mapping[str, Stage],
) -> Stage:
  config, folder, task = run.config, run.folder, run.task
  kind = described['method']['name']
  source = _source_of(run, described, named)
  make = functools.partial(
    build.method,
    described,
    networks=run.networks,
    task=task,
    examples=len(source) if build.asks_for(kind, 'examples') else None,
    shares=task.shares(labelled_of(source))
    if build.asks_for(kind, 'shares')
    else (),
  )
  plain = make()
  spread = config.mapping != 'jit' and not evaluates(described)
  devices = jax.device_count() if spread else 1
  described = capped(described, source, devices=devices)
  batch_size, example = _checked_batch(run, name, described, plain, source)
  cost = run.cost(described, plain, example, len(source))
  steps = steps_of(described, source, cost, earlier, folder)
  optimizer = functools.partial(
    build.optimizer, described, task=task, steps=steps
  )
  rate = described['optimizer']['learning_rate']
  axis_name = None if config.mapping == 'jit' else AXIS
  mixture = mixture_of(source)
  return Stage(
    name=name,
    folder=folder / name,
    source=source,
    mixture=mixture,
    clean=described['data']['clean'],
    arrays=task.arrays,
    example=example,
    method=make(steps=steps, axis_name=axis_name),
    optimizer=optimizer(learning_rate=rate),
    make_optimizer=optimizer,
    learning_rate=rate,
    rates={
      folder / other: config[other].optimizer.learning_rate
      for other in described['best_rate_of']
    },
    steps=steps,
    batch_size=batch_size,
    epoch=epoch_of(source, batch_size, mixture),
    warmup=build.warmup(described, steps),
    seed=config.seed + described['seed'],
    take={
      part: workdir.locate(folder, config.recipe, origin)
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
    keep=check_keep(config.get('keep', KEPT)),
    keep_best=config.get('keep_best', 0),
    accumulate=described.get('accumulate', 1),
  )


def check_keep(count: int) -> int:
  if count < 1:
    raise UserError(
      f'Found --config.keep={count}; expected 1 or more, because a run goes on '
      'from its newest checkpoint.'
    )
  return count


def check_parts(
  name: str, described: Mapping[str, Any], method: Method, devices: int
) -> None:
  """Refuses to take a batch in parts where this would change the loss."""
  parts, size = described.get('accumulate', 1), described['batch_size']
  if parts == 1:
    return
  if not method.summed:
    raise UserError(
      f'Found accumulate={parts} of stage {name!r}, whose method '
      f'{described["method"]["name"]!r} compares the examples of a batch; '
      'expected a method whose loss adds up over examples (recognize, '
      'supervised, self_training), because parts of a batch would have another '
      'loss. To save memory, leave accumulate out and rematerialise the '
      'encoder (flax.linen.remat), or use more devices.'
    )
  if parts < 1 or size % (parts * devices):
    raise UserError(
      f'Found accumulate={parts} of stage {name!r} with batches of {size} on '
      f'{devices} devices; expected 1 or more equal parts on each device. '
      f'Choose a batch size that is a multiple of {max(parts, 1) * devices}.'
    )


def epoch_of(
  source: sources.Source, batch_size: int, mixture: pipeline.Mixture | None
) -> int:
  """Steps of a pass over the examples, or over those without labels."""
  if mixture is None:
    return len(source) // batch_size
  return (len(source) - mixture.examples) // (batch_size - mixture.batch)


def steps_of(
  described: Mapping[str, Any],
  source: sources.Source,
  cost: Callable[[int], float],
  earlier: Mapping[str, Stage],
  folder: pathlib.Path,
) -> int:
  """Optimizer steps: given, by epochs, or by the compute of earlier stages.

  Args:
    described: the stage.
    source: its examples.
    cost: `(steps) -> FLOPs` of so many of its steps.
    earlier: the stages before it that are still to run.
    folder: of the run, where the others say what they have spent.
  """
  if described['match_compute']:
    spent = [
      earlier[other].flops
      if other in earlier
      else read_json(folder / other / 'stage.json')['flops']
      for other in described['match_compute']
    ]
    return steps_for(sum(spent), cost)
  steps, epochs = described['steps'], described['epochs']
  batch_size = described['batch_size']
  # Epochs before steps, or --config.pretrain.epochs=3 would do nothing where a
  # scale counts in steps.
  if epochs or steps is None:
    steps = epochs * epoch_of(source, batch_size, mixture_of(source))
    if steps < 1:
      raise UserError(
        f'Found {epochs} epochs of {len(source)} examples in batches of '
        f'{batch_size}, which is no step; set epochs or steps.'
      )
  if steps < 0:
    raise UserError(f'Found {steps} steps; expected 0 or more.')
  return steps


def check_taken(
  stage: Stage,
  stages: Mapping[str, Stage],
  described: Mapping[str, Mapping[str, Any]],
) -> None:
  """Refuses a part that its origin lacks, or has with arrays of another shape.

  Args:
    stage: that takes parts.
    stages: those of the recipe that are still to run.
    described: all stages of the recipe.
  """
  for part, folder in stage.take.items():
    if workdir.is_weights(folder):
      hosts.say(weights.told(folder, from_file(stage, part, folder)))
      continue
    origin = stages.get(folder.name)
    if origin is not None and origin.folder == folder:
      own = [described[each.name]['method'] for each in (stage, origin)]
      if all(
        part in build.parts(each['name']) and part not in each for each in own
      ):
        continue  # both have the run's network, and nothing has to be traced
      found = shapes_of(origin)
    else:
      found = read(folder / 'checkpoints', 'params').state['params']
    check_known(f'part of {folder}', part, found)
    own_parts = shapes_of(stage)
    check_known(f'part of stage {stage.name!r}', part, own_parts)
    core.check_part(part, found[part], own_parts[part])


def shapes_of(stage: Stage) -> core.Params:
  """The shapes of a stage's params, found without a computation."""
  return shapes(stage.method, stage.example)[0]


def from_file(stage: Stage, part: str, path: pathlib.Path) -> weights.Encoder:
  """The encoder of a stage from a file of weights.

  Raises:
    UserError: another part is to be taken, or the file has other tensors than
      the stage's encoder; the message names the first that differs.
  """
  if part != 'encoder':
    raise UserError(
      f'Found {path} to take {part!r} of stage {stage.name!r} from; expected '
      'a file of weights for the encoder only. Take other parts from a stage '
      'or from the folder of a run.'
    )
  params, method_state = shapes(stage.method, stage.example)
  check_known(f'part of stage {stage.name!r}', part, params)
  statistics = method_state['batch_stats'].get(part, {})
  return weights.read_encoder(path, params[part], statistics)


def taken(stage: Stage) -> dict[str, dict[str, Any]]:
  """Parts that the stage takes over: arguments of `core.create_state`.

  The stage's `taken.json` then says which files of weights were read.
  """
  params, statistics, files = {}, {}, {}
  for part, folder in stage.take.items():
    if workdir.is_weights(folder):
      params[part], found, files[part] = from_file(stage, part, folder)
      if found:
        statistics[part] = found
      continue
    saved = read(folder / 'checkpoints', 'params', 'method_state').state
    check_known(f'part of {folder}', part, saved['params'])
    params[part] = saved['params'][part]
    batch_stats = saved['method_state'].get('batch_stats', {})
    if batch_stats.get(part):
      statistics[part] = batch_stats[part]
  if files:
    hosts.check_same(f'the weights that {stage.name} takes', files)
    write_json(stage.folder / 'taken.json', files)
  return {'params': params, 'batch_stats': statistics}
