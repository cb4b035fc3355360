"""Metric learning: pairs with a margin, triplets, N-pairs.

Papers: Hadsell et al. 2006 (pairs), FaceNet, arXiv 1503.03832 (triplets), Sohn
2016 (N-pairs). Each row of the first view is an anchor. Its candidates are the
rows of the second view on all devices.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.errors import check_known
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.instances import Instances

OBJECTIVES = ('margin', 'triplet', 'n_pair')


def metric(
  encoder: nn.Module,
  projector: nn.Module,
  *,
  views: Views,
  instances: Instances,
  objective: str = 'triplet',
  margin: float = 0.2,
  l2: float = 0.0,
  labelled: bool = False,
  axis_name: str | None = None,
) -> Method:
  """Pulls each anchor to its positive and pushes it away from its negatives.

  The positive of an anchor is the same row of the other view. With labels, it
  is the farthest candidate of the anchor's class. The objectives 'margin' and
  'triplet' use one semi-hard negative: the nearest negative that is farther
  away than the positive, or the farthest negative if none is (FaceNet, section
  3.2; negatives are mined in the global batch). 'n_pair' uses all negatives.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`. Both views pass through
      the encoder and the projector as one batch.
    views: `(key, images, index, widths) -> views`, two pairs of (images,
      columns).
    instances: `(projections, columns) -> rows, weights`, applied after the
      projector.
    objective: 'margin' or 'triplet', which normalise the rows to unit length,
      or 'n_pair', which uses the rows as they are.
    margin: for 'margin', the distance from which on a negative costs nothing;
      for 'triplet', how much larger the squared distance to the negative has to
      be than the squared distance to the positive. 'n_pair' has no margin.
    l2: for 'n_pair', factor of the penalty on the squared lengths of the rows
      of a pair. Without the penalty the lengths grow, because longer rows have
      larger dot products.
    labelled: whether images of one class are positives and never negatives of
      each other. The classes are in `batch['label']`, -1 for no class.
    axis_name: the axis of the devices whose rows are candidates.

  Raises:
    UserError: the objective is unknown.
  """
  check_known('objective', objective, OBJECTIVES)
  parts = {'encoder': encoder, 'projector': projector}

  def init(key, batch):
    params, statistics = networks.init(parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def belongs(batch, count, weights):
    """Which candidates are positives of a row, and which are negatives.

    Both masks have the shape (rows, candidates).
    """
    labels = jnp.full(len(batch['index']), -1)
    if labelled:
      labels = batch['label']
    labels = jnp.repeat(labels, count // len(labels))
    shown = parallel.gather(weights > 0, axis_name)
    own = parallel.rank(axis_name) * count + jnp.arange(count)
    itself = jnp.arange(len(shown)) == own[:, None]
    alike = labels[:, None] == parallel.gather(labels, axis_name)
    same = itself | (alike & (labels >= 0)[:, None] & shown)
    return same, ~same & shown

  def chosen(anchors, candidates, same, other):
    """Places of each anchor's positive and negative among the candidates.

    The third array tells whether the anchor has a negative at all.
    """
    anchors, candidates = jax.lax.stop_gradient((anchors, candidates))
    products = jnp.matmul(anchors, candidates.T, precision=Precision.HIGHEST)
    lengths = jnp.sum(candidates**2, axis=1)
    # The squared distance minus the anchor's squared length, which is the same
    # for all candidates of the anchor.
    far = lengths - 2 * products
    positive = jnp.where(same, far, -jnp.inf).argmax(axis=1)
    limit = jnp.take_along_axis(far, positive[:, None], axis=1)
    farther = other & (far > limit)
    nearest = jnp.where(farther, far, jnp.inf).argmin(axis=1)
    farthest = jnp.where(other, far, -jnp.inf).argmax(axis=1)
    negative = jnp.where(farther.any(axis=1), nearest, farthest)
    return positive, negative, other.any(axis=1)

  def compare(a, b, weights, same, other):
    """The loss, and the value of the loss if all rows were one point."""
    candidates = parallel.gather(b, axis_name)
    positive, negative, found = chosen(a, candidates, same, other)
    near, away = candidates[positive], candidates[negative]
    if objective == 'n_pair':
      options = {'weights': weights, 'axis_name': axis_name}
      lengths = jnp.sum(a**2 + near**2, axis=1)
      value = losses.n_pair(a, near, negatives=other, **options)
      value += l2 * losses.weighted_mean(lengths, **options)
      opposed = jnp.log1p(other.sum(axis=1))
      return value, losses.weighted_mean(opposed, **options)
    options = {'weights': weights * found, 'axis_name': axis_name}
    if objective == 'triplet':
      return losses.triplet(a, near, away, margin=margin, **options), margin
    pulled, pushed = (
      losses.margin_contrastive(
        a, each, jnp.full(len(a), together), margin=margin, **options
      )
      for each, together in ((near, 1.0), (away, 0.0))
    )
    return (pulled + pushed) / 2, margin**2 / 2

  def loss(params, method_state, batch, key, step):
    del step
    both = views(key, batch['image'], batch['index'], batch.get('width'))
    a, b, weights, features, statistics = networks.pair(
      parts, params, method_state['batch_stats'], both, instances
    )
    if objective != 'n_pair':
      a, b = losses.normalize(a), losses.normalize(b)
    # Rows of padding may hold anything. They become zeros, because they must
    # not affect the mining.
    a, b = (jnp.where(weights[:, None] > 0, x, 0) for x in (a, b))
    same, other = belongs(batch, len(a), weights)
    value, chance = compare(a, b, weights, same, other)
    options = {'weights': weights, 'axis_name': axis_name}
    accuracy, retrieval_chance = losses.retrieval_accuracy(a, b, **options)
    metrics = {
      'retrieval': accuracy,
      'retrieval_chance': retrieval_chance,
      'loss_at_chance': jnp.asarray(chance),
      **losses.feature_spread(
        jax.lax.stop_gradient(features), networks.shown(both)
      ),
    }
    return value, ({'batch_stats': statistics}, metrics)

  return Method(
    init=init, loss=loss, encode=encoding(encoder), labelled=labelled
  )
