"""Vision transformer (arXiv 2010.11929) with fixed positions and mean pooling.

All of it is matrix products, which makes it the faster encoder on CPU. Fixed
sin-cos positions, as MoCo v3 has them (arXiv 2104.02057), leave nothing to
learn of where a patch is.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssljax.errors import UserError
from ssljax.models.maps import sow
from ssljax.models.sequence import TransformerBlock

# By size.
VITS = {
  'Ti': {'width': 192, 'layers': 12, 'heads': 3},
  'S': {'width': 384, 'layers': 12, 'heads': 6},
  'B': {'width': 768, 'layers': 12, 'heads': 12},
}


def positions(rows: int, columns: int, width: int) -> np.ndarray:
  """Sines and cosines of a grid's y and x, a quarter of `width` each.

  float32 `(rows · columns, width)`; `width` is a multiple of 4.
  """
  rates = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
  y, x = np.mgrid[:rows, :columns].reshape(2, -1)
  parts = [
    wave(axis[:, None] * rates) for axis in (y, x) for wave in (np.sin, np.cos)
  ]
  return np.concatenate(parts, axis=1).astype(np.float32)


class ViT(nn.Module):
  """Image -> features, the mean over the patches of the last layer.

  Attributes:
    width: features of a patch; a multiple of 4 and of `heads`.
    layers: transformer blocks.
    heads: attention heads.
    patch: its side in pixels; divides the image's.
    dtype: compute type; parameters stay float32.
  """

  width: int = 192
  layers: int = 12
  heads: int = 3
  patch: int = 16
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'b h w c'], *, train: bool = False
  ) -> Float[Array, 'b d']:
    del train  # every encoder is called alike; nothing here depends on it
    batch, height, width, _ = images.shape
    if height % self.patch or width % self.patch:
      raise UserError(
        f'Found images of {height}x{width} pixels for patches of {self.patch}; '
        'expected a multiple. Change --config.data.size or '
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
