"""Functions of a `Method` that most methods share: what a trained one shows."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax.augment.pixels import plain
from ssljax.models import networks


def encoding(
  encoder: nn.Module, *, prepare: Callable[[jax.Array], jax.Array] = plain
) -> Callable[..., jax.Array]:
  """`Method.encode` of a network whose part `encoder` is this module.

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    prepare: turns uint8 images into what the encoder was trained on.
  """

  def encode(params, method_state, images):
    statistics = method_state['batch_stats']
    return networks.features(encoder, params, statistics, prepare(images))

  return encode


def drawing(parts: networks.Parts) -> Callable[..., jax.Array]:
  """`Method.predict` of a network that draws; pictures in [-1, 1].

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
