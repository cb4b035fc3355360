"""SimSiam (arXiv 2011.10566): two views, no negatives, no momentum encoder.

Each view's prediction is to equal the other view's projection, through which
no gradient flows.
"""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks


def simsiam(
  encoder,
  projector,
  predictor,
  *,
  views,
  instances,
  l2: float = 1e-3,
  predict: bool = True,
  stop_gradient: bool = True,
  axis_name: str | None = None,
) -> Method:
  """The article's SimSiam: project, predict, pool both into instances.

  Its projector and predictor carry Keras's `l2(0.001)` on their first Dense
  layer, but the `total_loss` that it prints does not add the penalty. Read
  here as meant to be added: l2 · Σ w² over these two kernels, as Keras does.

  Args:
    encoder: module, `(batch, height, width, 3)` to `(batch, time, d)`.
    projector: module called with `train` and `mask`. Each view goes through it
      alone, with batch statistics of its own, as in the article.
    predictor: the same.
    views: `(key, images, index, widths)` to two pairs of (images, columns).
    instances: `(rows, columns) -> rows, weights`, applied last, to what the
      loss compares.
    l2: factor of the penalty; 0 leaves it out.
    predict: False compares projections with each other: without a predictor
      the features collapse, and this is there to show it.
    stop_gradient: False lets the gradient reach both sides, with the same end.
    axis_name: the devices that share the mean and the batch statistics.
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
    """(projection, prediction, weights) of a view's rows; new statistics."""
    outputs, statistics = networks.apply(
      heads, params, statistics, features, train=True, mask=columns >= 0
    )
    projection, weights = instances(outputs['projector'], columns)
    last = outputs['predictor' if predict else 'projector']
    prediction, _ = instances(last, columns)
    return (projection, prediction, weights), statistics

  def loss(params, method_state, batch, key, step):
    del step
    (first, first_columns), (second, second_columns) = views(
      key, batch['image'], batch['index'], batch.get('width')
    )
    (a, b), statistics = networks.encode_each(
      encoder, params, method_state['batch_stats'], (first, second)
    )
    (z1, p1, shown1), statistics = branch(params, statistics, a, first_columns)
    (z2, p2, shown2), statistics = branch(params, statistics, b, second_columns)
    t1, t2 = jax.lax.stop_gradient((z1, z2)) if stop_gradient else (z1, z2)
    # A row counts where both views show it.
    options = {'weights': shown1 * shown2, 'axis_name': axis_name}
    value = (
      losses.negative_cosine(p1, t2, **options) / 2
      + losses.negative_cosine(p2, t1, **options) / 2
    )
    penalty = sum(
      jnp.sum(params[name]['Dense_0']['kernel'] ** 2) for name in heads
    )
    rows = jax.lax.stop_gradient(z1)[:, None]
    metrics = {
      'cosine': -value,
      'projection_std': losses.feature_spread(rows)['std'],
      **losses.feature_spread(jax.lax.stop_gradient(jnp.concatenate((a, b)))),
    }
    return value + l2 * penalty, ({'batch_stats': statistics}, metrics)

  return Method(init=init, loss=loss, encode=encoding(encoder))
