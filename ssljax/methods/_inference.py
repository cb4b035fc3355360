"""The functions `encode` and `predict`, as most methods need them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ssljax.augment.pixels import plain
from ssljax.models import networks


def frames_shown(
  encoder: nn.Module, images: Array, widths: Int[Array, 'b'] | None
) -> Bool[Array, 'b time'] | None:
  """Which frames of plain images lie before the padding on the right.

  None if all do, and where an image has no frames.

  Args:
    encoder: a sequence encoder, whose `stride` is the number of pixels between
      two frames, or any encoder of single features.
    images: of one size, padded.
    widths: of each image, in pixels, before the padding.
  """
  stride = getattr(encoder, 'stride', None)
  if stride is None or widths is None:
    return None
  frames = -(-images.shape[2] // stride)
  return jnp.arange(frames) * stride < widths[:, None]


def encoding(
  encoder: nn.Module, *, prepare: Callable[[jax.Array], jax.Array] = plain
) -> Callable[..., jax.Array]:
  """Makes `Method.encode` for a method whose part 'encoder' is this module.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    prepare: turns uint8 images into the kind of input that the encoder was
      trained on.
  """

  def encode(params, method_state, images, widths=None):
    statistics = method_state['batch_stats']
    mask = frames_shown(encoder, images, widths)
    return networks.features(encoder, params, statistics, prepare(images), mask)

  return encode


def drawing(parts: networks.Parts) -> Callable[..., jax.Array]:
  """Makes `Method.predict` for a method that draws pictures.

  The pictures that `predict` returns are clipped to [-1, 1].

  Args:
    parts: the encoder and the decoder, by name.
  """

  def predict(params, method_state, images, widths=None):
    del widths  # the padding is part of the picture
    statistics = method_state['batch_stats']
    pictures, _, _ = networks.draw(
      parts, params, statistics, plain(images), train=False
    )
    return jnp.clip(pictures, -1, 1)

  return predict
