"""Metric learning: pairs, triplets and N-pairs, on embeddings as given.

These losses do not normalise their rows; call `normalize` first where a paper
uses unit vectors. Each loss returns this device's share. The `parallel.mean` of
the shares over devices is the loss of the global batch, and the mean of their
gradients is the gradient of that loss.
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

  The loss of Hadsell, Chopra and LeCun 2006, eq. 4, with two differences. Here
  y is 1 for a pair that belongs together, where the paper's is 0. The paper
  halves both terms, so this loss is twice the paper's. If all rows collapse to
  one point, the loss is margin² times the share of pairs that do not belong
  together.

  Args:
    a: rows of any float dtype; the loss is computed in at least float32.
    b: the other row of each pair, in the same order.
    same: y; 1 or True where a pair belongs together, 0 or False elsewhere.
    margin: the distance from which on a pair that does not belong together
      costs nothing.
    weights: the weight of each pair in the mean, at least 0. A pair of weight
      0 is padding and may hold anything.
    axis_name: the axis of the devices that share the mean; see
      `weighted_mean`.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.
    The gradient is 0 where a equals b, because no direction leads apart.

  Raises:
    ValueError: the shapes do not match.
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
  # The square root has an infinite slope at 0, and 0 times infinity is NaN.
  # Pairs that belong together would be hit too, since their term is 0 here.
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
  vectors; this function uses the rows as given. If all rows collapse to one
  point, the loss is the margin.

  Args:
    anchor: rows of any float dtype; the loss is computed in at least float32.
    positive: for each anchor, a row that belongs with it.
    negative: for each anchor, a row that does not belong with it.
    margin: how much larger the squared distance to the negative has to be.
    weights: the weight of each triplet in the mean, at least 0. A triplet of
      weight 0 is padding and may hold anything.
    axis_name: the axis of the devices that share the mean; see
      `weighted_mean`.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
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

  The multi-class N-pair loss (Sohn 2016, section 3.2, N-pair-mc) without its
  penalty on the length of the embeddings. The caller adds that penalty, because
  the dot products of unnormalised embeddings grow with their length. The
  candidates pⱼ are the positives of all devices. The loss is ln(rows) at
  chance, where rows counts the rows of all devices.

  Args:
    anchor: a, of any float dtype; the loss is computed in at least float32.
    positive: p, the positive of each anchor, in the same order.
    weights: the weight of each pair in the mean, at least 0. A pair of weight
      0 is padding: it is neither an anchor nor a negative, and may hold
      anything.
    negatives: which candidates are negatives of a row; all by default. With
      class labels, these are the candidates of another class. The columns are
      the rows of all devices in the order of `parallel.gather`; a row's own
      positive never counts as a negative.
    axis_name: the axis of the devices that supply negatives; without it, the
      negatives are this device's rows.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
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
    # The own column stays in every row: its exp(0) is the 1 in the formula.
    allowed |= jnp.arange(shape[1]) == own[:, None]
    logits = jnp.where(allowed, logits, -jnp.inf)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, own)
  return rows.weighted_mean(losses, weights, axis_name)


def _prepare(
  weights: Shaped[Array, 'rows'] | None, *arrays: Float[Array, 'rows d']
) -> list[Float[Array, 'rows d']]:
  """Arrays of one dtype, float32 or wider. Rows of weight 0 become zeros."""
  prepared = [jnp.asarray(x) for x in arrays]
  dtype = jnp.promote_types(jnp.result_type(*prepared), jnp.float32)
  if weights is not None:
    valid = jnp.asarray(weights)[:, None] > 0
    prepared = [jnp.where(valid, x, 0) for x in prepared]
  return [x.astype(dtype) for x in prepared]
