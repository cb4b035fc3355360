"""A chain of modules, with the statistics that some of them carry.

The parts of a method (encoder, projector, predictor, ...) are a dict of flax
modules, each applied to the output of the one before. Params and statistics
are dicts by the same names; a part without BatchNorm has empty statistics.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssljax.errors import UserError

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


def pair(
  parts: Parts, params, statistics, views, instances
) -> tuple[Array, Array, Array, Array, dict]:
  """Rows of two views that go through encoder and projector as one batch.

  Args:
    parts: the encoder and the projector.
    params: of all parts.
    statistics: of all parts.
    views: two pairs of (images, columns), of one size.
    instances: `(projections, columns) -> rows, weights`.

  Returns:
    The rows of either view, their common weights (a row counts where both views
    show it), the features of both, and the new statistics.
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
  params,
  statistics,
  views: Sequence[tuple[Array, Array]],
  instances,
) -> tuple[list[Array], Array, Array, dict]:
  """Features and rows of views of several sizes, in train mode.

  One call of the encoder a size, and the rows of all views as one batch of the
  heads, as in SwAV's code.

  Args:
    encoder: the module.
    heads: what follows it; the last one's output is the projection.
    params: of all parts.
    statistics: of all parts.
    views: (images, columns) each.
    instances: `(projections, columns) -> rows, weights`, as many of each view.

  Returns:
    Of each view `(batch, *time, d)` features; of all `(views, rows, p)` rows
    and `(views, rows)` weights; and the new statistics.
  """
  sizes, found = {}, {}
  for number, (images, _) in enumerate(views):
    sizes.setdefault(images.shape, []).append(number)
  for numbers in sizes.values():
    images = jnp.concatenate([views[number][0] for number in numbers])
    outputs, statistics = apply(
      {'encoder': encoder}, params, statistics, images, train=True
    )
    parts = jnp.split(outputs['encoder'], len(numbers))
    found |= dict(zip(numbers, parts, strict=True))
  features = [found[number] for number in range(len(views))]
  rows = [each.reshape(-1, each.shape[-1]) for each in features]
  shown = [columns.reshape(-1) >= 0 for _, columns in views]
  outputs, statistics = apply(
    heads,
    params,
    statistics,
    jnp.concatenate(rows),
    train=True,
    mask=jnp.concatenate(shown),
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


def features(encoder: nn.Module, params, statistics, images) -> Array:
  """What the encoder makes of float images, in inference mode."""
  outputs, _ = apply(
    {'encoder': encoder}, params, statistics, images, train=False
  )
  return outputs['encoder']


def maps(
  encoder: nn.Module,
  params,
  statistics,
  images: Float[Array, 'b h w c'],
  *,
  train: bool,
  name: str = 'encoder',
) -> tuple[Array, list[Float[Array, 'b _h _w _c']], dict]:
  """Features, the feature maps behind them (fine ones first), and statistics.

  Args:
    encoder: a module that sows its maps.
    params: of all parts.
    statistics: of all parts.
    images: of one size.
    train: as for `apply`.
    name: of the encoder among the parts.
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
      'expected one with feature maps, as resnet, vit or sequence.'
    )
  found = [value for (value,) in changed['maps'].values()]
  if train:
    statistics = {**statistics, name: changed.get('batch_stats', {})}
  return features, found, statistics


def init_drawing(parts: Parts, key, images) -> tuple[dict, dict]:
  """(params, statistics) of an encoder and the decoder that draws from it."""
  (name, encoder), (last, decoder) = parts.items()
  encoder_key, decoder_key = jax.random.split(key)
  params, statistics = init({name: encoder}, encoder_key, images)
  features, found, _ = maps(
    encoder, params, statistics, images, train=False, name=name
  )
  drawn = decoder.init(decoder_key, features, found, images)
  return {**params, last: drawn['params']}, statistics


def draw(
  parts: Parts, params, statistics, images, *, train: bool
) -> tuple[Float[Array, 'b h w c'], Array, dict]:
  """Pictures that a decoder makes of images, the features, and statistics.

  Args:
    parts: the encoder and the decoder, by name.
    params: of all parts.
    statistics: of all parts.
    images: of one size.
    train: as for `apply`.
  """
  (name, encoder), (last, decoder) = parts.items()
  features, found, statistics = maps(
    encoder, params, statistics, images, train=train, name=name
  )
  pictures = decoder.apply({'params': params[last]}, features, found, images)
  return pictures, features, statistics


def pooled(features: Float[Array, 'b *time d']) -> Float[Array, 'b d']:
  """One row an image: those of a sequence are averaged."""
  return features.mean(axis=1) if features.ndim == 3 else features
