"""From options to the objects of a stage: modules, method and optimizer.

A method is found by its file's name, and gets those of the parts below that
its signature names. A new method therefore needs no change here.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import evals, methods, optim
from ssljax.core import Method
from ssljax.errors import check_known
from ssljax.models import decoders, heads, instances
from ssljax.models.convnet import ConvNet
from ssljax.models.pixels import Pixels
from ssljax.models.resnet import ResNet
from ssljax.models.sequence import SequenceEncoder
from ssljax.models.vit import ViT
from ssljax.tasks import Task

Options = Mapping[str, Any]
ENCODERS = {
  'sequence': SequenceEncoder,
  'resnet': ResNet,
  'vit': ViT,
  'convnet': ConvNet,
  'pixels': Pixels,
}
HEADS = {
  'projector': heads.Projector,
  'predictor': heads.Predictor,
  'mlp': heads.Mlp,
}
DRAWING = {'decoder': decoders.Decoder, 'critic': decoders.PatchCritic}
INSTANCES = ('frames', 'windows', 'whole', 'identity')


def module(
  kinds: Mapping[str, type[nn.Module]],
  options: Options,
  default: str,
  **shared: Any,
) -> nn.Module:
  """A module by the name among its options.

  Args:
    kinds: modules by name.
    options: `name` and the module's fields. Sequences may be lists, as in a
      config that is read back from JSON.
    default: the name where the options have none.
    **shared: fields that the module gets where it has them.

  Raises:
    UserError: an unknown name, or an option that is no field of the module.
  """
  options = dict(options)
  kind = options.pop('name', default)
  check_known('module', kind, kinds)
  if 'dtype' in options:
    options['dtype'] = jnp.dtype(options['dtype'])
  fields = kinds[kind].__dataclass_fields__
  for key in options:
    check_known(f'option of {kind}', key, fields)
  shared = {key: value for key, value in shared.items() if key in fields}
  return kinds[kind](**_tuples(options), **shared)


def _tuples(options: Options) -> dict[str, Any]:
  return {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in options.items()
  }


def networks(run: Any) -> dict[str, dict[str, Any]]:
  """The options of a run's networks, from its config."""
  parts = ('encoder', 'projector', 'predictor')
  return {part: dict(run[part]) for part in parts}


def encoder(
  networks: Options, changes: Options | None = None, **shared: Any
) -> nn.Module:
  """The run's encoder; `changes` that have a name replace all its options."""
  options = {**(changes or {})}
  if 'name' not in options:
    options = {**networks['encoder'], **options}
  return module(ENCODERS, options, 'sequence', **shared)


def head(
  networks: Options, part: str, changes: Options, **shared: Any
) -> nn.Module:
  """The projector or predictor; a name replaces all options, as above."""
  options = dict(changes)
  if 'name' not in options:
    options = {**networks[part], **options}
    if part == 'predictor' and 'width' in networks['projector']:
      options.setdefault('width', networks['projector']['width'])
  return module(HEADS, options, part, **shared)


def factory(name: str) -> Callable[..., Method]:
  """The function that makes a method, by the name of its file."""
  files = [each.name for each in pkgutil.iter_modules(methods.__path__)]
  known = [each for each in files if not each.startswith('_')]
  check_known('method', name, known)
  return getattr(importlib.import_module(f'ssljax.methods.{name}'), name)


def check_examples(name: str, batch: Options) -> None:
  """Lets the method's file refuse examples that it cannot learn from."""
  file = importlib.import_module(factory(name).__module__)
  getattr(file, 'check', lambda batch: None)(batch)


def parts(name: str) -> set[str]:
  """The modules that the method is made of, by the names of its parts."""
  known = {'encoder', 'head', *HEADS, *DRAWING}
  return known & set(inspect.signature(factory(name)).parameters)


def asks_for(name: str, what: str) -> bool:
  """Whether the method's function has an argument of this name.

  One that asks for 'examples' keeps something of each example by its index.
  """
  return what in inspect.signature(factory(name)).parameters


def method(
  stage: Options,
  *,
  networks: Options,
  task: Task,
  steps: int | None = None,
  examples: int | None = None,
  shares: Sequence[float] | np.ndarray = (),
  axis_name: str | None = None,
) -> Method:
  """The stage's objective, over the devices of `axis_name`.

  Args:
    stage: its description, as `configs.common.stage` makes it.
    networks: the run's options of 'encoder', 'projector' and 'predictor'. The
      stage's own options go before them.
    task: what the run is about.
    steps: optimizer steps, for a method with a schedule of its own.
    examples: their number, for a method that remembers each.
    shares: of the classes among the labels, for a method that asks for them.
    axis_name: of the devices.

  Raises:
    UserError: no file of that name in `ssljax/methods`, or an option that
      neither the method nor its modules have.
  """
  options = dict(stage['method'])
  name = options.pop('name')
  make = factory(name)
  accepted = inspect.signature(make).parameters
  shared = {'axis_name': axis_name, 'groups': options.pop('groups', 0)}
  network = encoder(networks, options.pop('encoder', {}), **shared)
  reader: Any = task.head
  if hasattr(reader, 'axis_name'):
    reader = reader.clone(axis_name=axis_name)
  parts: dict[str, Any] = {'encoder': network, 'head': reader}
  for part in ('projector', 'predictor'):
    parts[part] = head(networks, part, options.pop(part, {}), **shared)
  for part in DRAWING:
    if part in accepted:
      parts[part] = module(DRAWING, options.pop(part, {}), part)
  parts |= {
    'criterion': task.criterion,
    'freeze': tuple(stage['freeze']),
    'axis_name': axis_name,
    'steps': steps,
    'examples': examples,
    'shares': shares,
  }
  if 'instances' in options:
    # Of views that are windows of a line, frames are counted in whole lines.
    windowed = bool(stage['views'].get('small'))
    time = task.frames(network) if windowed else None
    parts['instances'] = _instances(options.pop('instances'), network, time)
  if 'views' in accepted and stage['views']:
    parts['views'] = task.views(stage['views'], network)
  for key in options:
    check_known(f'option of {name}', key, accepted)
  parts = {key: part for key, part in parts.items() if key in accepted}
  made = make(**parts, **_tuples(options))
  if watched(stage, task):
    classes = len(task.classes)
    made = evals.with_probe(made, classes=classes, axis_name=axis_name)
  return made


def watched(stage: Options, task: Task) -> bool:
  """Whether a probe watches: where it is asked for and there are classes."""
  return bool(stage.get('probe') and task.classes)


def _instances(
  options: Options, network: nn.Module, time: int | None
) -> instances.Instances:
  """The map of instances; `time` frames a line where views are windows."""
  options = dict(options)
  kind = options.pop('name')
  check_known('instances', kind, INSTANCES)
  if options.pop('matched', False):
    options['stride'] = network.stride
    if time is not None:
      options['time'] = time
  return getattr(instances, kind)(**options)


def optimizer(
  stage: Options, *, task: Task, steps: int, learning_rate: float
) -> optax.GradientTransformation:
  """The stage's optimizer, for a stage of so many steps."""
  options = {**stage['optimizer'], 'learning_rate': learning_rate}
  options['warmup'] = warmup(stage, steps)
  options.pop('warmup_share', None)
  made = optim.optimizer(**options, steps=steps, freeze=tuple(stage['freeze']))
  return evals.probe_optimizer(made) if watched(stage, task) else made


def warmup(stage: Options, steps: int) -> int:
  """Steps in which the learning rate grows."""
  return round(stage['optimizer'].get('warmup_share', 0.0) * steps)
