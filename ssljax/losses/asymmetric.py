"""Losses in which one view predicts the other, without negatives."""

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
  """-mean cos(prediction, target): one direction of SimSiam's loss (eq. 1).

  The caller stops the gradient of the target and averages the loss over the
  two directions (SimSiam eq. 4).

  Scale, as in SimSiam: -1 where prediction and target are equal, 0 where they
  are orthogonal. BYOL's squared distance between unit vectors (eq. 2) equals
  2 + 2 · this loss.

  Args:
    prediction: rows of any float dtype; the loss is computed in at least
      float32.
    target: what each row of `prediction` should predict, in the same order.
    weights: the weight of each row in the mean, at least 0. A row of weight 0
      is padding and may hold anything.
    axis_name: the axis of the devices that share the mean; see
      `weighted_mean`.

  Returns:
    This device's share of the loss, a scalar in `promote_types(dtype,
    float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
  """
  rows.check_rows(prediction=prediction, target=target, weights=weights)
  if weights is not None:
    valid = jnp.asarray(weights)[:, None] > 0
    prediction = jnp.where(valid, prediction, 0)
    target = jnp.where(valid, target, 0)
  cosine = jnp.sum(rows.normalize(prediction) * rows.normalize(target), axis=-1)
  return rows.weighted_mean(-cosine, weights, axis_name)
