"""Relative patch position (arXiv 1505.05192): where does a neighbour lie?

The patch in the middle of a grid and one of its neighbours pass through the
same encoder. From both features together, a small network predicts which
neighbour it is.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.patches import puzzle
from ssljax.augment.pixels import plain, unpadded
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Mlp


def relative_patch(
  encoder: nn.Module,
  *,
  grid: tuple[int, int] = (3, 3),
  gap: int = 4,
  jitter: bool = True,
  colours: str = 'drop',
  hidden: int = 128,
  axis_name: str | None = None,
) -> Method:
  """Classifies the neighbour's place, 8 classes on a 3x3 grid (section 3).

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    grid: rows and columns of the grid of patches; a line of text has one row.
    gap: pixels by which a patch is smaller than its cell; with jitter, two
      neighbours are between 0 and twice as many pixels apart. `gap`, `jitter`
      and `colours` prevent shortcuts; see `ssljax.augment.patches`.
    jitter: whether a patch lies anywhere in its cell instead of in its middle.
    colours: 'drop', 'project' or 'keep'.
    hidden: hidden units of the network over both features.
    axis_name: the axis of the devices that share the batch statistics of this
      network.

  Raises:
    UserError: an image is too small for the grid; raised when the state is
      initialised.
  """
  count = grid[0] * grid[1]
  middle = count // 2
  neighbours = jnp.array([place for place in range(count) if place != middle])
  head = Mlp((hidden, count - 1), axis_name=axis_name)

  cut = functools.partial(
    puzzle,
    grid=grid,
    gap=gap,
    jitter=jitter,
    colours=colours,
    answers=count - 1,
  )

  def task(key, batch):
    """Middle patches, one neighbour of each, and the neighbours' classes."""
    pieces, labels = cut(key, plain(unpadded(batch)), batch['index'])
    rows = jnp.arange(len(labels))
    return pieces[:, middle], pieces[rows, neighbours[labels]], labels

  def logits(params, statistics, middles, others, train):
    images = jnp.concatenate([middles, others])
    outputs, statistics = networks.apply(
      {'encoder': encoder}, params, statistics, images, train=train
    )
    features = outputs['encoder']
    a, b = jnp.split(networks.pooled(features), 2)
    outputs, statistics = networks.apply(
      {'head': head},
      params,
      statistics,
      jnp.concatenate([a, b], axis=-1),
      train=train,
    )
    return outputs['head'], features, statistics

  def init(key, batch):
    encoder_key, head_key = jax.random.split(key)
    middles, _, _ = task(key, batch)
    params, statistics = networks.init(
      {'encoder': encoder}, encoder_key, middles
    )
    features = networks.features(encoder, params, statistics, middles)
    both = jnp.tile(networks.pooled(features), (1, 2))
    more = networks.init({'head': head}, head_key, both)
    params, statistics = (
      {**a, **b} for a, b in zip((params, statistics), more, strict=True)
    )
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    middles, others, labels = task(key, batch)
    outputs, features, statistics = logits(
      params, method_state['batch_stats'], middles, others, True
    )
    values, hits = losses.classification(outputs, labels)
    metrics = {
      'accuracy': hits.mean(),
      'loss_at_chance': jnp.log(count - 1.0),
      **losses.feature_spread(features),
    }
    return values.mean(), ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    middles, others, labels = task(key, batch)
    outputs, _, _ = logits(
      params, method_state['batch_stats'], middles, others, False
    )
    return {'accuracy': losses.classification(outputs, labels)[1]}, {}

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
