"""Soft assignments to prototypes, and predicting them from another view.

SwAV (arXiv 2006.09882): `sinkhorn` turns one view's scores into codes, and
`swapped_prediction` asks the other views for them. The caller stops the
gradient of the codes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ssljax import parallel
from ssljax.losses import rows


def sinkhorn(
  scores: Float[Array, 'rows k'],
  *,
  epsilon: float = 0.05,
  iterations: int = 3,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, 'rows k']:
  """Codes that share the rows of all devices evenly among the k prototypes.

  exp(scores / epsilon), its columns and then its rows divided by their sums,
  `iterations` times (SwAV eq. 3 to 5 and the listing of its appendix), in the
  log domain. A column is summed over the rows of all devices. Scale: rows sum
  to 1, since they are divided last, and columns approach rows / k with the
  rows of all devices. The paper's matrix is the transpose and sums to 1, its
  code multiplies that by the rows; both give these codes. Equal scores give
  1/k everywhere, and a constant added to all scores changes nothing.

  Args:
    scores: this device's rows times prototypes, any float dtype; computed in
      at least float32.
    epsilon: a divisor of the scores; the smaller, the harder the codes.
    iterations: 3 in the paper; at least 1.
    weights: a row of weight 0 is padding: it has no share in the columns, its
      codes are 0, and it may hold anything. All other weights count as 1.
    axis_name: the devices among whose rows the prototypes are shared.

  Returns:
    The codes of this device's rows, in `promote_types(dtype, float32)`. Their
    gradient is not stopped here; in SwAV the caller does.

  Raises:
    ValueError: shapes that do not match, or no iteration.
  """
  rows.check_rows(scores=scores, weights=weights)
  if iterations < 1:
    raise ValueError(
      f'iterations is {iterations}, expected 1 or more: without one, rows do '
      f'not sum to 1.'
    )
  scores = jnp.asarray(scores)
  dtype = jnp.promote_types(scores.dtype, jnp.float32)
  if weights is None:
    valid = jnp.ones((len(scores), 1), bool)
  else:
    valid = jnp.asarray(weights)[:, None] > 0
  # A number rather than -inf, whose logsumexp is without a finite gradient on
  # a device that holds nothing but padding.
  nothing = jnp.finfo(dtype).min / 2

  logits = jnp.where(valid, scores.astype(dtype), 0) / epsilon
  for _ in range(iterations):
    local = jax.nn.logsumexp(jnp.where(valid, logits, nothing), axis=0)
    columns = jax.nn.logsumexp(parallel.gather(local[None], axis_name), axis=0)
    logits = jax.nn.log_softmax(logits - columns, axis=1)
  return jnp.where(valid, jnp.exp(logits), 0)


def swapped_prediction(
  scores: Float[Array, 'views rows k'],
  codes: Float[Array, 'code_views rows k'],
  *,
  temperature: float = 0.1,
  weights: Shaped[Array, 'views rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """Each view predicts the codes of every other view that has some.

  -Σ codes[i] · log softmax(scores[v] / temperature) for every view i with
  codes and every view v other than i, averaged over these pairs and over rows
  (SwAV eq. 1 and 2; with small views beside the two of full size, eq. 6). The
  caller stops the gradient of the codes.

  Scale: a mean, as in SwAV's code. The paper's equations sum the pairs: 2 of
  them in eq. 1, 2(V + 1) in eq. 6. ln(k) at chance, which is also where a
  collapsed run stays; at best the mean entropy of the codes.

  Args:
    scores: of all views, any float dtype; computed in at least float32.
    codes: of the first views, in the order of `scores`; rows that sum to 1.
    temperature: τ, a divisor of the scores.
    weights: of each row in each view, at least 0. In a pair of views a row
      counts with the product of its two weights. A row of weight 0 may hold
      anything, scores and codes.
    axis_name: the devices whose weights share the mean; see `weighted_mean`.

  Returns:
    This device's share of the loss, a scalar in `promote_types(dtype,
    float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match, or no pair of different views.
  """
  _check_views(scores, codes, weights)
  scores, codes = jnp.asarray(scores), jnp.asarray(codes)
  count, views = len(codes), len(scores)
  dtype = jnp.promote_types(
    jnp.promote_types(scores.dtype, codes.dtype), jnp.float32
  )
  if weights is not None:
    weights = jnp.asarray(weights).astype(dtype)
    valid = weights[..., None] > 0
    scores = jnp.where(valid, scores, 0)
    codes = jnp.where(valid[:count], codes, 0)
  predicted = jax.nn.log_softmax(scores.astype(dtype) / temperature, axis=-1)
  products = jnp.einsum(
    'crk,vrk->cvr',
    codes.astype(dtype),
    predicted,
    precision=jax.lax.Precision.HIGHEST,
  )
  # Known when tracing, so that a view is never paired with itself.
  coded, other = np.nonzero(~np.eye(count, views, dtype=bool))
  if weights is not None:
    weights = jnp.ravel(weights[coded] * weights[other])
  return rows.weighted_mean(
    -jnp.ravel(products[coded, other]), weights, axis_name
  )


def _check_views(scores, codes, weights):
  """Refuses what would broadcast, and what leaves nothing to predict."""
  shape, found = jnp.shape(scores), jnp.shape(codes)
  if len(shape) != 3 or shape[0] < 2:
    raise ValueError(
      f'scores has shape {shape}, expected (views, rows, k) with 2 views or '
      f'more, since a view predicts the codes of another; stack the views.'
    )
  if len(found) != 3 or found[1:] != shape[1:] or not 0 < found[0] <= shape[0]:
    raise ValueError(
      f'codes has shape {found}, expected (1 to {shape[0]}, {shape[1]}, '
      f'{shape[2]}) to match scores of shape {shape}.'
    )
  if weights is not None and jnp.shape(weights) != shape[:2]:
    raise ValueError(
      f'weights has shape {jnp.shape(weights)}, expected {shape[:2]} to match '
      f'scores of shape {shape}.'
    )
