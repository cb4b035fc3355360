"""Jigsaw (arXiv 1603.09246): in which order were the patches laid?

Each patch goes through one encoder, then its feature through a fully connected
network of its place, which it shares with no other (the paper shares the first
such layer); a last network says, from all of them, which of a fixed set of
permutations it was.
"""

import functools

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
  encoder,
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
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    grid: rows and columns; a line of text has one row.
    orders: permutations in the set, which is of maximal Hamming distance.
    gap: pixels that a cell is larger than its patch; with jitter two patches
      are 0 to twice as many apart. `gap`, `jitter` and `colours` are against
      shortcuts; see `ssljax.augment.patches`. Beside these each patch
      is standardised, as the paper does.
    jitter: whether a patch stands anywhere in its cell.
    colours: 'drop', 'project' or 'keep'.
    width: outputs of each place's own network.
    hidden: units of the last one.
    axis_name: the devices that share the mean and the batch statistics.

  Raises:
    UserError: an image too small for the grid, when the state is initialised;
      more orders than there are.
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
    """Patches in an order of the set `(batch, places, h, w, 3)`, and which."""
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
