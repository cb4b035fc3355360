"""DeepCluster-v2 (arXiv 2006.09882, appendix): centroids in place of a head.

What the projections of an epoch were is clustered at the beginning of the
next; the centroids then are the classifier, so none starts from nothing.
"""

import jax
import jax.numpy as jnp
import optax
from jax.lax import Precision

from ssljax import losses, parallel
from ssljax.augment.pixels import plain
from ssljax.clustering import kmeans, perplexity
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.instances import plain_columns


def deepcluster_v2(
  encoder,
  projector,
  *,
  views,
  instances,
  clusters: int = 64,
  heads: int = 3,
  temperature: float = 0.1,
  iterations: int = 10,
  examples: int | None = None,
  axis_name: str | None = None,
) -> Method:
  """Classify pseudo-labels by the centroids, several clusterings at a time.

  State: 'memory', the unit projection of each row of each example as it was in
  the epoch before, and its weight; before the first epoch it is filled by a
  pass without gradients, of the images as they are. 'assignments' `(heads,
  rows)` and 'centroids' `(heads, k, d)`, which no gradient moves; both are
  drawn at random until the first epoch begins.

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`.
    views: `(key, images, index, widths)` to (images, columns): two large ones,
      the first of which is remembered, and any number of small ones.
    instances: `(projections, columns) -> rows, weights`, applied last.
    clusters: k.
    heads: clusterings, which differ in where k-means starts.
    temperature: of the prediction.
    iterations: of k-means.
    examples: their number; `batch['index']` is below it.
    axis_name: the devices that share the mean and one memory.
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

  def remember(memory, rows, weights, places):
    """Replaces the rows that this step has seen, on all devices alike."""
    rows, weights, places = (
      parallel.gather(x, axis_name)
      for x in jax.lax.stop_gradient((rows, weights, places))
    )
    # What a view does not show, it does not say anything about.
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
    # (heads, views, rows)
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
        jax.lax.stop_gradient(jnp.concatenate(features[:2]))
      ),
    }
    memory = remember(method_state['memory'], rows[0], weights[0], places)
    renewed = {'batch_stats': statistics, 'memory': memory}
    return value, ({**method_state, **renewed}, metrics)

  def predict(params, method_state, images):
    outputs, _ = networks.apply(
      parts, params, method_state['batch_stats'], plain(images), train=False
    )
    rows = losses.normalize(outputs['projector'])
    return rows @ method_state['centroids'][0].T

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    before_epoch=before_epoch,
    predict=predict,
  )
