"""SimSiam (arXiv 2011.10566): two views, no negatives, no momentum encoder.

The prediction from each view must match the projection of the other view. No
gradient flows through the projection.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.instances import Instances


def simsiam(
  encoder: nn.Module,
  projector: nn.Module,
  predictor: nn.Module,
  *,
  views: Views,
  instances: Instances,
  l2: float = 1e-3,
  predict: bool = True,
  stop_gradient: bool = True,
  axis_name: str | None = None,
) -> Method:
  """The article's SimSiam: project, predict, pool both into instances.

  In the article, the first Dense layer of the projector and of the predictor
  has Keras's `l2(0.001)`, but the `total_loss` that the article prints does not
  add this penalty. Here the penalty is added, as Keras would do it: l2 · Σ w²
  over the two kernels.

  Args:
    encoder: module from `(batch, height, width, 3)` to `(batch, time, d)`.
    projector: module called with `train` and `mask`. Each view passes through
      the projector separately, with batch statistics of its own, as in the
      article.
    predictor: module called in the same way.
    views: `(key, images, index, widths) -> views`, two pairs of (images,
      columns).
    instances: `(frames, columns) -> rows, weights`, applied last; the loss
      compares the rows.
    l2: factor of the penalty; 0 leaves the penalty out.
    predict: False leaves out the predictor and compares projections with each
      other, to show that the features then collapse.
    stop_gradient: False lets the gradient flow through the projections too, to
      show that the features then collapse.
    axis_name: the axis of the devices that share the weighted mean of the loss.
  """
  heads = {'projector': projector}
  if predict:
    heads['predictor'] = predictor

  def init(key, batch):
    params, statistics = networks.init(
      {'encoder': encoder, **heads}, key, plain(batch['image'])
    )
    return params, {'batch_stats': statistics}

  def branch(params, statistics, features, columns):
    """(projection, prediction, weights) of one view, and new statistics."""
    outputs, statistics = networks.apply(
      heads, params, statistics, features, train=True, mask=columns >= 0
    )
    projection, weights = instances(outputs['projector'], columns)
    last = outputs['predictor' if predict else 'projector']
    prediction, _ = instances(last, columns)
    return (projection, prediction, weights), statistics

  def loss(params, method_state, batch, key, step):
    del step
    both = views(key, batch['image'], batch['index'], batch.get('width'))
    (_, first_columns), (_, second_columns) = both
    (a, b), statistics = networks.encode_each(
      encoder, params, method_state['batch_stats'], both
    )
    (z1, p1, shown1), statistics = branch(params, statistics, a, first_columns)
    (z2, p2, shown2), statistics = branch(params, statistics, b, second_columns)
    t1, t2 = jax.lax.stop_gradient((z1, z2)) if stop_gradient else (z1, z2)
    # A row counts only where both views show it.
    options = {'weights': shown1 * shown2, 'axis_name': axis_name}
    value = (
      losses.negative_cosine(p1, t2, **options) / 2
      + losses.negative_cosine(p2, t1, **options) / 2
    )
    penalty = sum(
      jnp.sum(params[name]['Dense_0']['kernel'] ** 2) for name in heads
    )
    metrics = {
      'cosine': -value,
      'projection_std': losses.feature_spread(
        jax.lax.stop_gradient(z1), shown1 > 0
      )['std'],
      **losses.feature_spread(
        jax.lax.stop_gradient(jnp.concatenate((a, b))), networks.shown(both)
      ),
    }
    return value + l2 * penalty, ({'batch_stats': statistics}, metrics)

  return Method(init=init, loss=loss, encode=encoding(encoder))
