"""SwAV (arXiv 2006.09882): predict a view's cluster from the other views.

The clusters are prototypes, which are learned online. Sinkhorn's algorithm
spreads the codes of a batch evenly over the prototypes, because otherwise all
views could end up in one cluster.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.clustering import perplexity
from ssljax.core import Method
from ssljax.errors import check_known
from ssljax.methods._inference import encoding, frames_shown
from ssljax.methods._queue import enqueue
from ssljax.models import networks
from ssljax.models.instances import Instances

ASSIGNED = 2  # the number of views that have codes: the large views


def swav(
  encoder: nn.Module,
  projector: nn.Module,
  *,
  views: Views,
  instances: Instances,
  prototypes: int = 64,
  temperature: float = 0.1,
  epsilon: float = 0.05,
  iterations: int = 3,
  codes: str = 'soft',
  queue_steps: int = 0,
  queue_from: int = 0,
  normalize: bool = True,
  axis_name: str | None = None,
) -> Method:
  """Swapped prediction between the views of an image (eq. 1 to 6).

  Projections and prototypes are normalised in the forward pass, whereas the
  paper's code renormalises the prototypes in place after each step. To keep the
  prototypes fixed in the first steps, use the optimizer's option `hold`.

  State: 'queue' holds the projections of the last `queue_steps` steps for each
  of the two large views. These rows take part only in the sums of Sinkhorn's
  algorithm. The queue is used from the step `queue_from` on, and only once it
  is full.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`.
    views: `(key, images, index, widths) -> views`, pairs of (images, columns):
      two large views and any number of small views. Small views have no codes,
      so that no view predicts them.
    instances: `(projections, columns) -> rows, weights`, applied after the
      projector.
    prototypes: K, the number of prototypes.
    temperature: divides the scores of the prediction.
    epsilon: weight of the entropy in Sinkhorn's algorithm; the larger the
      weight, the softer the codes.
    iterations: iterations of Sinkhorn's algorithm.
    codes: 'soft', as in the paper's results, or 'hard', which rounds a code to
      a single cluster (section 3.1).
    queue_steps: the number of steps that the queue remembers; 0 for no queue.
    queue_from: the first step that uses the queue.
    normalize: False keeps the lengths of projections and prototypes, to show
      the effect of normalisation.
    axis_name: the axis of the devices whose rows together are spread evenly
      over the prototypes.

  Raises:
    UserError: the kind of codes is unknown.
  """
  check_known('kind of codes', codes, ('soft', 'hard'))
  parts = {'encoder': encoder, 'projector': projector}
  unit = losses.normalize if normalize else lambda x: x.astype(jnp.float32)

  def init(key, batch):
    network_key, prototype_key = jax.random.split(key)
    images = plain(batch['image'])
    params, statistics = networks.init(parts, network_key, images)
    rows = jax.eval_shape(rows_of_a_view, key, params, statistics, batch)
    count, width = rows.shape
    kernel = jax.random.normal(prototype_key, (width, prototypes))
    params['prototypes'] = {'kernel': kernel / jnp.sqrt(width)}
    state = {'batch_stats': statistics}
    if queue_steps:
      length = queue_steps * count
      state['queue'] = {
        'rows': jnp.zeros((ASSIGNED, length, width)),
        'weights': jnp.zeros((ASSIGNED, length)),
        'pointer': jnp.zeros((), jnp.int32),
        'filled': jnp.zeros((), jnp.int32),
      }
    return params, state

  def rows_of_a_view(key, params, statistics, batch):
    (images, columns), *_ = views(
      key, batch['image'], batch['index'], batch.get('width')
    )
    outputs, _ = networks.apply(parts, params, statistics, images, train=False)
    return instances(outputs['projector'], columns)[0]

  def scores_of(params, rows):
    table = unit(params['prototypes']['kernel'].T)
    return jnp.matmul(rows, table.T, precision=Precision.HIGHEST)

  def own_part(queued):
    """This device's share of the queue.

    Sinkhorn's sums over all devices then count each row once.
    """
    share = queued.shape[1] // parallel.size(axis_name)
    start = parallel.rank(axis_name) * share
    return jax.lax.dynamic_slice_in_dim(queued, start, share, axis=1)

  def assign(params, rows, weights, queue, step):
    """The codes of the large views, without a gradient."""
    count = rows.shape[1]
    if queue is not None:
      full = queue['filled'] >= queue['rows'].shape[1]
      used = (full & (step >= queue_from)).astype(jnp.float32)
      rows = jnp.concatenate([rows, own_part(queue['rows'])], axis=1)
      older = used * own_part(queue['weights'])
      weights = jnp.concatenate([weights, older], axis=1)
    found = [
      losses.sinkhorn(
        scores,
        epsilon=epsilon,
        iterations=iterations,
        weights=shown,
        axis_name=axis_name,
      )[:count]
      for scores, shown in zip(scores_of(params, rows), weights, strict=True)
    ]
    found = jax.lax.stop_gradient(jnp.stack(found))
    if codes == 'hard':
      found = jax.nn.one_hot(found.argmax(axis=-1), prototypes)
    return found

  def renewed(queue, rows, weights):
    rows, weights = jax.lax.stop_gradient((rows, weights))
    rows, weights = (
      jnp.stack([parallel.gather(view, axis_name) for view in each])
      for each in (rows, weights)
    )
    moved = enqueue(queue, {'rows': rows, 'weights': weights}, axis=1)
    filled = queue['filled'] + rows.shape[1]
    return moved | {'filled': jnp.minimum(filled, queue['rows'].shape[1])}

  def loss(params, method_state, batch, key, step):
    seen = views(key, batch['image'], batch['index'], batch.get('width'))
    features, rows, weights, statistics = networks.encode_sizes(
      encoder,
      {'projector': projector},
      params,
      method_state['batch_stats'],
      seen,
      instances,
    )
    rows = unit(rows)
    queue = method_state.get('queue')
    large, shown = rows[:ASSIGNED], weights[:ASSIGNED]
    scores = scores_of(params, rows)
    value = losses.swapped_prediction(
      scores,
      assign(params, large, shown, queue, step),
      temperature=temperature,
      weights=weights,
      axis_name=axis_name,
    )
    state = {'batch_stats': statistics}
    if queue is not None:
      state['queue'] = renewed(queue, large, shown)
    nearest = jax.nn.one_hot(scores[0].argmax(axis=-1), prototypes)
    shares = parallel.mean((shown[0][:, None] * nearest).sum(axis=0), axis_name)
    metrics = {
      'loss_at_chance': jnp.log(1.0 * prototypes),
      'clusters': perplexity(shares),
      **losses.feature_spread(
        jax.lax.stop_gradient(jnp.concatenate(features[:ASSIGNED])),
        networks.shown(seen[:ASSIGNED]),
      ),
    }
    return value, (state, metrics)

  def predict(params, method_state, images, widths=None):
    outputs, _ = networks.apply(
      parts,
      params,
      method_state['batch_stats'],
      plain(images),
      train=False,
      mask=frames_shown(encoder, images, widths),
    )
    return scores_of(params, unit(outputs['projector']))

  return Method(init=init, loss=loss, encode=encoding(encoder), predict=predict)
