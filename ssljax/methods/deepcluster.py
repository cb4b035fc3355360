"""DeepCluster (arXiv 1807.05520): cluster the features, classify the clusters.

Before each epoch, k-means clusters the features of all examples. The cluster of
an example is its pseudo-label. During the epoch, the encoder and a new
classifier learn to predict the pseudo-labels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.clustering import kmeans, kmeans_flops, perplexity, whiten
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Classifier
from ssljax.models.instances import Instances, plain_columns


def deepcluster(
  encoder: nn.Module,
  *,
  views: Views,
  instances: Instances,
  clusters: int = 64,
  iterations: int = 20,
  examples: int | None = None,
  axis_name: str | None = None,
) -> Method:
  """Classifies pseudo-labels (eq. 1 and 2), each cluster with equal weight.

  Features are whitened and normalised before k-means (section 3.3). The paper
  samples examples evenly over clusters. Here the weight of a row is one over
  the size of its cluster, so that the loss has the same expectation. An empty
  cluster takes over a row that fits its own centroid badly; see `kmeans`.

  State: 'assignments' is the cluster of each row of each example, and 'sizes'
  is the number of shown rows in each cluster. Until the first epoch begins, the
  assignments are random and the sizes are 1.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    views: `(key, images, index, widths) -> views`, any number of pairs of
      (images, columns).
    instances: `(features, columns) -> rows, weights`.
    clusters: k, the number of clusters.
    iterations: iterations of k-means.
    examples: the number of examples; `batch['index']` is below this number.
    axis_name: the axis of the devices that share the weighted mean of the loss.
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

  def epoch_flops(params, method_state, features, epoch):
    del epoch
    (rows,) = method_state['assignments'].shape
    width = params['head']['Dense_0']['kernel'].shape[0]
    return features() + kmeans_flops(
      rows, width, clusters=clusters, iterations=iterations
    )

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
      mask=columns >= 0,
    )
    features = outputs['encoder']
    rows, weights = instances(features, columns)
    logits: Any = head.apply({'params': params['head']}, rows)
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
      **losses.feature_spread(
        jax.lax.stop_gradient(features), networks.shown(shown)
      ),
    }
    return value, ({**method_state, 'batch_stats': statistics}, metrics)

  def predict(params, method_state, images, widths=None):
    features = encode(params, method_state, images, widths)
    return head.apply({'params': params['head']}, features)

  return Method(
    init=init,
    loss=loss,
    encode=encode,
    before_epoch=before_epoch,
    epoch_flops=epoch_flops,
    predict=predict,
  )
