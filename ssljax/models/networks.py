"""Chains of modules, together with the statistics that some modules carry.

The parts of a method (encoder, projector, predictor, ...) are a dict of flax
modules. Each module is applied to the output of the module before it. Params
and statistics are dicts with the same names; the statistics of a part without
BatchNorm are empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssljax.errors import UserError
from ssljax.models.instances import Instances

Parts = Mapping[str, nn.Module]
Variables = Mapping[str, Any]


def init(
  parts: Parts, key: jax.Array, images: Float[Array, 'b ...']
) -> tuple[dict[str, Any], dict[str, Any]]:
  """(params, statistics) of a chain, from the float images of one batch."""
  params, statistics, x = {}, {}, images
  keys = jax.random.split(key, len(parts))
  for part_key, (name, part) in zip(keys, parts.items(), strict=True):
    x, variables = part.init_with_output(part_key, x, train=False)
    params[name] = variables.get('params', {})
    statistics[name] = variables.get('batch_stats', {})
  return params, statistics


def apply(
  parts: Parts,
  params: Variables,
  statistics: Variables,
  x: Float[Array, 'b ...'],
  *,
  train: bool,
  mask: Bool[Array, 'b ...'] | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
  """Runs a chain of modules.

  Args:
    parts: the modules, in their order.
    params: the params of each part; names beyond `parts` are ignored.
    statistics: the statistics of each part; a missing name counts as empty.
    x: images, or whatever the first of the parts takes.
    train: whether BatchNorm normalises by this batch and renews its statistics.
    mask: which rows (frames, or images) are not padding; the other rows are
      left out of what a part computes over rows.

  Returns:
    The output of each part by name, and all statistics with the renewed ones.
  """
  outputs: dict[str, Array] = {}
  statistics = dict(statistics)
  for name, part in parts.items():
    variables = {
      'params': params[name],
      'batch_stats': statistics.get(name, {}),
    }
    options: dict[str, Any] = {} if mask is None else {'mask': mask}
    x, changed = part.apply(
      variables, x, train=train, mutable=['batch_stats'], **options
    )
    outputs[name] = x
    if train:
      statistics[name] = changed.get('batch_stats', {})
  return outputs, statistics


def shown(
  views: Sequence[tuple[Array, Array]],
) -> Bool[Array, 'b time'] | None:
  """Which frames of views are not padding, for all views as one batch.

  None where an image is one row, because no view leaves out a whole image.

  Args:
    views: pairs of (images, columns), of one size.
  """
  columns = [columns for _, columns in views]
  return None if columns[0].ndim == 1 else jnp.concatenate(columns) >= 0


def encode_each(
  encoder: nn.Module,
  params: Variables,
  statistics: Variables,
  views: Sequence[tuple[Array, Array]],
) -> tuple[list[Float[Array, 'b *time d']], Variables]:
  """Features of each view in train mode, with batch statistics per view.

  Args:
    encoder: the module.
    params: the params of all parts.
    statistics: the statistics of all parts; each view renews the encoder's
      statistics in turn.
    views: pairs of (images, columns), of one size.
  """
  parts = {'encoder': encoder}
  if not statistics.get('encoder'):
    # Without BatchNorm no image depends on another one, so all views take one
    # call, and one compilation.
    images = jnp.concatenate([images for images, _ in views])
    outputs, statistics = apply(
      parts, params, statistics, images, train=True, mask=shown(views)
    )
    return jnp.split(outputs['encoder'], len(views)), statistics
  features = []
  for view in views:
    outputs, statistics = apply(
      parts, params, statistics, view[0], train=True, mask=shown([view])
    )
    features.append(outputs['encoder'])
  return features, statistics


def pair(
  parts: Parts,
  params: Variables,
  statistics: Variables,
  views: Sequence[tuple[Array, Array]],
  instances: Instances,
) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
  """Rows of two views that pass encoder and projector as one batch.

  Args:
    parts: the encoder and the projector.
    params: the params of all parts.
    statistics: the statistics of all parts.
    views: two pairs of (images, columns), of one size.
    instances: `(projections, columns) -> rows, weights`.

  Returns:
    The rows of the first and of the second view, their common weights (a row
    counts where both views show it), the features of both views, and the new
    statistics.
  """
  images, columns = (jnp.concatenate(each) for each in zip(*views, strict=True))
  outputs, statistics = apply(
    parts, params, statistics, images, train=True, mask=columns >= 0
  )
  rows, weights = instances(outputs['projector'], columns)
  a, b = jnp.split(rows, 2)
  weights = jnp.prod(jnp.stack(jnp.split(weights, 2)), axis=0)
  return a, b, weights, outputs['encoder'], statistics


def encode_sizes(
  encoder: nn.Module,
  heads: Parts,
  params: Variables,
  statistics: Variables,
  views: Sequence[tuple[Array, Array]],
  instances: Instances,
) -> tuple[list[Array], Array, Array, dict[str, Any]]:
  """Features and rows of views of several sizes, in train mode.

  The encoder is called once per size. The heads see the rows of all views as
  one batch, as in SwAV's code.

  Args:
    encoder: the module.
    heads: the modules after the encoder; the output of the last one is the
      projection.
    params: the params of all parts.
    statistics: the statistics of all parts.
    views: a pair of (images, columns) for each view.
    instances: `(projections, columns) -> rows, weights`; it gives the same
      number of rows for every view.

  Returns:
    The `(batch, *time, d)` features of each view, the `(views, rows, p)` rows
    and `(views, rows)` weights of all views, and the new statistics.
  """
  sizes, found = {}, {}
  for number, (images, _) in enumerate(views):
    sizes.setdefault(images.shape, []).append(number)
  for numbers in sizes.values():
    group = [views[number] for number in numbers]
    outputs, statistics = apply(
      {'encoder': encoder},
      params,
      statistics,
      jnp.concatenate([images for images, _ in group]),
      train=True,
      mask=shown(group),
    )
    parts = jnp.split(outputs['encoder'], len(numbers))
    found |= dict(zip(numbers, parts, strict=True))
  features = [found[number] for number in range(len(views))]
  rows = [each.reshape(-1, each.shape[-1]) for each in features]
  valid = [columns.reshape(-1) >= 0 for _, columns in views]
  outputs, statistics = apply(
    heads,
    params,
    statistics,
    jnp.concatenate(rows),
    train=True,
    mask=jnp.concatenate(valid),
  )
  *_, last = outputs.values()
  cuts = np.cumsum([len(each) for each in rows])[:-1]
  projections = [
    part.reshape(*each.shape[:-1], -1)
    for part, each in zip(jnp.split(last, cuts), features, strict=True)
  ]
  pairs = [
    instances(projection, columns)
    for projection, (_, columns) in zip(projections, views, strict=True)
  ]
  rows, weights = (jnp.stack(each) for each in zip(*pairs, strict=True))
  return features, rows, weights, statistics


def features(
  encoder: nn.Module,
  params: Variables,
  statistics: Variables,
  images: Array,
  mask: Bool[Array, 'b *time'] | None = None,
) -> Float[Array, 'b *time d']:
  """The encoder's features of float images, in inference mode.

  Args:
    encoder: the module.
    params: the params of all parts.
    statistics: the statistics of all parts.
    images: of one size.
    mask: which frames are not padding; None if all are.
  """
  outputs, _ = apply(
    {'encoder': encoder}, params, statistics, images, train=False, mask=mask
  )
  return outputs['encoder']


def sow(module: nn.Module, name: str, x: Float[Array, 'b h w c']) -> None:
  """Records a feature map under `name`; `maps` collects the maps.

  An encoder sows its maps from the finest to the coarsest. While the module is
  initialised nothing is recorded, so that its variables are only parameters and
  statistics.
  """
  if not module.is_initializing():
    module.sow('maps', name, x)


def maps(
  encoder: nn.Module,
  params: Variables,
  statistics: Variables,
  images: Float[Array, 'b h w c'],
  *,
  train: bool,
  name: str = 'encoder',
) -> tuple[Array, list[Float[Array, 'b _h _w _c']], Variables]:
  """Features, the maps behind them (finest first), and all statistics.

  Args:
    encoder: a module that sows its maps.
    params: the params of all parts.
    statistics: the statistics of all parts.
    images: images of one size.
    train: as for `apply`.
    name: the encoder's name among the parts.

  Raises:
    UserError: the encoder sows no maps.
  """
  variables = {
    'params': params[name],
    'batch_stats': statistics.get(name, {}),
  }
  features, changed = encoder.apply(
    variables, images, train=train, mutable=['batch_stats', 'maps']
  )
  if 'maps' not in changed:
    raise UserError(
      f'Found {type(encoder).__name__} as the encoder of a task that draws; '
      'expected an encoder with feature maps, such as resnet, vit or sequence.'
    )
  found = [value for (value,) in changed['maps'].values()]
  if train:
    statistics = {**statistics, name: changed.get('batch_stats', {})}
  return features, found, statistics


def init_drawing(
  parts: Parts, key: jax.Array, images: Float[Array, 'b h w c']
) -> tuple[dict[str, Any], dict[str, Any]]:
  """(params, statistics) of an encoder and the decoder after it."""
  (name, encoder), (last, decoder) = parts.items()
  encoder_key, decoder_key = jax.random.split(key)
  params, statistics = init({name: encoder}, encoder_key, images)
  features, found, _ = maps(
    encoder, params, statistics, images, train=False, name=name
  )
  drawn = decoder.init(decoder_key, features, found, images)
  return {**params, last: drawn['params']}, statistics


def draw(
  parts: Parts,
  params: Variables,
  statistics: Variables,
  images: Float[Array, 'b h w c'],
  *,
  train: bool,
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b *time d'], Variables]:
  """Pictures that a decoder makes of images, the features, and new statistics.

  Args:
    parts: the encoder and the decoder, by name.
    params: the params of all parts.
    statistics: the statistics of all parts.
    images: images of one size.
    train: as for `apply`.
  """
  (name, encoder), (last, decoder) = parts.items()
  features, found, statistics = maps(
    encoder, params, statistics, images, train=train, name=name
  )
  variables = {'params': params[last]}
  pictures: Any = decoder.apply(variables, features, found, images)
  return pictures, features, statistics


def pooled(features: Float[Array, 'b *time d']) -> Float[Array, 'b d']:
  """One row per image; the frames of a sequence are averaged."""
  return features.mean(axis=1) if features.ndim == 3 else features
