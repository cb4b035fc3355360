"""MoCo (arXiv 1911.05722) and MoCo v2 (arXiv 2003.04297).

Each query must find its own key among a queue of older keys. The keys come from
a slowly moving copy of the network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import encoding
from ssljax.methods._queue import enqueue
from ssljax.models import networks
from ssljax.models.instances import Instances


def moco(
  encoder: nn.Module,
  projector: nn.Module,
  *,
  views: Views,
  instances: Instances,
  temperature: float = 0.2,
  momentum: float = 0.999,
  queue: int = 65536,
  queue_steps: int = 0,
  symmetric: bool = False,
  axis_name: str | None = None,
) -> Method:
  """Momentum contrast; v1 and v2 differ in projector, views and temperature.

  The images of the keys are shuffled over the global batch before they pass the
  target network, and the keys are put back in order after it. The split
  BatchNorm of the modules (`groups`, a constant of the config) then normalises
  a key and its query together with different images. Otherwise the batch
  statistics would reveal which key belongs to a query (section 3.3).

  State: 'target' starts as a copy of the online network and has batch
  statistics of its own. 'queue' holds the rows, which start as random unit
  vectors, the weight and the step of each row, and the 'pointer' to the row
  that is replaced next.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`.
    views: `(key, images, index, widths) -> views`, two pairs of (images,
      columns).
    instances: `(projections, columns) -> rows, weights`, applied after the
      projector.
    temperature: divides the cosines; 0.07 in v1, 0.2 in v2.
    momentum: EMA decay of the target per optimizer step.
    queue: the number of rows in the queue, a multiple of the rows that all
      devices enqueue per step.
    queue_steps: the length of the queue in steps, which replaces `queue` and
      suits any number of rows per step; 0 uses `queue`.
    symmetric: whether each view provides queries for the keys of the other
      view. Both directions use the same queue, and the keys of both views are
      enqueued together.
    axis_name: the axis of the devices whose keys fill one queue.

  Raises:
    UserError: when the state is initialised, for a `queue` that is not a
      multiple of the rows per step.
  """
  parts = {'encoder': encoder, 'projector': projector}

  def init(key, batch):
    network_key, queue_key = jax.random.split(key)
    images = plain(batch['image'])
    params, statistics = networks.init(parts, network_key, images)
    shown = jax.eval_shape(rows_of, key, params, statistics, batch)
    count = len(shown) * (2 if symmetric else 1)
    length = queue_steps * count or queue
    if length % count:
      raise UserError(
        f'Found a queue of {queue} rows; expected a multiple of the {count} '
        f'rows that each step enqueues. Set method.queue to '
        f'{max(1, round(queue / count)) * count}, or change the batch size.'
      )
    rows = jax.random.normal(queue_key, (length, shown.shape[1]))
    return params, {
      'batch_stats': statistics,
      'target': jax.tree.map(
        jnp.copy, {'params': params, 'batch_stats': statistics}
      ),
      'queue': {
        'rows': losses.normalize(rows),
        'weights': jnp.ones(length),
        'step': jnp.zeros(length, jnp.int32),
        'pointer': jnp.zeros((), jnp.int32),
      },
    }

  def rows_of(key, params, statistics, batch):
    (images, columns), *_ = views(
      key, batch['image'], batch['index'], batch.get('width')
    )
    outputs, _ = networks.apply(parts, params, statistics, images, train=False)
    return instances(outputs['projector'], columns)[0]

  def project(params, statistics, images, columns):
    return networks.apply(
      parts, params, statistics, images, train=True, mask=columns >= 0
    )

  def shuffled_keys(key, target, images, columns):
    """Rows of a view from the target, their weights, and new statistics.

    The target sees the images of all devices in a random order.
    """
    size = len(images)
    order = jax.random.permutation(key, size * parallel.size(axis_name))

    def mine(x, order):
      first = parallel.rank(axis_name) * size
      chosen = jax.lax.dynamic_slice_in_dim(order, first, size)
      return parallel.gather(x, axis_name)[chosen]

    outputs, statistics = project(
      target['params'],
      target['batch_stats'],
      mine(images, order),
      mine(columns, order),
    )
    projections = mine(outputs['projector'], jnp.argsort(order))
    rows, weights = instances(projections, columns)
    return jax.lax.stop_gradient((rows, weights, statistics))

  def renewed(older, keys, step):
    # Each view is gathered by itself. If each device's views were concatenated
    # first, the order of the rows would depend on the number of devices.
    rows, weights = (
      jnp.concatenate([parallel.gather(x, axis_name) for x in each])
      for each in zip(*keys, strict=True)
    )
    steps = jnp.full(len(rows), step, jnp.int32)
    new = {'rows': losses.normalize(rows), 'weights': weights, 'step': steps}
    return enqueue(older, new)

  def loss(params, method_state, batch, key, step):
    view_key, order_key = jax.random.split(key)
    first, second = views(
      view_key, batch['image'], batch['index'], batch.get('width')
    )
    statistics, target = method_state['batch_stats'], method_state['target']
    older = method_state['queue']
    pairs = [(first, second), (second, first)][: 2 if symmetric else 1]
    values, keys, found = [], [], []
    for number, (view, other) in enumerate(pairs):
      outputs, statistics = project(params, statistics, *view)
      query, shown = instances(outputs['projector'], view[1])
      positive, visible, updated = shuffled_keys(
        jax.random.fold_in(order_key, number), target, *other
      )
      target = {**target, 'batch_stats': updated}
      options = {
        'weights': shown * visible,
        'queue_weights': older['weights'],
        'axis_name': axis_name,
      }
      values.append(
        losses.info_nce_queue(
          query, positive, older['rows'], temperature=temperature, **options
        )
      )
      found.append(
        losses.queue_accuracy(query, positive, older['rows'], **options)
      )
      keys.append((positive, visible))
      features = outputs['encoder']
    candidates = 1 + older['weights'].sum()
    metrics = {
      'retrieval': sum(found) / len(found),
      'retrieval_chance': 1 / candidates,
      'loss_at_chance': jnp.log(candidates),
      'queue_age': jnp.mean(step - older['step'].astype(jnp.float32)),
      **losses.feature_spread(
        jax.lax.stop_gradient(features), networks.shown([pairs[-1][0]])
      ),
    }
    state = {
      'batch_stats': statistics,
      'target': target,
      'queue': renewed(older, keys, step),
    }
    value = jnp.asarray(sum(values) / len(values))
    return value, (state, metrics)

  def after_step(params, method_state, step):
    del step
    target = method_state['target']
    # The step size of optax is the share of the new value, 1 - momentum.
    moved = optax.incremental_update(params, target['params'], 1 - momentum)
    return method_state | {'target': {**target, 'params': moved}}

  return Method(
    init=init, loss=loss, encode=encoding(encoder), after_step=after_step
  )
