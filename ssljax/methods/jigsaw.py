"""Jigsaw (arXiv 1603.09246): in which order do the patches appear?

All patches pass through one encoder. The feature of each patch then passes
through a fully connected layer that belongs to the patch's place (the paper has
a first fully connected layer that all places share). From the outputs of all
places together, a last network predicts the order out of a fixed set of
permutations.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.patches import permutations, puzzle, standardize
from ssljax.augment.pixels import plain, unpadded
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Mlp, Positionwise


def jigsaw(
  encoder: nn.Module,
  *,
  grid: tuple[int, int] = (3, 3),
  orders: int = 64,
  gap: int = 4,
  jitter: bool = True,
  colours: str = 'keep',
  width: int = 64,
  hidden: int = 256,
  axis_name: str | None = None,
) -> Method:
  """Classifies the permutation of the patches (section 3).

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    grid: rows and columns of the grid of patches; a line of text has one row.
    orders: the number of permutations in the set, which are chosen for a large
      Hamming distance.
    gap: pixels by which a patch is smaller than its cell; with jitter, two
      neighbours are between 0 and twice as many pixels apart. `gap`, `jitter`
      and `colours` prevent shortcuts; see `ssljax.augment.patches`. Each patch
      is also standardised, as in the paper.
    jitter: whether a patch lies anywhere in its cell instead of in its middle.
    colours: 'drop', 'project' or 'keep'.
    width: outputs of the layer of each place.
    hidden: hidden units of the last network.
    axis_name: the axis of the devices that share the batch statistics of the
      last network.

  Raises:
    UserError: `orders` is below 2 or above the number of permutations; or, when
      the state is initialised, an image is too small for the grid.
  """
  count = grid[0] * grid[1]
  table = jnp.asarray(permutations(count, orders))
  parts = {
    'places': Positionwise(width),
    'head': Mlp((hidden, orders), axis_name=axis_name),
  }

  cut = functools.partial(
    puzzle,
    grid=grid,
    gap=gap,
    jitter=jitter,
    colours=colours,
    answers=orders,
  )

  def task(key, batch):
    """Reordered patches `(batch, places, h, w, 3)`, and each image's order."""
    pieces, labels = cut(key, plain(unpadded(batch)), batch['index'])
    pieces = standardize(pieces)
    rows = jnp.arange(len(labels))[:, None]
    return pieces[rows, table[labels]], labels

  def encoded(params, statistics, pieces, train):
    flat = pieces.reshape(-1, *pieces.shape[2:])
    outputs, statistics = networks.apply(
      {'encoder': encoder}, params, statistics, flat, train=train
    )
    features = outputs['encoder']
    rows = networks.pooled(features).reshape(*pieces.shape[:2], -1)
    return rows, features, statistics

  def logits(params, statistics, rows, train):
    places = parts['places'].apply({'params': params['places']}, rows)
    outputs, statistics = networks.apply(
      {'head': parts['head']}, params, statistics, places, train=train
    )
    return outputs['head'], statistics

  def init(key, batch):
    encoder_key, places_key, head_key = jax.random.split(key, 3)
    pieces, _ = task(key, batch)
    params, statistics = networks.init(
      {'encoder': encoder}, encoder_key, pieces[:, 0]
    )
    rows, _, _ = encoded(params, statistics, pieces, False)
    places, variables = parts['places'].init_with_output(places_key, rows)
    more = networks.init({'head': parts['head']}, head_key, places)
    params = {**params, 'places': variables['params'], **more[0]}
    return params, {'batch_stats': {**statistics, **more[1]}}

  def loss(params, method_state, batch, key, step):
    del step
    pieces, labels = task(key, batch)
    rows, features, statistics = encoded(
      params, method_state['batch_stats'], pieces, True
    )
    outputs, statistics = logits(params, statistics, rows, True)
    values, hits = losses.classification(outputs, labels)
    metrics = {
      'accuracy': hits.mean(),
      'loss_at_chance': jnp.log(1.0 * orders),
      **losses.feature_spread(features),
    }
    return values.mean(), ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    pieces, labels = task(key, batch)
    statistics = method_state['batch_stats']
    rows, _, _ = encoded(params, statistics, pieces, False)
    outputs, _ = logits(params, statistics, rows, False)
    return {'accuracy': losses.classification(outputs, labels)[1]}, {}

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
