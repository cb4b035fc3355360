"""DeepCluster-v2 (arXiv 2006.09882, appendix): centroids in place of a head.

A memory keeps the projections of an epoch. They are clustered when the next
epoch begins, and the centroids then serve as the classifier, so that no
classifier has to be trained from scratch in each epoch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.lax import Precision

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.clustering import kmeans, kmeans_flops, perplexity
from ssljax.core import Method
from ssljax.methods._inference import encoding, frames_shown
from ssljax.models import networks
from ssljax.models.instances import Instances, plain_columns


def deepcluster_v2(
  encoder: nn.Module,
  projector: nn.Module,
  *,
  views: Views,
  instances: Instances,
  clusters: int = 64,
  heads: int = 3,
  temperature: float = 0.1,
  iterations: int = 10,
  examples: int | None = None,
  axis_name: str | None = None,
) -> Method:
  """Classifies pseudo-labels by the centroids, in several clusterings at once.

  State: 'memory' holds the latest unit projection of each row of each example,
  and the weight of the row. Before the first epoch, a pass without gradients
  over the unchanged images fills the memory. 'assignments' `(heads, rows)` and
  'centroids' `(heads, k, d)` receive no gradient. Both are random until the
  first epoch begins.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`.
    views: `(key, images, index, widths) -> views`, pairs of (images, columns):
      two large views and any number of small views. The memory keeps the
      projections of the first view.
    instances: `(projections, columns) -> rows, weights`, applied after the
      projector.
    clusters: k, the number of clusters.
    heads: the number of clusterings, which differ in the rows that k-means
      starts from.
    temperature: divides the scores of the prediction.
    iterations: iterations of k-means.
    examples: the number of examples; `batch['index']` is below this number.
    axis_name: the axis of the devices that share the weighted mean of the loss
      and one memory.
  """
  parts = {'encoder': encoder, 'projector': projector}

  def init(key, batch):
    network_key, label_key, centroid_key = jax.random.split(key, 3)
    images = plain(batch['image'])
    params, statistics = networks.init(parts, network_key, images)
    features = networks.features(encoder, params, statistics, images)
    rows, _ = project(params, statistics, features)
    count = (examples or 1) * len(rows) // len(images)
    width = rows.shape[-1]
    centroids = jax.random.normal(centroid_key, (heads, clusters, width))
    return params, {
      'batch_stats': statistics,
      'memory': {
        'rows': jnp.zeros((count, width)),
        'weights': jnp.zeros(count),
      },
      'assignments': jax.random.randint(label_key, (heads, count), 0, clusters),
      'centroids': losses.normalize(centroids),
    }

  def project(params, statistics, features):
    """Unit rows of plain images, and their weights, in inference mode."""
    outputs, _ = networks.apply(
      {'projector': projector}, params, statistics, features, train=False
    )
    columns = plain_columns(features, encoder)
    rows, weights = instances(outputs['projector'], columns)
    return losses.normalize(rows), weights

  def before_epoch(params, method_state, features, key):
    memory = method_state['memory']
    if not memory['weights'].any():
      rows, weights = project(
        params, method_state['batch_stats'], jnp.asarray(features())
      )
      memory = {'rows': rows, 'weights': weights}
    found = [
      kmeans(head_key, **memory, clusters=clusters, iterations=iterations)
      for head_key in jax.random.split(key, heads)
    ]
    centroids, assignments = (
      jnp.stack(each) for each in zip(*found, strict=True)
    )
    renewed = {
      'memory': memory,
      'centroids': centroids,
      'assignments': assignments,
    }
    return params, {**method_state, **renewed}, ()

  def epoch_flops(params, method_state, features, epoch):
    del params
    found = heads * kmeans_flops(
      *method_state['memory']['rows'].shape,
      clusters=clusters,
      iterations=iterations,
    )
    # The first epoch fills the memory, and the steps then keep it filled.
    return found if epoch else found + features()

  def remember(memory, rows, weights, places):
    """Stores the rows of this step, the rows of all devices on each device."""
    rows, weights, places = (
      parallel.gather(x, axis_name)
      for x in jax.lax.stop_gradient((rows, weights, places))
    )
    # A row that the view does not show keeps its earlier projection, because a
    # place past the end is dropped.
    places = jnp.where(weights > 0, places, len(memory['weights']))
    return {
      'rows': memory['rows'].at[places].set(rows, mode='drop'),
      'weights': memory['weights'].at[places].set(1.0, mode='drop'),
    }

  def loss(params, method_state, batch, key, step):
    del step
    shown = views(key, batch['image'], batch['index'], batch.get('width'))
    features, rows, weights, statistics = networks.encode_sizes(
      encoder,
      {'projector': projector},
      params,
      method_state['batch_stats'],
      shown,
      instances,
    )
    rows = losses.normalize(rows)
    each = rows.shape[1] // len(batch['index'])
    places = (batch['index'][:, None] * each + jnp.arange(each)).reshape(-1)
    labels = method_state['assignments'][:, places]
    scores = jnp.einsum(
      'vnd,hkd->hvnk',
      rows,
      method_state['centroids'],
      precision=Precision.HIGHEST,
    )
    # The shape is (heads, views, rows).
    labels = jnp.broadcast_to(labels[:, None], scores.shape[:-1])
    values = optax.softmax_cross_entropy_with_integer_labels(
      scores / temperature, labels
    )
    hits = (scores.argmax(axis=-1) == labels).astype(jnp.float32)
    flat = jnp.broadcast_to(weights, labels.shape).reshape(-1)
    value = losses.weighted_mean(values.reshape(-1), flat, axis_name)
    shares = jnp.zeros(clusters).at[labels[0, 0]].add(weights[0])
    metrics = {
      'accuracy': losses.weighted_mean(hits.reshape(-1), flat, axis_name),
      'loss_at_chance': jnp.log(1.0 * clusters),
      'clusters': perplexity(parallel.mean(shares, axis_name)),
      **losses.feature_spread(
        jax.lax.stop_gradient(jnp.concatenate(features[:2])),
        networks.shown(shown[:2]),
      ),
    }
    memory = remember(method_state['memory'], rows[0], weights[0], places)
    renewed = {'batch_stats': statistics, 'memory': memory}
    return value, ({**method_state, **renewed}, metrics)

  def predict(params, method_state, images, widths=None):
    outputs, _ = networks.apply(
      parts,
      params,
      method_state['batch_stats'],
      plain(images),
      train=False,
      mask=frames_shown(encoder, images, widths),
    )
    rows = losses.normalize(outputs['projector'])
    return rows @ method_state['centroids'][0].T

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    before_epoch=before_epoch,
    epoch_flops=epoch_flops,
    predict=predict,
  )
