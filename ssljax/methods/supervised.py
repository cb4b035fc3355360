"""Supervised classification of images."""

import flax.linen as nn
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.methods._labels import Learner, seen


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
  learner = Learner({'encoder': encoder, 'head': head}, freeze)

  def loss(params, method_state, batch, key, step):
    del step
    images, shown = seen(learner, views, key, batch)
    outputs, statistics = learner.outputs(
      params, method_state['batch_stats'], images, shown, train=True
    )
    labels = batch['label']
    values, known = losses.cross_entropy.values(outputs, labels, shown)
    weights = known.astype(jnp.float32)
    value = losses.weighted_mean(values, weights, axis_name)
    guesses, _ = losses.cross_entropy.guess(outputs, shown)
    accuracy = losses.weighted_mean(
      (guesses == labels).astype(jnp.float32), weights, axis_name
    )
    return value, ({'batch_stats': statistics}, {'accuracy': accuracy})

  return Method(
    init=learner.init,
    loss=loss,
    encode=encoding(encoder),
    predict=learner.predict,
    labelled=True,
    summed=True,
  )
