"""What the losses over rows share: unit rows and means that know padding."""

import functools

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Shaped

from ssljax import parallel

# A GPU rounds float32 products to 10 bits and a TPU to 8 unless told not to;
# divided by a temperature of 0.1 that is 1e-2 of a logit and more.
matmul = functools.partial(jnp.matmul, precision=Precision.HIGHEST)


def normalize(x: Float[Array, '... d']) -> Float[Array, '... d']:
  """x / |x| over the last axis, in `promote_types(x.dtype, float32)`.

  A row shorter than eps is scaled by 1/eps instead, so that value and
  gradient are finite at zero, where x / |x| has neither. eps is 1e-6, or the
  smallest normal number of x's own dtype where that is larger (fp16: 6e-5):
  1/eps multiplies the gradient, which goes back in that dtype.
  """
  x = jnp.asarray(x)
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  tiny = jnp.finfo(jnp.promote_types(x.dtype, jnp.float16)).tiny
  eps = max(1e-6, float(tiny))
  x = x.astype(dtype)
  # Without keepdims: XLA moved that reshape to different places in a loss
  # and in its retrieval accuracy, and then computed all products twice.
  squares = jnp.sum(jnp.square(x), axis=-1)
  return x * jax.lax.rsqrt(jnp.maximum(squares, eps**2))[..., None]


def weighted_mean(
  values: Float[Array, 'rows'],
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """This device's share of Σ w·value / Σ w, the sums over all devices.

  `parallel.mean` of the shares is the global weighted mean, and 0 where all
  weights are: the division is by the mean over devices of the local Σ w. A
  mean of local weighted means would count a row more on a device that holds
  fewer of them. Without weights it is the local mean.
  """
  if weights is None:
    return jnp.mean(values)
  weights = jnp.asarray(weights).astype(values.dtype)
  # By value: 0 · inf is NaN, and a row of weight 0 may hold anything.
  weighted = jnp.where(weights > 0, weights * values, 0)
  total = parallel.mean(jnp.sum(weights), axis_name)
  return jnp.sum(weighted) / jnp.where(total > 0, total, 1)


def check_rows(**arrays) -> None:
  """Refuses anything but matrices of one shape and, beside them, vectors.

  Broadcasting would turn a forgotten axis into a wrong loss without a word.
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
