"""Losses that tell each row's partner from all other rows.

Every one takes its negatives from all devices (`axis_name`) and returns this
device's share, whose `parallel.mean` over devices is the loss over the global
batch, with the gradient of that loss.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Shaped

from ssljax import parallel
from ssljax.losses import rows


def info_nce(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  temperature: float = 0.1,
  weights: Shaped[Array, 'rows'] | None = None,
  groups: Int[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """Symmetric InfoNCE: a's row i must find b's row i, and the reverse.

  Rows are L2-normalised, logits are a·bᵀ / temperature, and the cross-entropy
  on the diagonal is averaged over the two directions (SeqCLR eq. 3 and 4,
  CLIP's loss). Candidates are all rows of the other view, none of the same
  view, which is what sets it apart from `nt_xent`.

  Scale: the mean over rows and over directions, ln(rows) at chance. MoCo v3
  adds the two directions and multiplies by 2τ (twice this at τ = 0.5, 0.4
  times at 0.1); the learning rate has to follow.

  Args:
    a: one view's rows, any float dtype; computed in at least float32.
    b: the other view's, row by row.
    temperature: τ, a divisor of the cosine.
    weights: of each pair in the mean, at least 0. A pair of weight 0 is
      padding: it is no positive and no negative, and may hold anything.
    groups: whole numbers, unique over devices; a row is contrasted with rows
      of its own group only (with `batch['index']`: within one image). A row
      alone in its group has a loss of 0 and counts in the mean.
    axis_name: the devices to take negatives from; none without it.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match.
  """
  forward, backward, own = _cosines(a, b, weights, groups, axis_name)
  losses = [
    optax.softmax_cross_entropy_with_integer_labels(cosines / temperature, own)
    for cosines in (forward, backward)
  ]
  return rows.weighted_mean(sum(losses) / 2, weights, axis_name)


def retrieval_accuracy(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  weights: Shaped[Array, 'rows'] | None = None,
  groups: Int[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """How often a row's nearest candidate is its own, and how often by chance.

  Over the same candidates as `info_nce` with the same arguments, which see;
  inside one compiled step their products are computed once. Both directions
  are averaged. Near 1 shows that the loss is solved, not that the features
  are useful: style and position alone can solve it.

  Returns:
    (accuracy, chance), both this device's share and between 0 and 1 after
    `parallel.mean`; chance is the mean of 1 / candidates.
  """
  forward, backward, own = _cosines(a, b, weights, groups, axis_name)
  hits = [jnp.argmax(x, axis=1) == own for x in (forward, backward)]
  chances = 1 / jnp.sum(jnp.isfinite(forward), axis=1, dtype=forward.dtype)
  accuracy = sum(hit.astype(forward.dtype) for hit in hits) / 2
  return (
    rows.weighted_mean(accuracy, weights, axis_name),
    rows.weighted_mean(chances, weights, axis_name),
  )


def nt_xent(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  temperature: float = 0.1,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
) -> Float[Array, '']:
  """SimCLR's NT-Xent (eq. 1): 2N rows, each against the 2N - 1 others.

  Scale: the mean over the 2N rows, as in the paper and in lightly, and
  ln(2N - 1) at chance. SimCLR's code adds the means of the two directions and
  so is exactly twice this.

  Args:
    a: one view's rows, any float dtype; L2-normalised in at least float32.
    b: the other view's, row by row.
    temperature: τ, a divisor of the cosine.
    weights: as in `info_nce`, for a row of a and its partner alike.
    axis_name: the devices to take negatives from; none without it.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: shapes that do not match.
  """
  a, b, weights = _prepare(a, b, weights)
  own = _own(len(a), axis_name)
  # All of a before all of b, over devices too: gathering [a; b] would
  # interleave devices, and the partner would no longer be half way along.
  candidates = jnp.concatenate(
    [parallel.gather(a, axis_name), parallel.gather(b, axis_name)]
  )
  half = len(candidates) // 2
  itself = jnp.concatenate([own, own + half])
  partner = jnp.concatenate([own + half, own])
  logits = rows.matmul(jnp.concatenate([a, b]), candidates.T) / temperature
  # By value: a product with 0 would leave exp(0) = 1 in the softmax.
  allowed = jnp.arange(2 * half) != itself[:, None]
  if weights is not None:
    valid = jnp.tile(parallel.gather(weights > 0, axis_name), 2)
    allowed &= valid | (jnp.arange(2 * half) == partner[:, None])
    weights = jnp.tile(weights, 2)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    jnp.where(allowed, logits, -jnp.inf), partner
  )
  return rows.weighted_mean(losses, weights, axis_name)


def _cosines(a, b, weights, groups, axis_name):
  """(rows, candidates) of a against all b and of b against all a; own column.

  What is no candidate of a row is -inf there, so that neither a softmax nor
  an argmax finds it. The own column always is one: a row without candidates
  would have no finite loss for its weight of 0 to remove.
  """
  rows.check_rows(a=a, b=b, weights=weights, groups=groups)
  a, b, weights = _prepare(a, b, weights)
  own = _own(len(a), axis_name)
  forward = rows.matmul(a, parallel.gather(b, axis_name).T)
  if axis_name is None:
    backward = forward.T  # The same products; over devices they are not.
  else:
    backward = rows.matmul(b, parallel.gather(a, axis_name).T)
  if weights is None and groups is None:
    return forward, backward, own
  allowed = jnp.ones(forward.shape, bool)
  if weights is not None:
    allowed &= parallel.gather(weights > 0, axis_name)
  if groups is not None:
    groups = jnp.asarray(groups)
    allowed &= groups[:, None] == parallel.gather(groups, axis_name)
  allowed |= jnp.arange(forward.shape[1]) == own[:, None]
  return (
    jnp.where(allowed, forward, -jnp.inf),
    jnp.where(allowed, backward, -jnp.inf),
    own,
  )


def _prepare(a, b, weights):
  """Unit rows; zeros where the weight is 0, whatever stood there."""
  rows.check_rows(a=a, b=b, weights=weights)
  if weights is not None:
    weights = jnp.asarray(weights)
    a = jnp.where(weights[:, None] > 0, a, 0)
    b = jnp.where(weights[:, None] > 0, b, 0)
  return rows.normalize(a), rows.normalize(b), weights


def _own(count, axis_name):
  """The place of this device's rows among all, and of their partners."""
  return parallel.rank(axis_name) * count + jnp.arange(count)
