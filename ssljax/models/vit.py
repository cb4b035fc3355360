"""Vision transformer (arXiv 2010.11929) with fixed positions and mean pooling.

The whole network consists of matrix products, which makes it the faster encoder
on CPU. The positions are fixed sines and cosines, as in MoCo v3 (arXiv
2104.02057), so the network need not learn where a patch is.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssljax.errors import UserError
from ssljax.models.networks import sow
from ssljax.models.sequence import TransformerBlock

# The options of each ViT, by its size.
VITS = {
  'Ti': {'width': 192, 'layers': 12, 'heads': 3},
  'S': {'width': 384, 'layers': 12, 'heads': 6},
  'B': {'width': 768, 'layers': 12, 'heads': 12},
}


def positions(
  rows: int, columns: int, width: int
) -> Float[np.ndarray, 'patches width']:
  """Sines and cosines of a grid's y and x, each a quarter of `width`.

  Args:
    rows: rows of the grid.
    columns: columns of the grid.
    width: a multiple of 4.

  Returns:
    float32 `(rows · columns, width)`.
  """
  rates = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
  y, x = np.mgrid[:rows, :columns].reshape(2, -1)
  parts = [
    wave(axis[:, None] * rates) for axis in (y, x) for wave in (np.sin, np.cos)
  ]
  return np.concatenate(parts, axis=1).astype(np.float32)


class ViT(nn.Module):
  """Image -> features: the mean over the patches of the last layer.

  The encoder sows the patches as its only feature map; see `networks.maps`.

  Attributes:
    width: the number of features of a patch; a multiple of 4 and of `heads`.
    layers: transformer blocks.
    heads: attention heads.
    patch: the side of a patch in pixels; it divides the image's sides.
    dtype: compute type; parameters stay float32.
  """

  width: int = 192
  layers: int = 12
  heads: int = 3
  patch: int = 16
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
    batch, height, width, _ = images.shape
    if height % self.patch or width % self.patch:
      raise UserError(
        f'Found images of {height}x{width} pixels for patches of {self.patch}; '
        f'expected multiples of {self.patch}. Change --config.data.size or '
        '--config.encoder.patch.'
      )
    x = jnp.broadcast_to(images, (batch, height, width, 3)).astype(self.dtype)
    rows, columns = height // self.patch, width // self.patch
    x = x.reshape(batch, rows, self.patch, columns, self.patch, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
    x = nn.Dense(self.width, dtype=self.dtype)(x)
    x = x + positions(rows, columns, self.width).astype(self.dtype)
    for _ in range(self.layers):
      x = TransformerBlock(self.heads, dtype=self.dtype)(x)
    x = nn.LayerNorm(dtype=self.dtype)(x)
    sow(self, 'patches', x.reshape(batch, rows, columns, -1))
    return x.mean(axis=1, dtype=jnp.float32)
