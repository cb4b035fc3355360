"""BYOL (arXiv 2006.07733): predict the output of a slowly moving network.

There are two views and no negatives. From one view, the online network predicts
the target network's projection of the other view. The target network is a
moving average of the online network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.instances import Instances

ONLINE = ('encoder', 'projector')


def byol(
  encoder: nn.Module,
  projector: nn.Module,
  predictor: nn.Module,
  *,
  views: Views,
  instances: Instances,
  momentum: float = 0.996,
  steps: int | None = None,
  predict: bool = True,
  axis_name: str | None = None,
) -> Method:
  """BYOL with its symmetric loss: 2 - 2 cos (eq. 2), summed over directions.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`. Each view passes through
      the networks separately, with batch statistics of its own.
    predictor: module called in the same way, in the online network only.
    views: `(key, images, index, widths) -> views`, two pairs of (images,
      columns).
    instances: `(frames, columns) -> rows, weights`, applied last; the loss
      compares the rows.
    momentum: EMA decay of the target at the first step. With 0 and without
      `steps` the target equals the online network after each step.
    steps: optimizer steps of the stage, over which the momentum grows to 1
      along a cosine (section 3.1). None keeps the momentum constant.
    predict: False leaves out the predictor; the features then collapse.
    axis_name: the axis of the devices that share the weighted mean of the loss.
  """
  heads = {'projector': projector}
  if predict:
    heads['predictor'] = predictor

  def init(key, batch):
    params, statistics = networks.init(
      {'encoder': encoder, **heads}, key, plain(batch['image'])
    )
    target = {
      'params': {name: params[name] for name in ONLINE},
      'batch_stats': {name: statistics[name] for name in ONLINE},
    }
    return params, {
      'batch_stats': statistics,
      'target': jax.tree.map(jnp.copy, target),
    }

  def branch(parts, params, statistics, features, columns):
    """Rows of one view from the last part, their weights, new statistics."""
    outputs, statistics = networks.apply(
      parts, params, statistics, features, train=True, mask=columns >= 0
    )
    *_, last = outputs.values()
    return *instances(last, columns), statistics

  def project(parts, params, statistics, views):
    """(rows, weights) of each view, all features, and the new statistics."""
    features, statistics = networks.encode_each(
      encoder, params, statistics, views
    )
    rows = []
    for feature, (_, columns) in zip(features, views, strict=True):
      *found, statistics = branch(parts, params, statistics, feature, columns)
      rows.append(found)
    return rows, jnp.concatenate(features), statistics

  def loss(params, method_state, batch, key, step):
    del step
    both = views(key, batch['image'], batch['index'], batch.get('width'))
    target = method_state['target']
    ((p1, shown1), (p2, shown2)), features, statistics = project(
      heads, params, method_state['batch_stats'], both
    )
    ((z1, seen1), (z2, _)), _, updated = jax.lax.stop_gradient(
      project(
        {'projector': projector}, target['params'], target['batch_stats'], both
      )
    )
    # A row counts only where both views show it.
    options = {'weights': shown1 * shown2, 'axis_name': axis_name}
    cosine = -(
      losses.negative_cosine(p1, z2, **options)
      + losses.negative_cosine(p2, z1, **options)
    )
    metrics = {
      'cosine': cosine / 2,
      'projection_std': losses.feature_spread(z1, seen1 > 0)['std'],
      **losses.feature_spread(
        jax.lax.stop_gradient(features), networks.shown(both)
      ),
    }
    state = {
      'batch_stats': statistics,
      'target': {**target, 'batch_stats': updated},
    }
    return 4 - 2 * cosine, (state, metrics)

  def after_step(params, method_state, step):
    share = 1 - momentum
    if steps is not None:
      # `step` is 1 after the first step, whose update has the base momentum.
      share *= (jnp.cos(jnp.pi * (step - 1) / steps) + 1) / 2
    target = method_state['target']
    online = {name: params[name] for name in ONLINE}
    moved = optax.incremental_update(online, target['params'], share)
    return method_state | {'target': {**target, 'params': moved}}

  return Method(
    init=init, loss=loss, encode=encoding(encoder), after_step=after_step
  )
