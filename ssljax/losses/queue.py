"""Contrastive loss against a queue of older keys (MoCo)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Shaped

from ssljax.losses import blockwise, rows


def info_nce_queue(
  query: Float[Array, 'rows d'],
  key: Float[Array, 'rows d'],
  queue: Float[Array, 'k d'],
  *,
  temperature: float = 0.2,
  weights: Shaped[Array, 'rows'] | None = None,
  queue_weights: Shaped[Array, 'k'] | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Float[Array, '']:
  """MoCo's loss (eq. 1): each query's own key against K negatives.

  -log exp(q·k/τ) / (exp(q·k/τ) + Σ exp(q·queue/τ)), which is ln(1 + K) at
  chance. The caller stops the gradient of the keys. The keys of other devices
  are negatives only through the queue.

  Args:
    query: rows of any float dtype; L2-normalised here, in at least float32.
    key: the key of each query, in the same order; L2-normalised here.
    queue: unit vectors; used as they are.
    temperature: τ, which divides the cosines.
    weights: the weight of each row in the mean; a row of weight 0 is padding
      and may hold anything.
    queue_weights: a row of the queue with weight 0 is not a negative.
    axis_name: the axis of the devices that share the mean; see
      `weighted_mean`.
    block_size: as in `info_nce`.

  Returns:
    This device's share of the loss, a scalar in `promote_types(dtype,
    float32)`; 0 where all weights are 0.

  Raises:
    ValueError: the shapes do not match.
  """
  query, key = _prepare(query, key, queue, weights, queue_weights)
  positive = jnp.sum(query * key, axis=1)
  if block := blockwise.size_of(block_size, len(query), len(queue)):
    scaled, own = query / temperature, positive / temperature
    found = _in_blocks(scaled, queue, queue_weights, block)
    values = jax.nn.softplus(found.logsumexp - own)
  else:
    cosines = _cosines(query, positive, queue, queue_weights)
    values = optax.softmax_cross_entropy_with_integer_labels(
      cosines / temperature, jnp.zeros(len(query), jnp.int32)
    )
  return rows.weighted_mean(values, weights, axis_name)


def queue_accuracy(
  query: Float[Array, 'rows d'],
  key: Float[Array, 'rows d'],
  queue: Float[Array, 'k d'],
  *,
  weights: Shaped[Array, 'rows'] | None = None,
  queue_weights: Shaped[Array, 'k'] | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Float[Array, '']:
  """How often a query's nearest candidate is its own key.

  The arguments and the candidates are those of `info_nce_queue`.
  """
  query, key = _prepare(query, key, queue, weights, queue_weights)
  positive = jnp.sum(query * key, axis=1)
  if block := blockwise.size_of(block_size, len(query), len(queue)):
    hits = positive >= _in_blocks(query, queue, queue_weights, block).top
  else:
    cosines = _cosines(query, positive, queue, queue_weights)
    hits = cosines.argmax(axis=1) == 0
  return rows.weighted_mean(hits.astype(query.dtype), weights, axis_name)


def _in_blocks(
  query: Float[Array, 'rows d'],
  queue: Float[Array, 'k d'],
  queue_weights: Shaped[Array, 'k'] | None,
  block: int,
) -> blockwise.Found:
  """What each query finds in the queue."""
  valid = None if queue_weights is None else jnp.asarray(queue_weights) > 0
  found, _ = blockwise.search(
    query,
    queue.astype(query.dtype),
    blockwise.Rows(),
    blockwise.Rows(valid),
    block=block,
  )
  return found


def _cosines(
  query: Float[Array, 'rows d'],
  positive: Float[Array, 'rows'],
  queue: Float[Array, 'k d'],
  queue_weights: Shaped[Array, 'k'] | None,
) -> Float[Array, 'rows candidates']:
  """Cosines (rows, 1 + k): the own key first, -inf for what is no candidate."""
  negatives = rows.matmul(query, queue.T)
  if queue_weights is not None:
    negatives = jnp.where(queue_weights > 0, negatives, -jnp.inf)
  return jnp.concatenate([positive[:, None], negatives], axis=1)


def _prepare(
  query: Float[Array, 'rows d'],
  key: Float[Array, 'rows d'],
  queue: Float[Array, 'k d'],
  weights: Shaped[Array, 'rows'] | None,
  queue_weights: Shaped[Array, 'k'] | None,
) -> tuple[Float[Array, 'rows d'], Float[Array, 'rows d']]:
  """Unit queries and keys. Rows of weight 0 become zeros, whatever they held.

  Raises:
    ValueError: the shapes do not match.
  """
  rows.check_rows(query=query, key=key, weights=weights)
  if queue.ndim != 2 or queue.shape[1] != query.shape[1]:
    raise ValueError(
      f'queue has shape {queue.shape}, expected (k, {query.shape[1]}) to match '
      f'query of shape {query.shape}.'
    )
  if queue_weights is not None:
    # An array of another shape could broadcast over the rows and change the
    # loss without an error.
    found, expected = jnp.shape(queue_weights), queue.shape[:1]
    if found != expected:
      raise ValueError(
        f'queue_weights has shape {found}, expected {expected} to match queue '
        f'of shape {queue.shape}.'
      )
  if weights is not None:
    valid = jnp.asarray(weights)[:, None] > 0
    query, key = (jnp.where(valid, x, 0) for x in (query, key))
  return rows.normalize(query), rows.normalize(key)
