"""Lab colours, and the bins of their chromaticity (arXiv 1603.08511).

RGB values are sRGB in [0, 1] under D65. L is in 0..100, a and b are in about
-110..110.
"""

import functools
from types import ModuleType
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

GRID, BINS = 10, 313
Values = TypeVar('Values', jax.Array, np.ndarray)
_TO_XYZ = np.array(
  (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
  )
)
_WHITE = np.array((0.95047, 1.0, 1.08883))


def to_lab(
  rgb: Float[Values, '... 3'], np: ModuleType = jnp
) -> Float[Values, '... 3']:
  """Converts sRGB to (L, a, b).

  Args:
    rgb: sRGB values in [0, 1].
    np: the array module that computes, `jax.numpy` or NumPy.
  """
  bent = ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4
  xyz = np.where(rgb > 0.04045, bent, rgb / 12.92) @ _TO_XYZ.T / _WHITE
  # The root is finite even where `where` does not choose it, because otherwise
  # the gradient is NaN there.
  root = np.cbrt(np.maximum(xyz, 0.008856))
  f = np.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
  x, y, z = f[..., 0], f[..., 1], f[..., 2]
  return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def to_rgb(lab: Float[Array, '... 3']) -> Float[Array, '... 3']:
  """Converts (L, a, b) to sRGB, clipped to [0, 1]."""
  y = (lab[..., 0] + 16) / 116
  f = jnp.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
  xyz = jnp.where(f > 0.206893, f**3, (f - 16 / 116) / 7.787) * _WHITE
  linear = jnp.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0, 1)
  bent = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
  return jnp.where(linear > 0.0031308, bent, 12.92 * linear)


@functools.cache
def bins() -> Float[np.ndarray, '313 2']:
  """The centres of the ab bins, on a grid of step 10.

  The paper keeps the 313 bins that are in gamut. On this grid the displayable
  colours fall into only 261 bins. This function therefore keeps the 313 grid
  points nearest to a displayable colour: these 261 bins and the bins around
  them, which soft encoding needs at the edge of the gamut.
  """
  levels = np.linspace(0, 1, 33)
  rgb = np.stack(np.meshgrid(*[levels] * 3, indexing='ij'), axis=-1)
  chroma = to_lab(rgb.reshape(-1, 3), np)[:, 1:]
  axis = np.arange(-120, 121, GRID)
  grid = np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2)
  squares = (
    (grid**2).sum(1)[:, None] - 2 * grid @ chroma.T + (chroma**2).sum(1)
  ).min(axis=1)
  # Rounded, so that the order does not depend on a machine's last bit.
  order = np.lexsort((grid[:, 1], grid[:, 0], np.round(squares, 3)))
  chosen = np.sort(order[:BINS])
  return grid[chosen].astype(np.float32)


def _least(values: Float[Array, '... n'], count: int) -> Float[Array, '... 1']:
  """The `count`-th smallest value along the last axis.

  It takes the minimum `count` times, because XLA's sort on CPU takes fourteen
  times as long.
  """
  places = jnp.arange(values.shape[-1])
  for _ in range(count - 1):
    first = values.argmin(axis=-1, keepdims=True)
    values = jnp.where(places == first, jnp.inf, values)
  return values.min(axis=-1, keepdims=True)


def soft_encode(
  chroma: Float[Array, '... 2'], *, neighbours: int = 5, sigma: float = 5.0
) -> Float[Array, '... 313']:
  """Weights over the nearest bins, a Gaussian of their distance (section 2.1).

  Args:
    chroma: a and b.
    neighbours: the number of bins that share a colour.
    sigma: standard deviation of the Gaussian, in units of ab.
  """
  centres = jnp.asarray(bins())
  squares = (
    jnp.square(chroma).sum(-1, keepdims=True)
    - 2 * chroma @ centres.T
    + jnp.square(centres).sum(-1)
  )
  weights = jnp.exp(-squares / (2 * sigma**2))
  weights = jnp.where(squares <= _least(squares, neighbours), weights, 0)
  return weights / weights.sum(axis=-1, keepdims=True)


def annealed_mean(
  logits: Float[Array, '... 313'], *, temperature: float = 0.38
) -> Float[Array, '... 2']:
  """The annealed mean, which lies between the mode and the mean (eq. 5)."""
  shares = jnp.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
  return shares @ jnp.asarray(bins()) / shares.sum(axis=-1, keepdims=True)


def top_mean(
  logits: Float[Array, '... 313'], *, count: int = 5
) -> Float[Array, '... 2']:
  """The mean colour of the likeliest bins, weighted by probability."""
  shares = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
  shares = jnp.where(-logits <= _least(-logits, count), shares, 0)
  return shares @ jnp.asarray(bins()) / shares.sum(axis=-1, keepdims=True)
