"""Losses where one side predicts the other and nothing is pushed apart."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ssljax.losses import rows


def negative_cosine(
  prediction: Float[Array, 'rows d'],
  target: Float[Array, 'rows d'],
  *,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """-mean cos(prediction, target): SimSiam eq. 1, one direction of it.

  The caller stops the gradient of the target and averages the two directions
  (SimSiam eq. 4). Scale: -1 at equality, 0 at right angles, as in SimSiam;
  BYOL's squared distance of unit vectors (eq. 2) is 2 + 2 times this.

  Args:
    prediction: any float dtype; computed in at least float32.
    target: row by row.
    weights: of each row in the mean, at least 0. A row of weight 0 is padding
      and may hold anything.
    axis_name: the devices whose weights share the mean; see `weighted_mean`.

  Returns:
    This device's share of the loss, a scalar in `promote_types(dtype,
    float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match.
  """
  rows.check_rows(prediction=prediction, target=target, weights=weights)
  if weights is not None:
    valid = jnp.asarray(weights)[:, None] > 0
    prediction = jnp.where(valid, prediction, 0)
    target = jnp.where(valid, target, 0)
  cosine = jnp.sum(rows.normalize(prediction) * rows.normalize(target), axis=-1)
  return rows.weighted_mean(-cosine, weights, axis_name)
