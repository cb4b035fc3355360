"""Classification with labels: the supervised method on images."""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks


def supervised(
  encoder,
  head,
  *,
  views=None,
  freeze: tuple[str, ...] = (),
  axis_name: str | None = None,
) -> Method:
  """Softmax cross-entropy on `batch['label']`, int32 `(batch,)`.

  Args:
    encoder: module, images to `(batch, d)`.
    head: module, features to logits `(batch, classes)`.
    views: `(key, images, index, widths)` to one view; None trains on plain
      images.
    freeze: ('encoder',) runs it in inference mode behind `stop_gradient`, so
      that its statistics stay; the optimizer must freeze it too.
    axis_name: the devices that share the mean and the batch statistics.
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
    # -1 is an image without a label.
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
