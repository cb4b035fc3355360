"""From a config to the objects of a stage: modules, views, method, optimizer.

A method is found by its file's name, and gets of the parts below those that
its signature names, so a new method needs no change here.
"""

import importlib
import inspect
import pkgutil

import jax.numpy as jnp

from ssljax import methods, optim, text
from ssljax.augment.text import text_views
from ssljax.core import Method
from ssljax.errors import check_known
from ssljax.models import instances
from ssljax.models.heads import Predictor, Projector
from ssljax.models.sequence import CtcHead, SequenceEncoder

INSTANCES = ('frames', 'windows', 'whole', 'identity')


def charset(config) -> text.Charset:
  """The characters that the run reads: a charset's name, or themselves."""
  given = config.data.charset
  if 'directory' not in config.data:
    check_known('charset', given, text.CHARSETS)
  return text.CHARSETS.get(given) or text.Charset(given)


def encoder(config) -> SequenceEncoder:
  options = config.encoder.to_dict()
  options['dtype'] = jnp.dtype(options['dtype'])
  return SequenceEncoder(**options)


def preprocessing(config) -> dict:
  """What an image has to be before `encode` or `predict`; see `plain`."""
  return {
    'height': config.data.height,
    'width': config.data.width,
    'mode': 'RGB',
    'dtype': 'uint8',
    'values': 'x / 127.5 - 1, applied by encode and predict',
  }


def frames(config, width: int | None = None) -> int:
  """Frames of one image, or of so many pixels, which bound its text."""
  return -(-(width or config.data.width) // encoder(config).stride)


def method(config, stage, *, axis_name: str | None = None) -> Method:
  """The stage's objective, over the devices of `axis_name`.

  Raises:
    UserError: no file of that name in `ssljax/methods`.
  """
  options = stage.method.to_dict()
  name = options.pop('name')
  known = [module.name for module in pkgutil.iter_modules(methods.__path__)]
  check_known('method', name, known)
  factory = getattr(importlib.import_module(f'ssljax.methods.{name}'), name)
  stride = encoder(config).stride
  parts = {
    'encoder': encoder(config),
    'projector': Projector(
      **config.projector.to_dict() | options.pop('projector', {}),
      axis_name=axis_name,
    ),
    'predictor': Predictor(
      config.projector.width,
      **config.predictor.to_dict() | options.pop('predictor', {}),
      axis_name=axis_name,
    ),
    'head': CtcHead(charset(config).classes, config.head_width),
    'views': text_views(stride=stride, **stage.views),
    'freeze': tuple(stage.freeze),
    'axis_name': axis_name,
  }
  if 'instances' in options:
    chosen = options.pop('instances')
    kind = chosen.pop('name')
    check_known('instances', kind, INSTANCES)
    if chosen.pop('matched', False):
      chosen['stride'] = stride
    parts['instances'] = getattr(instances, kind)(**chosen)
  accepted = inspect.signature(factory).parameters
  return factory(
    **{name: part for name, part in parts.items() if name in accepted},
    **options,
  )


def optimizer(stage, *, steps: int, learning_rate: float | None = None):
  """The stage's optimizer, for a stage of `steps` steps."""
  options = stage.optimizer.to_dict()
  options['warmup'] = round(options.pop('warmup_share', 0.0) * steps)
  if learning_rate is not None:
    options['learning_rate'] = learning_rate
  return optim.optimizer(**options, steps=steps, freeze=tuple(stage.freeze))
