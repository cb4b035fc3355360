"""Codes (soft assignments to prototypes), and their prediction by other views.

SwAV (arXiv 2006.09882): `sinkhorn` turns the scores of one view into codes, and
`swapped_prediction` measures how well the other views predict these codes. The
caller stops the gradient of the codes.
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
  """Assigns rows to k prototypes softly, and uses all prototypes evenly.

  The codes start as exp(scores / epsilon). Each iteration divides the columns
  and then the rows by their sums (SwAV eq. 3 to 5 and the listing in its
  appendix), in the log domain. The sum of a column runs over the rows of all
  devices.

  Scale: each row sums to 1, because the rows are divided last. Each column's
  sum approaches N / k, where N is the number of rows on all devices. The
  paper's matrix is the transpose and sums to 1; the paper's code multiplies it
  by N. Both give the codes returned here. Equal scores give 1/k everywhere,
  and a constant added to all scores changes nothing.

  Args:
    scores: this device's rows by k prototypes, any float dtype; the codes are
      computed in at least float32.
    epsilon: divides the scores; the smaller it is, the harder the codes.
    iterations: 3 in the paper; at least 1.
    weights: a row of weight 0 is padding: it adds nothing to the column sums,
      its codes are 0, and it may hold anything. Every other weight counts as 1.
    axis_name: the axis of the devices whose rows share the prototypes.

  Returns:
    The codes of this device's rows, in `promote_types(dtype, float32)`. This
    function does not stop their gradient; in SwAV the caller does.

  Raises:
    ValueError: the shapes do not match, or `iterations` is less than 1.
  """
  rows.check_rows(scores=scores, weights=weights)
  if iterations < 1:
    raise ValueError(
      f'iterations is {iterations}, expected 1 or more, because rows do not '
      f'sum to 1 without an iteration.'
    )
  scores = jnp.asarray(scores)
  dtype = jnp.promote_types(scores.dtype, jnp.float32)
  if weights is None:
    valid = jnp.ones((len(scores), 1), bool)
  else:
    valid = jnp.asarray(weights)[:, None] > 0
  # A finite number instead of -inf: on a device that holds only padding, the
  # logsumexp of -inf has no finite gradient.
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
  """Each view predicts the codes of every other view that has codes.

  The loss of a pair of views is -Σ codes[i] · log softmax(scores[v] /
  temperature), for every view i with codes and every view v other than i. It
  is averaged over these pairs and over the rows (SwAV eq. 1 and 2; with small
  views beside the two of full size, eq. 6). The caller stops the gradient of
  the codes.

  Scale: a mean, as in SwAV's code. The paper's equations sum over the pairs: 2
  pairs in eq. 1, 2(V + 1) in eq. 6. The loss is ln(k) at chance, where a
  collapsed run stays too. Its lower bound is the mean entropy of the codes.

  Args:
    scores: the scores of all views, any float dtype; the loss is computed in
      at least float32.
    codes: the codes of the first views, in the order of `scores`; each row
      sums to 1.
    temperature: τ, which divides the scores.
    weights: the weight of each row in each view, at least 0. In a pair of
      views a row counts with the product of its two weights. The scores and
      codes of a row of weight 0 may hold anything.
    axis_name: the axis of the devices that share the mean; see
      `weighted_mean`.

  Returns:
    This device's share of the loss, a scalar in `promote_types(dtype,
    float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match, or no two views can be paired.
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
  # The pairs are NumPy constants while tracing. A view is never paired with
  # itself.
  coded, other = np.nonzero(~np.eye(count, views, dtype=bool))
  if weights is not None:
    weights = jnp.ravel(weights[coded] * weights[other])
  return rows.weighted_mean(
    -jnp.ravel(products[coded, other]), weights, axis_name
  )


def _check_views(
  scores: Shaped[Array, '...'],
  codes: Shaped[Array, '...'],
  weights: Shaped[Array, '...'] | None,
) -> None:
  """Refuses shapes that would broadcast or that leave no view to predict."""
  shape, found = jnp.shape(scores), jnp.shape(codes)
  if len(shape) != 3 or shape[0] < 2:
    raise ValueError(
      f'scores has shape {shape}, expected (views, rows, k) with 2 views or '
      f'more, because a view predicts the codes of another view; stack the '
      f'views.'
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
