"""From a config to the objects of a stage: modules, views, method, optimizer.

A method is found by its file's name, and gets of the parts below those that
its signature names, so a new method needs no change here.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from ssljax import evals, methods, optim, text
from ssljax.augment.policies import policy_views
from ssljax.augment.text import text_views
from ssljax.core import Method
from ssljax.errors import check_known
from ssljax.models import decoders, heads, instances
from ssljax.models.convnet import ConvNet
from ssljax.models.pixels import Pixels
from ssljax.models.resnet import ResNet
from ssljax.models.sequence import CtcHead, SequenceEncoder
from ssljax.models.vit import ViT

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


def reads_text(config) -> bool:
  """Whether the run is about text; else it is about images and classes."""
  return 'charset' in config.data


def charset(config) -> text.Charset:
  """The characters that the run reads: a charset's name, or themselves."""
  given = config.data.charset
  if 'directory' not in config.data:
    check_known('charset', given, text.CHARSETS)
  return text.CHARSETS.get(given) or text.Charset(given)


def module(kinds, options, default: str, **shared) -> nn.Module:
  """A module by the name among its options; `shared` are those it has."""
  options = dict(options)
  kind = options.pop('name', default)
  check_known('module', kind, kinds)
  if 'dtype' in options:
    options['dtype'] = jnp.dtype(options['dtype'])
  # Sequences of a config that is read back from JSON are lists.
  options = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in options.items()
  }
  fields = kinds[kind].__dataclass_fields__
  for key in options:
    check_known(f'option of {kind}', key, fields)
  shared = {key: value for key, value in shared.items() if key in fields}
  return kinds[kind](**options, **shared)


def encoder(config, changes=None, **shared) -> nn.Module:
  """The run's encoder; `changes` of a name replace all of its options."""
  options = dict(changes or {})
  if 'name' not in options:
    options = config.encoder.to_dict() | options
  return module(ENCODERS, options, 'sequence', **shared)


def preprocessing(config) -> dict:
  """What an image has to be before `encode` or `predict`; see `plain`."""
  size = config.data.get('size')
  return {
    'height': size or config.data.height,
    'width': size or config.data.width,
    'mode': 'RGB',
    'dtype': 'uint8',
    'values': 'x / 127.5 - 1, applied by encode and predict',
  }


def frames(config, width: int | None = None) -> int:
  """Frames of one image, or of so many pixels, which bound its text."""
  return -(-(width or config.data.width) // encoder(config).stride)


def head(config) -> nn.Module:
  """What reads or classifies: the CTC head, or one Dense layer."""
  if reads_text(config):
    return CtcHead(charset(config).classes, config.head_width)
  return heads.Classifier(max(1, len(config.data.classes)))


def views(config, stage, encoder):
  if reads_text(config):
    return text_views(stride=encoder.stride, **stage.views)
  options = stage.views.to_dict()
  return policy_views(options.pop('policy'), size=config.data.size, **options)


def factory(stage) -> Callable[..., Method]:
  """The function that makes the stage's method, by its file's name."""
  name = stage.method.name
  known = [each.name for each in pkgutil.iter_modules(methods.__path__)]
  check_known('method', name, known)
  return getattr(importlib.import_module(f'ssljax.methods.{name}'), name)


def check(stage) -> Callable:
  """What the method's file says of examples that it cannot learn from."""
  module = importlib.import_module(factory(stage).__module__)
  return getattr(module, 'check', lambda batch: None)


def remembers(stage) -> bool:
  """Whether the method keeps something of each example by its index."""
  return 'examples' in inspect.signature(factory(stage)).parameters


def method(
  config,
  stage,
  *,
  steps: int | None = None,
  examples: int | None = None,
  axis_name: str | None = None,
) -> Method:
  """The stage's objective, over the devices of `axis_name`.

  Args:
    config: of the run.
    stage: one of its stages.
    steps: optimizer steps, for a method with a schedule of its own.
    examples: their number, for a method that remembers each.
    axis_name: of the devices.

  Raises:
    UserError: no file of that name in `ssljax/methods`, or an option that
      neither the method nor its modules have.
  """
  options = stage.method.to_dict()
  name, make = options.pop('name'), factory(stage)
  accepted = inspect.signature(make).parameters
  shared = {'axis_name': axis_name, 'groups': options.pop('groups', 0)}
  network = encoder(config, options.pop('encoder', None), **shared)
  parts = {'encoder': network, 'head': head(config)}
  for part in ('projector', 'predictor'):
    chosen = options.pop(part, {})
    if 'name' not in chosen:  # which replaces all options
      chosen = config[part].to_dict() | chosen
      if 'width' in config.projector and part == 'predictor':
        chosen.setdefault('width', config.projector.width)
    parts[part] = module(HEADS, chosen, part, **shared)
  for part in DRAWING:
    if part in accepted:
      parts[part] = module(DRAWING, options.pop(part, {}), part)
  parts |= {
    'freeze': tuple(stage.freeze),
    'axis_name': axis_name,
    'steps': steps,
    'examples': examples,
  }
  if 'instances' in options:
    windowed = bool(stage.views.get('small')) and reads_text(config)
    parts['instances'] = _instances(
      options.pop('instances'),
      network,
      time=frames(config) if windowed else None,
    )
  if 'views' in accepted and stage.views:
    parts['views'] = views(config, stage, network)
  for key, value in options.items():
    check_known(f'option of {name}', key, accepted)
    # Sequences of a config that is read back from JSON are lists.
    options[key] = tuple(value) if isinstance(value, list) else value
  made = make(
    **{key: part for key, part in parts.items() if key in accepted}, **options
  )
  if _watched(config, stage):
    made = evals.with_probe(
      made, classes=len(config.data.classes), axis_name=axis_name
    )
  return made


def _watched(config, stage) -> bool:
  """Whether a probe watches: where it is asked for and there are classes."""
  return bool(stage.get('probe') and config.data.get('classes'))


def _instances(options, network, *, time=None) -> instances.Instances:
  """The map of the config; `time` frames a line where views are windows."""
  kind = options.pop('name')
  check_known('instances', kind, INSTANCES)
  if options.pop('matched', False):
    options['stride'] = network.stride
    if time is not None:
      options['time'] = time
  return getattr(instances, kind)(**options)


def optimizer(config, stage, *, steps: int, learning_rate: float | None = None):
  """The stage's optimizer, for a stage of `steps` steps."""
  options = stage.optimizer.to_dict()
  options['warmup'] = round(options.pop('warmup_share', 0.0) * steps)
  if learning_rate is not None:
    options['learning_rate'] = learning_rate
  made = optim.optimizer(**options, steps=steps, freeze=tuple(stage.freeze))
  return evals.probe_optimizer(made) if _watched(config, stage) else made
