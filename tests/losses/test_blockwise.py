"""Losses in blocks: the matrix as a whole, of which they hold only a part."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import losses
from ssljax.losses import blockwise

N, D = 37, 8
_WEIGHTS = np.float32(np.where(np.arange(N) % 5 == 2, 0, 1 + np.arange(N) % 3))
_CASES = {
  'info_nce': functools.partial(losses.info_nce),
  'info_nce/all': functools.partial(
    losses.info_nce, weights=_WEIGHTS, groups=np.int32(np.arange(N) // 6)
  ),
  'nt_xent': functools.partial(losses.nt_xent),
  'nt_xent/weights': functools.partial(losses.nt_xent, weights=_WEIGHTS),
}


def _rows(rows=N, seed=0, dtype=np.float32):
  rng = np.random.default_rng(seed)
  a = rng.normal(size=(rows, D))
  return a.astype(dtype), (a + rng.normal(size=(rows, D))).astype(dtype)


@pytest.mark.parametrize('block', [1, 8, N, 1000])
@pytest.mark.parametrize('case', list(_CASES))
def test_value_and_gradient_are_those_of_the_whole_matrix(case, block):
  """In float64, where rounding hides nothing."""
  with jax.enable_x64():
    a, b = _rows(dtype=np.float64)

    def found(block_size):
      loss = functools.partial(_CASES[case], block_size=block_size)
      return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(a, b)

    chex.assert_trees_all_close(found(block), found(0), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
  'options', [{}, {'weights': _WEIGHTS, 'groups': np.int32(np.arange(N) // 6)}]
)
def test_retrieval_is_that_of_the_whole_matrix(options):
  a, b = _rows(seed=1)
  a[5], b[5] = a[4], b[4]  # the first of equals is the nearest
  found = losses.retrieval_accuracy(a, b, block_size=8, **options)
  whole = losses.retrieval_accuracy(a, b, block_size=0, **options)
  chex.assert_trees_all_close(found, whole, rtol=1e-6)
  assert 0.1 < whole[0] < 0.99


def test_accuracy_against_a_queue_is_that_of_the_whole_matrix():
  query, key = _rows(seed=2)
  queue = losses.normalize(_rows(50, seed=3)[0])
  options = {
    'weights': _WEIGHTS,
    'queue_weights': np.float32(np.arange(50) % 4),
  }
  found, whole = (
    losses.queue_accuracy(query, key, queue, block_size=size, **options)
    for size in (8, 0)
  )
  assert found == pytest.approx(float(whole))
  assert 0.1 < whole < 0.99


def test_rounding_is_that_of_the_whole_matrix():
  """Gradients in float32, against float64: within 1e-6 of the largest."""
  with jax.enable_x64():
    exact = jax.grad(losses.info_nce)(*_rows(dtype=np.float64))
  found = jax.grad(functools.partial(losses.info_nce, block_size=8))(*_rows())
  np.testing.assert_allclose(found, exact, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize(
  'loss', [losses.info_nce, losses.nt_xent, losses.info_nce_queue]
)
def test_the_whole_matrix_is_never_held(loss):
  """By the compiler's own analysis, at 131,072 rows of 128."""
  rows, d = 2**17, 128
  count = 2 if loss is losses.nt_xent else 1
  shape = jax.ShapeDtypeStruct((rows // count, d), jnp.float32)
  arrays = [shape] * (3 if loss is losses.info_nce_queue else 2)
  gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  compiled = gradient.lower(*arrays).compile()
  bound = 4 * blockwise.BLOCK * rows + 16 * rows * d
  assert compiled.memory_analysis().temp_size_in_bytes <= bound


def test_blocks_are_taken_where_the_matrix_would_be_large():
  assert blockwise.size_of(None, 2**14, 2**14) == 0
  assert blockwise.size_of(None, 2**14, 2**14 + 1) == blockwise.BLOCK
  assert blockwise.size_of(0, 2**20, 2**20) == 0
  assert blockwise.size_of(64, 10, 20) == 20
