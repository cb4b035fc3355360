"""A small convolutional encoder that keeps where things are."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssljax.models.convolution import conv_general_dilated
from ssljax.models.maps import sow


class ConvNet(nn.Module):
  """Strided convolutions, a grid of cells, one Dense: an image's features.

  The mean over a last feature map, as in a ResNet, leaves a small network to
  recognise a whole character at every place before it can tell one; with the
  cells side by side it learns single characters in a tenth of the steps
  (docs/notes/2026-11-images.md). The grid has the same size for all images, so
  patches of one can be seen as well.

  Feature maps are sown for decoders, fine ones first; see `networks.maps`.

  Attributes:
    channels: of each convolution, which halves the image.
    grid: rows and columns of cells.
    width: features.
    dtype: compute type; parameters stay float32.
  """

  channels: Sequence[int] = (32, 64, 128)
  grid: int = 6
  width: int = 256
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'b h w c'], *, train: bool = False
  ) -> Float[Array, 'b d']:
    del train  # every encoder is called alike; nothing here depends on it
    x = jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(self.dtype)
    for level, channels in enumerate(self.channels):
      x = nn.Conv(
        channels,
        (3, 3),
        2,
        dtype=self.dtype,
        conv_general_dilated=conv_general_dilated,
      )(x)
      x = nn.relu(nn.GroupNorm(num_groups=8, dtype=self.dtype)(x))
      sow(self, f'level{level}', x)
    cells = (len(x), self.grid, self.grid, x.shape[-1])
    if x.shape != cells:
      x = jax.image.resize(x, cells, 'linear')
    x = nn.Dense(self.width, dtype=self.dtype)(x.reshape(len(x), -1))
    return nn.LayerNorm(dtype=jnp.float32)(x)
