"""Reading text: an encoder, a head and CTC (Graves et al., 2006)."""

import flax.linen as nn
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.methods._labels import Learner, seen


def recognize(
  encoder: nn.Module,
  head: nn.Module,
  *,
  views: Views | None = None,
  freeze: tuple[str, ...] = (),
  axis_name: str | None = None,
) -> Method:
  """Supervised recognition with `batch['label']`, int32 `(batch, length)`.

  Labels are padded on the right with 0, which is also the blank of CTC. A label
  that needs more frames than its image has does not count.

  Args:
    encoder: module from images to `(batch, time, d)`.
    head: module from features to logits `(batch, time, classes)`.
    views: `(key, images, index, widths) -> views`, one pair of (images,
      columns). None trains on plain images.
    freeze: ('encoder',) stops the gradient after the encoder, which also saves
      the encoder's backward pass. The optimizer must freeze the encoder too.
    axis_name: the axis of the devices that share the weighted mean of the loss.
  """
  learner = Learner({'encoder': encoder, 'head': head}, freeze)

  def loss(params, method_state, batch, key, step):
    del step
    images, shown = seen(learner, views, key, batch)
    outputs, statistics = learner.outputs(
      params, method_state['batch_stats'], images, shown, train=True
    )
    values, possible = losses.ctc.values(outputs, batch['label'], shown)
    weights = possible.astype(jnp.float32)
    value = losses.weighted_mean(values, weights, axis_name)
    state = {'batch_stats': statistics}
    return value, (state, {'infeasible': 1 - weights.mean()})

  return Method(
    init=learner.init,
    loss=loss,
    encode=encoding(encoder),
    predict=learner.predict,
    labelled=True,
    summed=True,
  )
