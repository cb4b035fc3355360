"""Softmax over all pairs of rows, a block of pairs at a time.

A contrastive loss needs the logsumexp of each row over its candidates. Here the
(rows, candidates) matrix is never held: its blocks are formed and summed up
with a running maximum, and formed again for the gradient, which is exact.
FlashAttention (arXiv 2205.14135) computes attention in this way.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssljax.losses import rows

BLOCK = 1024  # rows, where the size of a block is not given
LARGEST = 2**30  # bytes of a matrix that is still held as a whole


class Found(NamedTuple):
  """What a row finds among its candidates; -inf, -inf, 0 and 0 if it has none.

  Attributes:
    logsumexp: over the logits of the candidates.
    top: the largest of these logits.
    nearest: the first column of this logit.
    candidates: their number.
  """

  logsumexp: Float[Array, 'rows']
  top: Float[Array, 'rows']
  nearest: Int[Array, 'rows']
  candidates: Int[Array, 'rows']


class Rows(NamedTuple):
  """What decides whether two rows are candidates of one another.

  Attributes:
    valid: whether the row may be a candidate; None admits all.
    group: a row's candidates have its group; None has one group.
    without: columns that are no candidates of the row; None has none.
  """

  valid: Bool[Array, 'rows'] | None = None
  group: Int[Array, 'rows'] | None = None
  without: Int[Array, 'rows columns'] | None = None


def size_of(block_size: int | None, count: int, candidates: int) -> int:
  """The rows of a block; 0 where the whole matrix is held.

  Args:
    block_size: as it was asked for; None takes blocks where the matrix would
      have more than `LARGEST` bytes.
    count: rows of the matrix.
    candidates: columns of the matrix.
  """
  if block_size is None:
    whole = 4 * count * candidates <= LARGEST
    block_size = 0 if whole else BLOCK
  return min(block_size, max(count, candidates))


def search(
  x: Float[Array, 'rows d'],
  y: Float[Array, 'candidates d'],
  of_x: Rows,
  of_y: Rows,
  *,
  block: int,
  both: bool = False,
) -> tuple[Found, Found | None]:
  """What the rows of x find in y by the logits x·yᵀ, and those of y in x.

  Only `logsumexp` has a gradient. Temporaries are a few matrices of (block,
  block) and of the shapes of x and y.

  Args:
    x: float32 or wider.
    y: in the dtype of x.
    of_x: of the rows of x.
    of_y: of the rows of y; it has groups if `of_x` has them.
    block: rows and candidates of a block.
    both: whether the second direction is wanted, which shares the products.

  Returns:
    What x finds, and what y finds if `both`, else None.
  """
  known = _known(of_x, len(x)), _known(of_y, len(y))
  cut = jax.tree.map(functools.partial(_cut, block=block), (x, y, *known))
  there, back = _search(both, *cut)

  return _flat(there, len(x)), None if back is None else _flat(back, len(y))


def _flat(found: Found, count: int) -> Found:
  return Found(*(each.reshape(-1)[:count] for each in found))


class _Known(NamedTuple):
  """`Rows`, with the column that each row has as a candidate."""

  column: Int[Array, 'rows']
  valid: Bool[Array, 'rows']
  group: Int[Array, 'rows'] | None
  without: Int[Array, 'rows columns'] | None


def _known(of: Rows, count: int) -> _Known:
  valid = jnp.ones(count, bool) if of.valid is None else of.valid
  return _Known(jnp.arange(count, dtype=jnp.int32), valid, of.group, of.without)


def _cut(x: Array, block: int) -> Array:
  """(blocks, block, ...), with zeros at the end, which are not valid."""
  rest = -len(x) % block
  if rest:
    x = jnp.pad(x, ((0, rest), *[(0, 0)] * (x.ndim - 1)))
  return x.reshape(-1, block, *x.shape[1:])


def _admitted(of: _Known, among: _Known) -> Bool[Array, 'rows candidates']:
  admitted = jnp.broadcast_to(among.valid, (len(of.column), len(among.column)))
  if of.group is not None:
    admitted &= of.group[:, None] == among.group
  if of.without is not None:
    admitted &= (of.without[..., None] != among.column).all(axis=1)
  return admitted


class _Sums(NamedTuple):
  """Running sums of a block of rows: Σ exp(logit - top) and the rest."""

  total: Float[Array, 'rows']
  top: Float[Array, 'rows']
  nearest: Int[Array, 'rows']
  candidates: Int[Array, 'rows']


def _nothing(x: Array) -> _Sums:
  shape = x.shape[:-1]
  top = jnp.full(shape, -math.inf, x.dtype)
  none = jnp.zeros(shape, jnp.int32)
  return _Sums(jnp.zeros(shape, x.dtype), top, none, none)


def _added(
  sums: _Sums,
  logits: Float[Array, 'rows candidates'],
  of: _Known,
  among: _Known,
) -> _Sums:
  admitted = _admitted(of, among)
  logits = jnp.where(admitted, logits, -jnp.inf)
  highest = logits.max(axis=1)
  top = jnp.maximum(sums.top, highest)
  # -inf - (-inf) is NaN, where there has been no candidate yet.
  base = jnp.where(top > -jnp.inf, top, 0)
  new = jnp.exp(logits - base[:, None]).sum(axis=1)
  first = among.column[logits.argmax(axis=1)]
  return _Sums(
    sums.total * jnp.exp(sums.top - base) + new,
    top,
    jnp.where(highest > sums.top, first, sums.nearest),
    sums.candidates + admitted.sum(axis=1, dtype=jnp.int32),
  )


def _found(sums: _Sums) -> Found:
  total, top, *rest = sums
  base = jnp.where(top > -jnp.inf, top, 0)
  return Found(base + jnp.log(total), top, *rest)


def _by_blocks(both, x, y, of_x, of_y) -> tuple[Found, Found | None]:
  def of_rows(back, row):
    row, of_row = row

    def with_candidates(there, column):
      column, of_column, back = column
      logits = rows.matmul(row, column.T)
      there = _added(there, logits, of_row, of_column)
      if both:
        back = _added(back, logits.T, of_column, of_row)
      return there, back

    there, back = jax.lax.scan(with_candidates, _nothing(row), (y, of_y, back))
    return back, _found(there)

  back = _nothing(y) if both else None
  back, there = jax.lax.scan(of_rows, back, (x, of_x))
  return there, None if back is None else _found(back)


_search = jax.custom_vjp(_by_blocks, nondiff_argnums=(0,))


def _logsumexps(found: tuple[Found, Found | None]) -> tuple[Any, Any]:
  there, back = found
  return there.logsumexp, None if back is None else back.logsumexp


def _search_forward(both, x, y, of_x, of_y):
  found = _by_blocks(both, x, y, of_x, of_y)
  return found, (x, y, of_x, of_y, _logsumexps(found))


def _search_backward(both, kept, cotangents):
  x, y, of_x, of_y, (there, back) = kept
  d_there, d_back = _logsumexps(cotangents)

  def shares(logits, logsumexp, cotangent, of, among):
    """The gradient of the logits: the softmax, times that of its logsumexp."""
    # Masked first: the logsumexp of a row without candidates is -inf.
    shifted = logits - logsumexp[:, None]
    shifted = jnp.where(_admitted(of, among), shifted, -jnp.inf)
    return jnp.exp(shifted) * cotangent[:, None]

  def of_rows(d_y, row):
    row, of_row, there, d_there = row

    def with_candidates(d_row, column):
      column, of_column, back, d_back, d_column = column
      logits = rows.matmul(row, column.T)
      share = shares(logits, there, d_there, of_row, of_column)
      if both:
        share += shares(logits.T, back, d_back, of_column, of_row).T
      d_row += rows.matmul(share, column)
      return d_row, d_column + rows.matmul(share.T, row)

    d_row, d_y = jax.lax.scan(
      with_candidates, jnp.zeros_like(row), (y, of_y, back, d_back, d_y)
    )
    return d_y, d_row

  d_y, d_x = jax.lax.scan(of_rows, jnp.zeros_like(y), (x, of_x, there, d_there))
  return d_x, d_y, None, None


_search.defvjp(_search_forward, _search_backward)
