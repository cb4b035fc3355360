"""What an encoder sees of a uint8 image that no view has changed."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def plain(images: UInt8[Array, 'b h w c']) -> Float[Array, 'b h w c']:
  """The image as it is, in the value range of the views: about [-1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1
