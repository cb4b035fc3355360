"""The functions `encode` and `predict`, as most methods need them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax.augment.pixels import plain
from ssljax.models import networks


def encoding(
  encoder: nn.Module, *, prepare: Callable[[jax.Array], jax.Array] = plain
) -> Callable[..., jax.Array]:
  """Makes `Method.encode` for a method whose part 'encoder' is this module.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    prepare: turns uint8 images into the kind of input that the encoder was
      trained on.
  """

  def encode(params, method_state, images):
    statistics = method_state['batch_stats']
    return networks.features(encoder, params, statistics, prepare(images))

  return encode


def drawing(parts: networks.Parts) -> Callable[..., jax.Array]:
  """Makes `Method.predict` for a method that draws pictures.

  The pictures that `predict` returns are clipped to [-1, 1].

  Args:
    parts: the encoder and the decoder, by name.
  """

  def predict(params, method_state, images):
    statistics = method_state['batch_stats']
    pictures, _, _ = networks.draw(
      parts, params, statistics, plain(images), train=False
    )
    return jnp.clip(pictures, -1, 1)

  return predict
