"""How far features spread: measures that tell a collapse from a low loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ssljax.losses.rows import normalize


def feature_spread(
  features: Float[Array, 'b t d'] | Float[Array, 'b d'],
) -> dict[str, Float[Array, '']]:
  """Three standard deviations of unit features, and their effective rank.

  The standard deviations are means over the dimensions, times √d: 1 for
  features that spread evenly over the sphere, 0 for a collapse. On sequences
  'std' alone does not rule out a collapse: features that encode only the
  position keep it at 0.96, and only 'std_across_images' reveals them.

  Args:
    features: the features on one device. Averaged over devices, these figures
      describe each device's part of the batch, not the whole batch.

  Returns:
    'std': over all rows. 'effective_rank': (Σλ)² / Σλ² of the eigenvalues λ of
    the covariance, between 1 and d. On sequences also 'std_across_images', over
    the images at one position, and 'std_across_positions', over the positions
    of one image.
  """
  unit = normalize(features) * jnp.sqrt(features.shape[-1] * 1.0)
  rows = unit.reshape(-1, unit.shape[-1])
  centred = rows - rows.mean(axis=0)
  covariance = centred.T @ centred / len(rows)
  squares = jnp.sum(covariance**2)
  found = {
    'std': rows.std(axis=0).mean(),
    'effective_rank': jnp.trace(covariance) ** 2 / jnp.maximum(squares, 1e-12),
  }
  if features.ndim == 3:
    found |= {
      'std_across_images': unit.std(axis=0).mean(),
      'std_across_positions': unit.std(axis=1).mean(),
    }
  return found
