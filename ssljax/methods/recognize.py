"""Reading: an encoder, two fully connected layers and CTC (Graves, 2006)."""

import jax
import jax.numpy as jnp
import optax

from ssljax import losses
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding


def recognize(
  encoder,
  head,
  *,
  views=None,
  freeze: tuple[str, ...] = (),
  axis_name: str | None = None,
) -> Method:
  """Supervised recognition on `batch['label']`, int32 `(batch, length)`.

  Labels are padded on the right with 0, which is also CTC's blank.

  Args:
    encoder: module, images to `(batch, time, d)`.
    head: module, features to logits `(batch, time, classes)`.
    views: `(key, images, index, widths)` to one view; None trains on plain
      images.
    freeze: ('encoder',) runs it behind `stop_gradient`, which also removes
      its backward pass; the optimizer must freeze it too.
    axis_name: the devices that share the mean.
  """

  def logits(params, images):
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
    # optax gives a label that needs more frames than there are a finite loss
    # of about 1e5 with a meaningless gradient: such samples are left out.
    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
    needed = (labels > 0).sum(axis=1) + repeats.sum(axis=1)
    feasible = (needed <= shown).astype(jnp.float32)
    value = losses.weighted_mean(values, feasible, axis_name)
    metrics = {'infeasible': 1 - feasible.mean()}
    return value, (method_state, metrics)

  def shown_frames(outputs, images, widths, columns):
    """Frames of each image before the padding on its right, which CTC skips."""
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
