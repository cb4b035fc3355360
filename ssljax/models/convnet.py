"""A small convolutional encoder that keeps the positions of what it sees."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssljax.models.convolution import conv_general_dilated
from ssljax.models.networks import sow


def shares(cells: int, size: int) -> Float[np.ndarray, 'cells size']:
  """The share of each row of an image in each cell, by linear interpolation.

  A product with it is what `jax.image.resize` computes along an axis, and
  converts to ONNX, which `jax.image.resize` does not.
  """
  step = np.float32(size / cells)  # rows of a cell
  centers = (np.arange(cells, dtype=np.float32) + 0.5) * step - 0.5
  far = np.abs(centers[:, None] - np.arange(size, dtype=np.float32))
  # A cell that is larger than a row takes all rows that it covers.
  weights = np.maximum(0, 1 - far / max(step, np.float32(1)))
  return weights / weights.sum(axis=1, keepdims=True)


class ConvNet(nn.Module):
  """Image -> features: strided convolutions, a grid of cells, one Dense layer.

  A ResNet averages its last feature map over all positions. With such a mean, a
  small network must recognise a whole character at every position before it can
  tell two characters apart. Here the Dense layer sees the cells side by side,
  and the network learns single characters in a tenth of the steps
  (docs/notes/2026-11-images.md). The grid has the same size for all image
  sizes, so the encoder accepts patches of an image too.

  The encoder sows its feature maps for decoders, from the finest to the
  coarsest; see `networks.maps`.

  Attributes:
    channels: output channels of each convolution; each one halves the image.
    grid: the number of rows and of columns of cells.
    width: the number of features.
    dtype: compute type; parameters stay float32.
  """

  channels: Sequence[int] = (32, 64, 128)
  grid: int = 6
  width: int = 256
  dtype: jnp.dtype = jnp.float32

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
    cells = (x.shape[0], self.grid, self.grid, x.shape[-1])
    if x.shape != cells:
      rows, columns = (shares(self.grid, size) for size in x.shape[1:3])
      x = jnp.einsum(
        'bhwc,yh,xw->byxc',
        x,
        rows.astype(x.dtype),
        columns.astype(x.dtype),
        precision='highest',
      )
    x = nn.Dense(self.width, dtype=self.dtype)(x.reshape(x.shape[0], -1))
    return nn.LayerNorm(dtype=jnp.float32)(x)
