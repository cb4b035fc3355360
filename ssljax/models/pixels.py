"""The baseline without an encoder, which every representation has to beat."""

import flax.linen as nn
from jaxtyping import Array, Bool, Float


class Pixels(nn.Module):
  """The flattened image as its own features, without parameters."""

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'b h w c'],
    *,
    train: bool = False,
    mask: Bool[Array, 'b'] | None = None,
  ) -> Float[Array, 'b d']:
    # Part of every encoder's signature; this encoder ignores both.
    del train, mask
    return images.reshape(images.shape[0], -1)
