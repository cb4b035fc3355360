"""Reading text: an encoder, a head and CTC (Graves et al., 2006)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding


def recognize(
  encoder: nn.Module,
  head: nn.Module,
  *,
  views: Views | None = None,
  freeze: tuple[str, ...] = (),
  axis_name: str | None = None,
) -> Method:
  """Supervised recognition with `batch['label']`, int32 `(batch, length)`.

  Labels are padded on the right with 0, which is also the blank of CTC.

  Args:
    encoder: module from images to `(batch, time, d)`.
    head: module from features to logits `(batch, time, classes)`.
    views: `(key, images, index, widths) -> views`, one pair of (images,
      columns). None trains on plain images.
    freeze: ('encoder',) stops the gradient after the encoder, which also saves
      the encoder's backward pass. The optimizer must freeze the encoder too.
    axis_name: the axis of the devices that share the weighted mean of the loss.
  """

  def logits(params, images) -> Any:
    features = encoder.apply({'params': params['encoder']}, images)
    if 'encoder' in freeze:
      features = jax.lax.stop_gradient(features)
    return head.apply({'params': params['head']}, features)

  def init(key, batch):
    encoder_key, head_key = jax.random.split(key)
    images = plain(batch['image'])
    encoder_params = encoder.init(encoder_key, images)['params']
    features = encoder.apply({'params': encoder_params}, images)
    head_params = head.init(head_key, features)['params']
    return {'encoder': encoder_params, 'head': head_params}, {'batch_stats': {}}

  def loss(params, method_state, batch, key, step):
    del step
    widths = batch.get('width')
    if views is None:
      images, columns = plain(batch['image']), None
    else:
      ((images, columns),) = views(key, batch['image'], batch['index'], widths)
    outputs = logits(params, images)
    labels = batch['label']
    shown = shown_frames(outputs, images, widths, columns)
    padding = jnp.arange(outputs.shape[1]) >= shown[:, None]
    values = optax.ctc_loss(
      outputs.astype(jnp.float32),
      padding.astype(jnp.float32),
      labels,
      (labels == 0).astype(jnp.float32),
    )
    # If a label needs more frames than the image has, optax gives a finite loss
    # of about 1e5 with a meaningless gradient. These samples are left out.
    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
    needed = (labels > 0).sum(axis=1) + repeats.sum(axis=1)
    feasible = (needed <= shown).astype(jnp.float32)
    value = losses.weighted_mean(values, feasible, axis_name)
    metrics = {'infeasible': 1 - feasible.mean()}
    return value, (method_state, metrics)

  def shown_frames(outputs, images, widths, columns):
    """The number of frames of each image that are not padding on its right."""
    time = outputs.shape[1]
    if widths is None:
      return jnp.full(len(outputs), time)
    if columns is None:
      return -(-widths * time // images.shape[2])
    return (jnp.arange(1, time + 1) * (columns >= 0)).max(axis=1)

  def predict(params, method_state, images):
    del method_state
    return logits(params, plain(images))

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=predict,
    labelled=True,
  )
