"""Metric learning: pairs, triplets and N-pairs, on embeddings as given.

None of these normalises its rows; `normalize` does, where a paper wants the
unit sphere. Every one returns this device's share, whose `parallel.mean` over
devices is the loss over the global batch, with the gradient of that loss.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Shaped

from ssljax import parallel
from ssljax.losses import rows


def margin_contrastive(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  same: Shaped[Array, 'rows'],
  *,
  margin: float = 1.0,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """y·d² + (1 - y)·max(0, margin - d)², the mean over pairs; d is Euclidean.

  Hadsell, Chopra and LeCun 2006, eq. 4, with two differences: y is 1 for a
  pair that belongs together, where the paper's is 0, and the paper halves both
  terms, so that this is twice its loss. A collapse of all rows to one point
  gives margin² times the share of pairs that do not belong together.

  Args:
    a: any float dtype; computed in at least float32.
    b: row by row.
    same: y; 1 or True where a pair belongs together, 0 or False elsewhere.
    margin: the distance beyond which other pairs cost nothing.
    weights: of each pair in the mean, at least 0. A pair of weight 0 is
      padding and may hold anything.
    axis_name: the devices whose weights share the mean; see `weighted_mean`.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.
    Where a equals b the gradient is 0, as no direction leads apart.

  Raises:
    ValueError: shapes that do not match.
  """
  rows.check_rows(a=a, b=b, weights=weights)
  if jnp.shape(same) != jnp.shape(a)[:1]:
    raise ValueError(
      f'same has shape {jnp.shape(same)}, expected {jnp.shape(a)[:1]} to match '
      f'a of shape {jnp.shape(a)}.'
    )
  a, b = _prepare(weights, a, b)
  same = jnp.asarray(same).astype(a.dtype)
  squares = jnp.sum(jnp.square(a - b), axis=1)
  # The root of 0 has an infinite slope, and 0 times that is NaN, for the pairs
  # that belong together too.
  distances = jnp.sqrt(jnp.maximum(squares, 1e-12))
  apart = jnp.square(jnp.maximum(0, margin - distances))
  return rows.weighted_mean(
    same * squares + (1 - same) * apart, weights, axis_name
  )


def triplet(
  anchor: Float[Array, 'rows d'],
  positive: Float[Array, 'rows d'],
  negative: Float[Array, 'rows d'],
  *,
  margin: float = 0.2,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """max(0, d(anchor, positive)² - d(anchor, negative)² + margin).

  FaceNet (arXiv 1503.03832), section 3.1, on squared distances. Scale: the
  mean over triplets, where the paper sums. The paper's embeddings are unit
  vectors; these are used as given. A collapse to one point gives the margin.

  Args:
    anchor: any float dtype; computed in at least float32.
    positive: row by row, what belongs with the anchor.
    negative: row by row, what does not.
    margin: by how much farther, squared, the negative has to be.
    weights: of each triplet in the mean, at least 0. A triplet of weight 0 is
      padding and may hold anything.
    axis_name: the devices whose weights share the mean; see `weighted_mean`.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match.
  """
  rows.check_rows(
    anchor=anchor, positive=positive, negative=negative, weights=weights
  )
  anchor, positive, negative = _prepare(weights, anchor, positive, negative)
  near = jnp.sum(jnp.square(anchor - positive), axis=1)
  far = jnp.sum(jnp.square(anchor - negative), axis=1)
  return rows.weighted_mean(
    jnp.maximum(0, near - far + margin), weights, axis_name
  )


def n_pair(
  anchor: Float[Array, 'rows d'],
  positive: Float[Array, 'rows d'],
  *,
  weights: Shaped[Array, 'rows'] | None = None,
  negatives: Bool[Array, 'rows all_rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """log(1 + Σ_{j≠i} exp(aᵢ·pⱼ - aᵢ·pᵢ)), the mean over rows i.

  Multi-class N-pair loss (Sohn 2016, section 3.2, N-pair-mc) without its
  penalty on the embeddings' length, which is the caller's to add: dot products
  of embeddings as given grow with it. The candidates pⱼ are the positives of
  all devices. ln(rows) at chance, with the rows of all devices.

  Args:
    anchor: a, any float dtype; computed in at least float32.
    positive: p, row by row.
    weights: of each pair in the mean, at least 0. A pair of weight 0 is
      padding: it is no anchor and no negative, and may hold anything.
    negatives: which candidates count as negatives of a row, all by default;
      from class labels, those of another class. Columns are the rows of all
      devices in the order of `parallel.gather`; the own one never counts.
    axis_name: the devices to take negatives from; none without it.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match.
  """
  rows.check_rows(anchor=anchor, positive=positive, weights=weights)
  anchor, positive = _prepare(weights, anchor, positive)
  count = len(anchor)
  shape = (count, count * parallel.size(axis_name))
  if negatives is not None and jnp.shape(negatives) != shape:
    raise ValueError(
      f'negatives has shape {jnp.shape(negatives)}, expected {shape}: this '
      f"device's rows by the rows of all devices."
    )
  own = parallel.rank(axis_name) * count + jnp.arange(count)
  logits = rows.matmul(anchor, parallel.gather(positive, axis_name).T)
  if weights is not None or negatives is not None:
    allowed = jnp.ones(shape, bool)
    if weights is not None:
      allowed &= parallel.gather(jnp.asarray(weights) > 0, axis_name)
    if negatives is not None:
      allowed &= jnp.asarray(negatives).astype(bool)
    # The 1 of the definition is the own column's exp(0), in every row.
    allowed |= jnp.arange(shape[1]) == own[:, None]
    logits = jnp.where(allowed, logits, -jnp.inf)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, own)
  return rows.weighted_mean(losses, weights, axis_name)


def _prepare(weights, *arrays):
  """One dtype, float32 or wider; zeros where the weight is 0."""
  arrays = [jnp.asarray(x) for x in arrays]
  dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
  if weights is not None:
    valid = jnp.asarray(weights)[:, None] > 0
    arrays = [jnp.where(valid, x, 0) for x in arrays]
  return [x.astype(dtype) for x in arrays]
