"""Losses that tell each row's partner from all other rows.

Each loss takes its negatives from all devices (`axis_name`) and returns this
device's share. The `parallel.mean` of the shares over devices is the loss of
the global batch, and the mean of their gradients is the gradient of that loss.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Shaped

from ssljax import parallel
from ssljax.losses import blockwise, rows


def info_nce(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  temperature: float = 0.1,
  weights: Shaped[Array, 'rows'] | None = None,
  groups: Int[Array, 'rows'] | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Float[Array, '']:
  """Symmetric InfoNCE: row i of `a` must find row i of `b`, and the reverse.

  Rows are L2-normalised, the logits are a·bᵀ / temperature, and the
  cross-entropy on the diagonal is averaged over the two directions (SeqCLR eq.
  3 and 4, CLIP's loss). The candidates of a row are all rows of the other view
  and no row of its own view; in `nt_xent` they are the rows of both views.

  Scale: the mean over rows and over directions, ln(rows) at chance. MoCo v3
  adds the two directions and multiplies by 2τ. Its loss is therefore twice
  this one at τ = 0.5 and 0.4 times this one at τ = 0.1, and the learning rate
  has to be adapted.

  Args:
    a: rows of one view, any float dtype; the loss is computed in at least
      float32.
    b: rows of the other view, in the same order.
    temperature: τ, which divides the cosines.
    weights: the weight of each pair in the mean, at least 0. A pair of weight
      0 is padding: it is neither a positive nor a negative, and may hold
      anything.
    groups: the group of each row, as an integer that means the same group on
      every device. A row is contrasted only with rows of its own group (within
      one image, for `batch['index']`). A row that is alone in its group has a
      loss of 0 and still counts in the mean.
    axis_name: the axis of the devices that supply negatives; without it, the
      negatives are this device's rows.
    block_size: the rows of a block of cosines, of which the whole matrix is
      never held; the gradient is exact. 0 holds the whole matrix, and None
      takes blocks where it would have more than 1 GiB (`blockwise`).

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
  """
  rows.check_rows(a=a, b=b, weights=weights, groups=groups)
  if block := _block(block_size, len(a), axis_name):
    a, b, weights = _prepare(a, b, weights)
    a = a / temperature
    others = _in_blocks(a, b, weights, groups, axis_name, block, own=False)
    there, back = (_against(a, b, each) for each in others)
    return rows.weighted_mean((there + back) / 2, weights, axis_name)
  forward, backward, own = _cosines(a, b, weights, groups, axis_name)
  there, back = (
    optax.softmax_cross_entropy_with_integer_labels(cosines / temperature, own)
    for cosines in (forward, backward)
  )
  return rows.weighted_mean((there + back) / 2, weights, axis_name)


def retrieval_accuracy(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  weights: Shaped[Array, 'rows'] | None = None,
  groups: Int[Array, 'rows'] | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """How often a row's nearest candidate is its partner, and the chance level.

  The arguments and the candidates are the same as those of `info_nce`. Inside
  one compiled step the two functions compute their matrix products only once.
  Both directions are averaged. An accuracy near 1 shows that the loss is
  solved, not that the features are useful, because style and position alone
  can solve it.

  Returns:
    (accuracy, chance): this device's shares, both between 0 and 1 after
    `parallel.mean`. chance is the mean over rows of 1 / candidates.
  """
  rows.check_rows(a=a, b=b, weights=weights, groups=groups)
  if block := _block(block_size, len(a), axis_name):
    a, b, weights = _prepare(a, b, weights)
    own = _own(len(a), axis_name)
    found = _in_blocks(a, b, weights, groups, axis_name, block, own=True)
    there, back = ((each.nearest == own).astype(a.dtype) for each in found)
    chances = 1 / found[0].candidates.astype(a.dtype)
  else:
    forward, backward, own = _cosines(a, b, weights, groups, axis_name)
    there, back = (
      (jnp.argmax(cosines, axis=1) == own).astype(forward.dtype)
      for cosines in (forward, backward)
    )
    chances = 1 / jnp.sum(jnp.isfinite(forward), axis=1, dtype=forward.dtype)
  return (
    rows.weighted_mean((there + back) / 2, weights, axis_name),
    rows.weighted_mean(chances, weights, axis_name),
  )


def nt_xent(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  *,
  temperature: float = 0.1,
  weights: Shaped[Array, 'rows'] | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Float[Array, '']:
  """SimCLR's NT-Xent (eq. 1): each of 2N rows against the 2N - 1 others.

  Scale: the mean over the 2N rows, as in the paper and in lightly, and
  ln(2N - 1) at chance. SimCLR's code adds the means of the two directions, so
  its loss is exactly twice this one.

  Args:
    a: rows of one view, any float dtype; L2-normalised in at least float32.
    b: rows of the other view, in the same order.
    temperature: τ, which divides the cosines.
    weights: as in `info_nce`; each weight holds for a row of `a` and for its
      partner in `b`.
    axis_name: the axis of the devices that supply negatives; without it, the
      negatives are this device's rows.
    block_size: as in `info_nce`.

  Returns:
    A scalar in `promote_types(dtype, float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
  """
  a, b, weights = _prepare(a, b, weights)
  own = _own(len(a), axis_name)
  # All rows of a come before all rows of b, over devices too. Gathering [a; b]
  # would interleave the devices, and a row's partner would no longer be `half`
  # columns away.
  candidates = jnp.concatenate(
    [parallel.gather(a, axis_name), parallel.gather(b, axis_name)]
  )
  half = len(candidates) // 2
  itself = jnp.concatenate([own, own + half])
  partner = jnp.concatenate([own + half, own])
  valid = None
  if weights is not None:
    valid = jnp.tile(parallel.gather(weights > 0, axis_name), 2)
    weights = jnp.tile(weights, 2)
  if block := blockwise.size_of(block_size, 2 * len(a), 2 * half):
    queries = jnp.concatenate([a, b]) / temperature
    others, _ = blockwise.search(
      queries,
      candidates,
      blockwise.Rows(without=jnp.stack([itself, partner], axis=1)),
      blockwise.Rows(valid),
      block=block,
    )
    values = _against(queries, jnp.concatenate([b, a]), others)
    return rows.weighted_mean(values, weights, axis_name)
  logits = rows.matmul(jnp.concatenate([a, b]), candidates.T) / temperature
  # Masked with -inf, because multiplying a logit by 0 would leave exp(0) = 1
  # in the softmax.
  allowed = jnp.arange(2 * half) != itself[:, None]
  if valid is not None:
    allowed &= valid | (jnp.arange(2 * half) == partner[:, None])
  losses = optax.softmax_cross_entropy_with_integer_labels(
    jnp.where(allowed, logits, -jnp.inf), partner
  )
  return rows.weighted_mean(losses, weights, axis_name)


def _block(block_size: int | None, count: int, axis_name: str | None) -> int:
  return blockwise.size_of(block_size, count, count * parallel.size(axis_name))


def _against(
  queries: Float[Array, 'rows d'],
  partners: Float[Array, 'rows d'],
  others: blockwise.Found,
) -> Float[Array, 'rows']:
  """-log of the softmax at the partner, without the difference of near equals.

  If the partner is near, its share of the softmax is near 1, and the gradient
  would be what rounding leaves of 1 less this share.
  """
  return jax.nn.softplus(others.logsumexp - jnp.sum(queries * partners, axis=1))


def _in_blocks(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  weights: Shaped[Array, 'rows'] | None,
  groups: Int[Array, 'rows'] | None,
  axis_name: str | None,
  block: int,
  *,
  own: bool,
) -> tuple[blockwise.Found, blockwise.Found]:
  """What a finds among all b, and b among all a, a block at a time.

  Args:
    own: whether a row's partner is among its candidates.
  """
  valid = None if weights is None else weights > 0
  groups = None if groups is None else jnp.asarray(groups)
  without = None if own else _own(len(a), axis_name)[:, None]
  mine = blockwise.Rows(valid, groups, without)
  if axis_name is None:
    there, back = blockwise.search(a, b, mine, mine, block=block, both=True)
    assert back is not None
    return there, back
  every = jax.tree.map(lambda x: parallel.gather(x, axis_name), mine)
  there, back = (
    blockwise.search(x, parallel.gather(y, axis_name), mine, every, block=block)
    for x, y in ((a, b), (b, a))
  )
  return there[0], back[0]


def _cosines(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  weights: Shaped[Array, 'rows'] | None,
  groups: Int[Array, 'rows'] | None,
  axis_name: str | None,
) -> tuple[
  Float[Array, 'rows all_rows'],
  Float[Array, 'rows all_rows'],
  Int[Array, 'rows'],
]:
  """Cosines of a with all b and of b with all a, and each row's own column.

  Both matrices are (rows, candidates). A column that is no candidate of a row
  is -inf there, so that neither a softmax nor an argmax finds it. The own
  column is always a candidate, because a row without candidates has no finite
  loss that its weight of 0 could remove.
  """
  a, b, weights = _prepare(a, b, weights)
  own = _own(len(a), axis_name)
  forward = rows.matmul(a, parallel.gather(b, axis_name).T)
  if axis_name is None:
    backward = forward.T  # On one device both directions share the products.
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


def _prepare(
  a: Float[Array, 'rows d'],
  b: Float[Array, 'rows d'],
  weights: Shaped[Array, 'rows'] | None,
) -> tuple[
  Float[Array, 'rows d'],
  Float[Array, 'rows d'],
  Shaped[Array, 'rows'] | None,
]:
  """Unit rows. Rows of weight 0 become zeros, whatever they held."""
  rows.check_rows(a=a, b=b, weights=weights)
  if weights is not None:
    weights = jnp.asarray(weights)
    a = jnp.where(weights[:, None] > 0, a, 0)
    b = jnp.where(weights[:, None] > 0, b, 0)
  return rows.normalize(a), rows.normalize(b), weights


def _own(count: int, axis_name: str | None) -> Int[Array, 'rows']:
  """The position of each row, and of its partner, among all devices' rows."""
  return parallel.rank(axis_name) * count + jnp.arange(count)
