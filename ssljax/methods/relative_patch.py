"""Relative patch position (arXiv 1505.05192): where does the neighbour stand?

A patch from the middle of a grid and one of its neighbours go through one
encoder; from both features together a small network says which neighbour it is.
"""

import functools

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
  encoder,
  *,
  grid: tuple[int, int] = (3, 3),
  gap: int = 4,
  jitter: bool = True,
  colours: str = 'drop',
  hidden: int = 128,
  axis_name: str | None = None,
) -> Method:
  """Classifies the neighbour's place, 8-way on a grid of 3x3 (section 3).

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    grid: rows and columns; a line of text has one row.
    gap: pixels that a cell is larger than its patch; with jitter two patches
      are 0 to twice as many apart. `gap`, `jitter` and `colours` are against
      shortcuts; see `ssljax.augment.patches`.
    jitter: whether a patch stands anywhere in its cell.
    colours: 'drop', 'project' or 'keep'.
    hidden: units of the network over both features.
    axis_name: the devices that share the mean and the batch statistics.

  Raises:
    UserError: an image too small for the grid, when the state is initialised.
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
    """Middle patches, neighbours, and which neighbour each is."""
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
    *pair, labels = task(key, batch)
    outputs, features, statistics = logits(
      params, method_state['batch_stats'], *pair, True
    )
    values, hits = losses.classification(outputs, labels)
    metrics = {
      'accuracy': hits.mean(),
      'loss_at_chance': jnp.log(count - 1.0),
      **losses.feature_spread(features),
    }
    return values.mean(), ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    *pair, labels = task(key, batch)
    outputs, _, _ = logits(params, method_state['batch_stats'], *pair, False)
    return {'accuracy': losses.classification(outputs, labels)[1]}, {}

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
