"""A chain of modules, with the statistics that some of them carry.

The parts of a method (encoder, projector, predictor, ...) are a dict of flax
modules, each applied to the output of the one before. Params and statistics
are dicts by the same names; a part without BatchNorm has empty statistics.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Parts = Mapping[str, nn.Module]


def init(parts: Parts, key, images) -> tuple[dict, dict]:
  """(params, statistics) of a chain, from float images of one batch."""
  params, statistics, x = {}, {}, images
  keys = jax.random.split(key, len(parts))
  for part_key, (name, part) in zip(keys, parts.items(), strict=True):
    x, variables = part.init_with_output(part_key, x, train=False)
    params[name] = variables.get('params', {})
    statistics[name] = variables.get('batch_stats', {})
  return params, statistics


def apply(
  parts: Parts,
  params,
  statistics,
  x: Float[Array, 'b ...'],
  *,
  train: bool,
  mask: Bool[Array, 'b ...'] | None = None,
) -> tuple[dict[str, Array], dict]:
  """Runs a chain.

  Args:
    parts: the modules, in their order.
    params: by part; further parts in it are not looked at.
    statistics: by part; one that is missing has none.
    x: images, or what the first of the parts takes.
    train: BatchNorm normalises by this batch, and renews its statistics.
    mask: of the rows (frames, or images) that are no padding, for all parts
      but the encoder, which has no BatchNorm where there is padding.

  Returns:
    The output of each part by name, and all statistics, with the new ones.
  """
  outputs, statistics = {}, dict(statistics)
  for name, part in parts.items():
    variables = {
      'params': params[name],
      'batch_stats': statistics.get(name, {}),
    }
    options = {} if name == 'encoder' else {'mask': mask}
    x, changed = part.apply(
      variables, x, train=train, mutable=['batch_stats'], **options
    )
    outputs[name] = x
    if train:
      statistics[name] = changed.get('batch_stats', {})
  return outputs, statistics


def encode_each(
  encoder: nn.Module, params, statistics, views: Sequence[Array]
) -> tuple[list[Array], dict]:
  """Features of each view in train mode, with batch statistics of its own.

  Args:
    encoder: the module.
    params: of all parts.
    statistics: of all parts; each view renews the encoder's in turn.
    views: images of one size.
  """
  parts = {'encoder': encoder}
  if not statistics.get('encoder'):
    # Nothing that one image tells another: one call, and one compilation.
    outputs, statistics = apply(
      parts, params, statistics, jnp.concatenate(views), train=True
    )
    return jnp.split(outputs['encoder'], len(views)), statistics
  features = []
  for view in views:
    outputs, statistics = apply(parts, params, statistics, view, train=True)
    features.append(outputs['encoder'])
  return features, statistics


def features(encoder: nn.Module, params, statistics, images) -> Array:
  """What the encoder makes of float images, in inference mode."""
  outputs, _ = apply(
    {'encoder': encoder}, params, statistics, images, train=False
  )
  return outputs['encoder']
