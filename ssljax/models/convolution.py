"""A convolution for the backend at hand.

XLA's CPU convolutions run far below its matrix products, and their gradients
more so. On CPU a convolution is therefore the product of its patches with its
kernel: the same parameters and result, about half the time of a training step
of the default encoder. Accelerators, and kernels with gaps or in groups, keep
XLA's own.
"""

import jax
import jax.numpy as jnp
from jax import lax


def conv_general_dilated(
  inputs: jax.Array,
  kernel: jax.Array,
  strides,
  padding,
  *,
  lhs_dilation=None,
  rhs_dilation=None,
  dimension_numbers=None,
  feature_group_count=1,
  precision=None,
  **kwargs,
) -> jax.Array:
  """Stands in for `lax.conv_general_dilated` in `flax.linen.Conv`.

  Args:
    inputs: `(batch, height, width, channels)`.
    kernel: `(kernel height, kernel width, channels, features)`.
    strides: `(vertical, horizontal)`.
    padding: 'SAME', 'VALID' or pairs of rows and columns.
  """
  dilated = any(
    step != 1 for step in (*(lhs_dilation or ()), *(rhs_dilation or ()))
  )
  if jax.default_backend() != 'cpu' or dilated or feature_group_count != 1:
    return lax.conv_general_dilated(
      inputs,
      kernel,
      strides,
      padding,
      lhs_dilation=lhs_dilation,
      rhs_dilation=rhs_dilation,
      dimension_numbers=dimension_numbers,
      feature_group_count=feature_group_count,
      precision=precision,
      **kwargs,
    )
  window = kernel.shape[:2]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(inputs.shape[1:3], window, strides, padding)
  inputs = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
  rows, columns = (
    (inputs.shape[1 + axis] - window[axis]) // strides[axis] + 1
    for axis in (0, 1)
  )
  patches = [
    inputs[
      :,
      y : y + strides[0] * (rows - 1) + 1 : strides[0],
      x : x + strides[1] * (columns - 1) + 1 : strides[1],
    ]
    for y in range(window[0])
    for x in range(window[1])
  ]
  return jnp.matmul(
    jnp.concatenate(patches, axis=-1),
    kernel.reshape(-1, kernel.shape[-1]),
    precision=precision,
  )
