"""What losses over rows share: unit rows, means without padding, the spread."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Shaped

from ssljax import parallel

# By default a GPU rounds the factors of a float32 product to 10 bits and a TPU
# to 8. Divided by a temperature of 0.1, that is an error of 1e-2 or more in a
# logit.
matmul = functools.partial(jnp.matmul, precision=Precision.HIGHEST)


def normalize(x: Float[Array, '... d']) -> Float[Array, '... d']:
  """x / |x| over the last axis, in `promote_types(x.dtype, float32)`.

  A row shorter than eps is multiplied by 1/eps instead. Value and gradient are
  then finite at zero, where x / |x| has neither. eps is 1e-6, or the smallest
  normal number of x's own dtype where that number is larger (fp16: 6e-5),
  because 1/eps multiplies the gradient, which flows back in x's dtype.
  """
  x = jnp.asarray(x)
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  tiny = jnp.finfo(jnp.promote_types(x.dtype, jnp.float16)).tiny
  eps = max(1e-6, float(tiny))
  x = x.astype(dtype)
  # Without keepdims, because XLA moved the reshape of keepdims to different
  # places in a loss and in its retrieval accuracy, and then computed all
  # products twice.
  squares = jnp.sum(jnp.square(x), axis=-1)
  return x * jax.lax.rsqrt(jnp.maximum(squares, eps**2))[..., None]


def weighted_mean(
  values: Float[Array, 'rows'],
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """This device's share of Σ w·value / Σ w, with sums over all devices.

  `parallel.mean` of the shares is the global weighted mean, or 0 where all
  weights are 0. Each share is divided by the mean over devices of the local
  Σ w. Averaging local weighted means would be wrong, because a row would count
  more on a device with less weight in all. Without weights the share is the
  local mean.
  """
  if weights is None:
    return jnp.mean(values)
  weights = jnp.asarray(weights).astype(values.dtype)
  # Selected rather than multiplied by 0: a row of weight 0 may hold anything,
  # and 0 · inf is NaN.
  values = jnp.where(weights > 0, values, 0)
  total = parallel.mean(jnp.sum(weights), axis_name)
  return jnp.sum(weights * values) / jnp.where(total > 0, total, 1)


def check_rows(**arrays: Any) -> None:
  """Refuses arrays that are not matrices of one shape with matching vectors.

  Otherwise a forgotten axis would broadcast and give a wrong loss silently.

  Args:
    **arrays: by name. The first array is the matrix that the others have to
      match; 'weights' and 'groups' are vectors, and may be None.

  Raises:
    ValueError: an array has another shape.
  """
  (first, matrix), *others = arrays.items()
  shape = jnp.shape(matrix)
  if len(shape) != 2:
    raise ValueError(
      f'{first} has shape {shape}, expected (rows, d); flatten leading axes '
      f'into rows.'
    )
  for name, array in others:
    vector = name in ('weights', 'groups')
    expected = shape[:1] if vector else shape
    if array is not None and jnp.shape(array) != expected:
      raise ValueError(
        f'{name} has shape {jnp.shape(array)}, expected {expected} to match '
        f'{first} of shape {shape}.'
      )


def feature_spread(
  features: Float[Array, 'b t d'] | Float[Array, 'b d'],
  mask: Bool[Array, 'b *t'] | None = None,
) -> dict[str, Float[Array, '']]:
  """Three standard deviations of unit features, and their effective rank.

  The standard deviations are means over the dimensions, times √d: 1 for
  features that spread evenly over the sphere, 0 for a collapse. On sequences
  'std' alone does not rule out a collapse: features that encode only the
  position keep it at 0.96, and only 'std_across_images' reveals them.

  Args:
    features: the features on one device. Averaged over devices, these figures
      describe each device's part of the batch, not the whole batch.
    mask: which rows count; None counts all.

  Returns:
    'std': over all rows. 'effective_rank': (Σλ)² / Σλ² of the eigenvalues λ of
    the covariance, between 1 and d. On sequences also 'std_across_images', over
    the images at one position, and 'std_across_positions', over the positions
    of one image; a position counts as often as images show it, and an image as
    often as it has positions.
  """
  unit = normalize(features) * jnp.sqrt(features.shape[-1] * 1.0)
  if mask is not None:
    return _masked_spread(unit, mask)
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


def _masked_spread(
  unit: Float[Array, 'b *t d'], mask: Bool[Array, 'b *t']
) -> dict[str, Float[Array, '']]:
  """`feature_spread` of the unit features, times √d, that `mask` admits."""
  weights = mask.astype(unit.dtype)

  def centred(axes):
    """Features less their mean over the axes, with roots of shares as factors.

    The sum of squares over the axes is then the variance.
    """
    total = jnp.maximum(weights.sum(axes, keepdims=True), 1)
    shares = (weights / total)[..., None]
    mean = jnp.sum(shares * unit, axes, keepdims=True)
    return jnp.sqrt(shares) * (unit - mean)

  def deviation(axes):
    each = jnp.sqrt(jnp.sum(centred(axes) ** 2, axes)).mean(axis=-1)
    counts = weights.sum(axes)
    return jnp.sum(counts * each) / jnp.maximum(counts.sum(), 1)

  every = tuple(range(mask.ndim))
  rows = centred(every).reshape(-1, unit.shape[-1])
  covariance = rows.T @ rows
  squares = jnp.sum(covariance**2)
  found = {
    'std': deviation(every),
    'effective_rank': jnp.trace(covariance) ** 2 / jnp.maximum(squares, 1e-12),
  }
  if mask.ndim == 2:
    found |= {
      'std_across_images': deviation((0,)),
      'std_across_positions': deviation((1,)),
    }
  return found
