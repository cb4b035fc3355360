"""DeepCluster (arXiv 1807.05520): cluster the features, learn the clusters.

k-means on the features of all examples gives each a pseudo-label; a classifier
and the encoder learn these for an epoch; then all is clustered anew, and the
classifier starts from nothing.
"""

import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.pixels import plain
from ssljax.clustering import kmeans, perplexity, whiten
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Classifier
from ssljax.models.instances import plain_columns


def deepcluster(
  encoder,
  *,
  views,
  instances,
  clusters: int = 64,
  iterations: int = 20,
  examples: int | None = None,
  axis_name: str | None = None,
) -> Method:
  """Classify pseudo-labels (eq. 1 and 2), each cluster with equal weight.

  Features are whitened and normalised before k-means (section 3.3). The paper
  samples examples evenly over clusters; here a row counts by one over the size
  of its cluster, which has the same mean. An empty cluster takes over a row
  that fits its own worst; see `kmeans`.

  State: 'assignments', the cluster of each row of each example, and 'sizes' of
  the clusters; both are drawn at random until the first epoch begins.

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    views: `(key, images, index, widths)` to (images, columns) of any number.
    instances: `(features, columns) -> rows, weights`.
    clusters: k.
    iterations: of k-means.
    examples: their number; `batch['index']` is below it.
    axis_name: the devices that share the mean and the batch statistics.
  """
  head = Classifier(clusters)

  encode = encoding(encoder)

  def init(key, batch):
    network_key, head_key, label_key = jax.random.split(key, 3)
    images = plain(batch['image'])
    params, statistics = networks.init(
      {'encoder': encoder}, network_key, images
    )
    outputs = networks.features(encoder, params, statistics, images)
    rows, _ = instances(outputs, plain_columns(outputs, encoder))
    params['head'] = head.init(head_key, rows)['params']
    count = (examples or 1) * len(rows) // len(images)
    return params, {
      'batch_stats': statistics,
      'assignments': jax.random.randint(label_key, (count,), 0, clusters),
      'sizes': jnp.ones(clusters),
    }

  def before_epoch(params, method_state, features, key):
    cluster_key, head_key = jax.random.split(key)
    found = jnp.asarray(features())
    rows, weights = instances(found, plain_columns(found, encoder))
    rows = whiten(rows, weights)
    _, labels = kmeans(
      cluster_key, rows, weights, clusters=clusters, iterations=iterations
    )
    sizes = jnp.zeros(clusters).at[labels].add(weights)
    fresh = head.init(head_key, jnp.zeros((1, found.shape[-1])))['params']
    renewed = {'assignments': labels, 'sizes': sizes}
    return {**params, 'head': fresh}, {**method_state, **renewed}, ('head',)

  def loss(params, method_state, batch, key, step):
    del step
    shown = views(key, batch['image'], batch['index'], batch.get('width'))
    images, columns = (
      jnp.concatenate(each) for each in zip(*shown, strict=True)
    )
    outputs, statistics = networks.apply(
      {'encoder': encoder},
      params,
      method_state['batch_stats'],
      images,
      train=True,
    )
    features = outputs['encoder']
    rows, weights = instances(features, columns)
    logits = head.apply({'params': params['head']}, rows)
    each = len(rows) // len(images)
    places = batch['index'][:, None] * each + jnp.arange(each)
    labels = jnp.tile(
      method_state['assignments'][places.reshape(-1)], len(shown)
    )
    balanced = weights / jnp.maximum(method_state['sizes'][labels], 1)
    values, hits = losses.classification(logits, labels)
    value = losses.weighted_mean(values, balanced, axis_name)
    shares = jnp.zeros(clusters).at[labels].add(weights)
    metrics = {
      'accuracy': losses.weighted_mean(hits, balanced, axis_name),
      'loss_at_chance': jnp.log(1.0 * clusters),
      'clusters': perplexity(parallel.mean(shares, axis_name)),
      **losses.feature_spread(jax.lax.stop_gradient(features)),
    }
    return value, ({**method_state, 'batch_stats': statistics}, metrics)

  def predict(params, method_state, images):
    features = encode(params, method_state, images)
    return head.apply({'params': params['head']}, features)

  return Method(
    init=init,
    loss=loss,
    encode=encode,
    before_epoch=before_epoch,
    predict=predict,
  )
