"""Supervised classification of images."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks


def supervised(
  encoder: nn.Module,
  head: nn.Module,
  *,
  views: Views | None = None,
  freeze: tuple[str, ...] = (),
  axis_name: str | None = None,
) -> Method:
  """Softmax cross-entropy with `batch['label']`, int32 `(batch,)`.

  A label of -1 marks an image without a label, which does not count.

  Args:
    encoder: module from images to `(batch, d)`.
    head: module from features to logits `(batch, classes)`.
    views: `(key, images, index, widths) -> views`, one pair of (images,
      columns). None trains on plain images.
    freeze: ('encoder',) stops the gradient after the encoder and runs the
      encoder in inference mode, so that its batch statistics do not change. The
      optimizer must freeze the encoder too.
    axis_name: the axis of the devices that share the weighted mean of the loss.
  """
  parts = {'encoder': encoder, 'head': head}

  def init(key, batch):
    params, statistics = networks.init(parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    images = plain(batch['image'])
    if views is not None:
      ((images, _),) = views(key, batch['image'], batch['index'])
    frozen = 'encoder' in freeze
    outputs, statistics = networks.apply(
      {'encoder': encoder},
      params,
      method_state['batch_stats'],
      images,
      train=not frozen,
    )
    features = outputs['encoder']
    if frozen:
      features = jax.lax.stop_gradient(features)
    outputs, statistics = networks.apply(
      {'head': head}, params, statistics, features, train=True
    )
    labels = batch['label']
    # Images without a label have the label -1.
    weights = (labels >= 0).astype(jnp.float32)
    values, hits = losses.classification(
      outputs['head'], jnp.maximum(labels, 0)
    )
    value = losses.weighted_mean(values, weights, axis_name)
    accuracy = losses.weighted_mean(hits, weights, axis_name)
    return value, ({'batch_stats': statistics}, {'accuracy': accuracy})

  def predict(params, method_state, images):
    outputs, _ = networks.apply(
      parts, params, method_state['batch_stats'], plain(images), train=False
    )
    return outputs['head']

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=predict,
    labelled=True,
  )
