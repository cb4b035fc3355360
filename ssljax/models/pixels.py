"""No encoder at all: the baseline that every representation has to beat."""

import flax.linen as nn
from jaxtyping import Array, Float


class Pixels(nn.Module):
  """The image itself as its features; no parameters."""

  @nn.compact
  def __call__(
    self, images: Float[Array, 'b h w c'], *, train: bool = False
  ) -> Float[Array, 'b d']:
    del train
    return images.reshape(len(images), -1)
