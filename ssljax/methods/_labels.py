"""What the methods that learn labels share: an encoder, a head, and a mask."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.methods._inference import frames_shown
from ssljax.models import networks


class Learner(NamedTuple):
  """An encoder with a head, as pure functions.

  Attributes:
    parts: the encoder and the head, by name.
    freeze: ('encoder',) runs the encoder in inference mode and stops its
      gradient, which also saves its backward pass. The optimizer must freeze
      the encoder too.
  """

  parts: dict[str, nn.Module]
  freeze: tuple[str, ...] = ()

  def init(self, key: jax.Array, batch: Mapping[str, jax.Array]):
    params, statistics = networks.init(self.parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def outputs(
    self,
    params: Mapping[str, Any],
    statistics: Mapping[str, Any],
    images: Float[Array, 'b h w c'],
    shown: Bool[Array, 'b *time'] | None,
    *,
    train: bool,
  ) -> tuple[Array, Mapping[str, Any]]:
    """Logits of float images, and the new statistics.

    The head standardises features by statistics that it learns only while the
    encoder is frozen. Later they stay, so that the head meets what it knows.
    """
    encoder, head = ({name: part} for name, part in self.parts.items())
    frozen = 'encoder' in self.freeze
    found, statistics = networks.apply(
      encoder,
      params,
      statistics,
      images,
      train=train and not frozen,
      mask=shown,
    )
    features = found['encoder']
    if frozen:
      features = jax.lax.stop_gradient(features)
    found, statistics = networks.apply(
      head, params, statistics, features, train=train and frozen, mask=shown
    )
    return found['head'], statistics

  def shown(
    self, images: Array, widths: Int[Array, 'b'] | None = None
  ) -> Bool[Array, 'b *time']:
    """Which frames of plain images lie before the padding on the right.

    An image without frames counts as one frame.
    """
    encoder = self.parts['encoder']
    found = frames_shown(encoder, images, widths)
    if found is not None:
      return found
    shape = (len(images),)
    if hasattr(encoder, 'stride'):
      shape += (-(-images.shape[2] // encoder.stride),)
    return jnp.ones(shape, bool)

  def predict(self, params, method_state, images, widths=None):
    statistics, images = method_state['batch_stats'], plain(images)
    shown = None if widths is None else self.shown(images, widths)
    return self.outputs(params, statistics, images, shown, train=False)[0]


def seen(
  learner: Learner,
  views: Views | None,
  key: jax.Array,
  batch: Mapping[str, jax.Array],
) -> tuple[Float[Array, 'b h w c'], Bool[Array, 'b *time']]:
  """One view of each image of a batch, and which of its frames show the image.

  Without views the images are plain.
  """
  widths = batch.get('width')
  if views is None:
    images = plain(batch['image'])
    return images, learner.shown(images, widths)
  ((images, columns),) = views(key, batch['image'], batch['index'], widths)
  return images, columns >= 0
