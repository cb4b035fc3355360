"""MoCo's loss: against float64 NumPy, at the edges, and over devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssljax import losses, parallel

N, K, D = 12, 7, 5
DEVICES, LOCAL = 8, 3
ROWS = DEVICES * LOCAL


def _arrays(seed=0, rows=N):
  """Queries, keys that resemble them, and a queue of unit vectors."""
  rng = np.random.default_rng(seed)
  query = rng.normal(size=(rows, D))
  key = query + rng.normal(size=(rows, D))
  return query, key, _unit(rng.normal(size=(K, D)))


def _single(arrays):
  return tuple(np.asarray(x, np.float32) for x in arrays)


def _unit(x):
  x = np.asarray(x, np.float64)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _cosines(query, key, queue, queue_weights):
  """For each row its positive and the list of its negatives."""
  allowed = np.arange(len(queue))
  if queue_weights is not None:
    allowed = np.flatnonzero(queue_weights)
  return [
    (q @ k, [q @ queue[j] for j in allowed])
    for q, k in zip(_unit(query), _unit(key), strict=True)
  ]


def _info_nce_queue(
  query,
  key,
  queue,
  *,
  temperature=0.2,
  weights=None,
  queue_weights=None,
  block_size=None,
):
  del block_size  # decides how much is held, and no value
  values = [
    np.log(1 + sum(np.exp((n - positive) / temperature) for n in negatives))
    for positive, negatives in _cosines(query, key, queue, queue_weights)
  ]
  return np.average(values, weights=weights)


def _queue_accuracy(query, key, queue, *, weights=None, queue_weights=None):
  hits = [
    positive > max(negatives)
    for positive, negatives in _cosines(query, key, queue, queue_weights)
  ]
  return np.average(hits, weights=weights)


_WEIGHTS = np.array([1, 0, 1, 1, 0.5, 1, 1, 0, 1, 2, 1, 1])
_QUEUE_WEIGHTS = np.array([1, 0, 1, 2, 1, 0, 0.5])
_BOTH = {'weights': _WEIGHTS, 'queue_weights': _QUEUE_WEIGHTS}
_CASES = (
  ('default', {}),
  ('cold', {'temperature': 0.07}),
  ('weights', {'weights': _WEIGHTS}),
  ('queue_weights', {'queue_weights': _QUEUE_WEIGHTS}),
  ('both', {'temperature': 0.5, **_BOTH}),
  ('blocks', {'temperature': 0.5, 'block_size': 4, **_BOTH}),
)


class ReferenceTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(*_CASES)
  def test_value(self, options):
    arrays = _arrays()
    weights = {k: v for k, v in options.items() if np.ndim(v)}
    rest = {k: v for k, v in options.items() if not np.ndim(v)}

    def function(query, key, queue, weights):
      return losses.info_nce_queue(query, key, queue, **weights, **rest)

    value = self.variant(function)(*_single(arrays), weights)
    self.assertEqual(value.dtype, jnp.float32)
    self.assertEqual(value.shape, ())
    expected = _info_nce_queue(*arrays, **options)
    np.testing.assert_allclose(value, expected, rtol=2e-6)

  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(('plain', {}), ('both', _BOTH))
  def test_accuracy(self, options):
    arrays = _arrays(1)

    def function(query, key, queue, options):
      return losses.queue_accuracy(query, key, queue, **options)

    value = self.variant(function)(*_single(arrays), options)
    self.assertEqual(value.dtype, jnp.float32)
    self.assertEqual(value.shape, ())
    expected = _queue_accuracy(*arrays, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert 0.2 < expected < 0.9, 'a test that any constant would pass'


@pytest.mark.parametrize('options', [c[1] for c in _CASES], ids=dict(_CASES))
def test_gradient_against_differences(options):
  """Central differences of the float64 reference, in random directions."""
  query, key, queue = _arrays(2)
  loss = functools.partial(losses.info_nce_queue, **options)
  grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(*_single((query, key, queue)))
  for seed in range(3):
    u, v, _ = _arrays(10 + seed)
    h = 1e-5
    slope = (
      _info_nce_queue(query + h * u, key + h * v, queue, **options)
      - _info_nce_queue(query - h * u, key - h * v, queue, **options)
    ) / (2 * h)
    found = np.vdot(grads[0], u) + np.vdot(grads[1], v)
    np.testing.assert_allclose(found, slope, rtol=2e-4, atol=1e-6)


def test_known_values():
  same = np.ones((4, D), np.float32)
  ones = np.tile(_unit(same[:1]), (K, 1)).astype(np.float32)
  # No candidate is nearer than another: chance.
  for temperature in (0.07, 1.0):
    found = losses.info_nce_queue(same, same, ones, temperature=temperature)
    np.testing.assert_allclose(found, np.log(1 + K), rtol=1e-6)
  # The own key at cosine 1, all K at -1, or the other way round.
  found = losses.info_nce_queue(same, same, -ones, temperature=0.5)
  np.testing.assert_allclose(found, np.log(1 + K * np.exp(-4)), rtol=1e-5)
  assert losses.queue_accuracy(same, same, -ones) == 1
  found = losses.info_nce_queue(same, -same, ones, temperature=0.5)
  np.testing.assert_allclose(found, np.log(1 + K * np.exp(4)), rtol=1e-6)
  assert losses.queue_accuracy(same, -same, ones) == 0


def test_rows_of_one_batch_are_no_negatives():
  """Unlike in `info_nce`: only the queue counts against a row."""
  query, key, queue = _single(_arrays())
  each = [
    losses.info_nce_queue(query[i : i + 1], key[i : i + 1], queue)
    for i in range(N)
  ]
  found = losses.info_nce_queue(query, key, queue)
  np.testing.assert_allclose(found, np.mean(each), rtol=1e-6)


def test_scale_of_query_and_key_but_not_of_the_queue():
  query, key, queue = _single(_arrays())
  sizes = np.geomspace(1e-3, 1e3, N, dtype=np.float32)[:, None]
  for function in (losses.info_nce_queue, losses.queue_accuracy):
    expected = function(query, key, queue)
    for scaled in ((sizes * query, key), (query, sizes * key)):
      np.testing.assert_allclose(function(*scaled, queue), expected, rtol=1e-5)
  # Used as it is: whoever enqueues normalises.
  cosines = [
    np.log(1 + sum(np.exp((2 * n - positive) / 0.2) for n in negatives))
    for positive, negatives in _cosines(query, key, queue, None)
  ]
  found = losses.info_nce_queue(query, key, 2 * queue)
  np.testing.assert_allclose(found, np.mean(cosines), rtol=1e-5)


def test_masked_rows_change_nothing():
  query, key, queue = _single(_arrays(3))
  padding = _WEIGHTS == 0
  grad = jax.jit(
    jax.value_and_grad(
      lambda *arrays: losses.info_nce_queue(*arrays, weights=_WEIGHTS),
      argnums=(0, 1, 2),
    )
  )
  value, grads = grad(query, key, queue)
  accuracy = losses.queue_accuracy(query, key, queue, weights=_WEIGHTS)
  for content in (0.0, 1e4, np.inf, np.nan):
    other_query, other_key = query.copy(), key.copy()
    other_query[padding], other_key[padding] = content, -content
    again, grads_again = grad(other_query, other_key, queue)
    assert again == value
    chex.assert_trees_all_equal(grads_again, grads)
    assert accuracy == losses.queue_accuracy(
      other_query, other_key, queue, weights=_WEIGHTS
    )
  assert not np.any(grads[0][padding]) and not np.any(grads[1][padding])
  keep = ~padding
  expected = losses.info_nce_queue(
    query[keep], key[keep], queue, weights=_WEIGHTS[keep]
  )
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_row_of_the_queue_without_weight_is_no_negative():
  query, key, queue = _single(_arrays(4))
  keep = _QUEUE_WEIGHTS > 0
  grad = jax.value_and_grad(
    lambda *arrays: losses.info_nce_queue(
      *arrays, queue_weights=_QUEUE_WEIGHTS
    ),
    argnums=(0, 1, 2),
  )
  value, grads = grad(query, key, queue)
  np.testing.assert_allclose(
    value, losses.info_nce_queue(query, key, queue[keep]), rtol=1e-6
  )
  assert not np.any(grads[2][~keep])
  # The nearest of all candidates, were it one.
  queue[1] = key[0] / np.linalg.norm(key[0])
  query[0] = key[0] + 0.1
  options = {'queue_weights': _QUEUE_WEIGHTS}
  found = losses.queue_accuracy(query, key, queue, **options)
  assert found == losses.queue_accuracy(query, key, queue[keep])
  # A queue of which nothing counts yet: nothing to be told apart from.
  empty = {'queue_weights': np.zeros(K)}
  chex.assert_tree_all_finite(
    jax.grad(lambda q: losses.info_nce_queue(q, key, queue, **empty))(query)
  )
  assert losses.info_nce_queue(query, key, queue, **empty) == 0
  assert losses.queue_accuracy(query, key, queue, **empty) == 1


def test_ones_as_weights_change_nothing():
  arrays = _single(_arrays(5))
  expected = losses.info_nce_queue(*arrays)
  for dtype in (float, bool, int):
    found = losses.info_nce_queue(
      *arrays, weights=np.ones(N, dtype), queue_weights=np.ones(K, dtype)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_nothing_but_padding_is_zero():
  query, key, queue = (jnp.asarray(x) for x in _single(_arrays()))

  def padding(query):
    return losses.info_nce_queue(query, key, queue, weights=np.zeros(N))

  # Op by op, and no NaN on the way: who hunts one must not be led here.
  with jax.debug_nans(True):
    value, grads = jax.value_and_grad(padding)(query)
  assert value == 0
  np.testing.assert_array_equal(grads, 0)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize('options', [{}, _BOTH], ids=['plain', 'weights'])
@pytest.mark.parametrize('zeros', ['one', 'all'])
def test_finite_at_zero_and_at_low_precision(dtype, options, zeros):
  query, key, queue = _arrays(6)
  rows = slice(3, 4) if zeros == 'one' else slice(None)
  query[rows], key[rows] = 0, 0
  query, key, queue = (jnp.asarray(x, dtype) for x in (query, key, queue))
  value, grads = jax.jit(
    jax.value_and_grad(
      functools.partial(losses.info_nce_queue, **options), argnums=(0, 1)
    )
  )(query, key, queue)
  assert value.dtype == jnp.float32
  assert grads[0].dtype == grads[1].dtype == dtype
  chex.assert_tree_all_finite((value, grads))


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32(dtype):
  """The same numbers in float32 give the same loss, to float32's rounding.

  Squares of 300 overflow float16, and so would exp(1 / 0.05).
  """
  query, key, queue = _arrays(7)
  low = [jnp.asarray(x, dtype) for x in (300 * query, 300 * key, queue)]
  exact = [x.astype(jnp.float32) for x in low]
  loss = functools.partial(losses.info_nce_queue, temperature=0.05)
  np.testing.assert_allclose(loss(*low), loss(*exact), rtol=1e-6)
  found = losses.queue_accuracy(*low)
  assert found.dtype == jnp.float32
  assert found == losses.queue_accuracy(*exact)


def test_shapes_that_do_not_match_are_refused():
  query, key, queue = _single(_arrays())
  for function in (losses.info_nce_queue, losses.queue_accuracy):
    with pytest.raises(ValueError, match=r'key has shape \(11, 5\).*\(12, 5\)'):
      function(query, key[1:], queue)
    with pytest.raises(ValueError, match=r'expected \(rows, d\)'):
      function(query[None], key[None], queue)
    with pytest.raises(ValueError, match=r'weights has shape \(12, 1\)'):
      function(query, key, queue, weights=np.ones((N, 1)))
    with pytest.raises(
      ValueError, match=r'queue has shape \(7, 4\), expected \(k, 5\)'
    ):
      function(query, key, queue[:, 1:])
    with pytest.raises(ValueError, match=r'queue has shape \(7,\)'):
      function(query, key, queue[:, 0])
    # One axis more, and it would stand for the rows: another loss, no error.
    with pytest.raises(ValueError, match=r'queue_weights has shape \(12, 1\)'):
      function(query, key, queue, queue_weights=np.ones((N, 1)))


def _batch():
  """Every device differs in rows, in scale and in weight."""
  rng = np.random.default_rng(0)
  query = rng.normal(size=(ROWS, D)) + np.arange(ROWS)[:, None] / 8
  weights = np.ones(ROWS)
  weights[:LOCAL] = 0  # A device with nothing but padding,
  weights[LOCAL : 2 * LOCAL] = [1, 0, 0]  # one with little,
  weights[-1] = 2.5  # and one with much.
  key = query + rng.normal(size=(ROWS, D))
  arrays = {'query': query, 'key': key, 'weights': weights}
  return {name: x.astype(np.float32) for name, x in arrays.items()}


def _step(state, batch, *, axis_name):
  """Values and gradients, averaged as a train step would."""
  queue = jnp.asarray(_arrays()[2], jnp.float32)

  def objective(params, weights):
    options = {
      'weights': batch['weights'] if weights else None,
      'queue_weights': _QUEUE_WEIGHTS,
      'axis_name': axis_name,
    }
    arrays = batch['query'] @ params['a'], batch['key'] @ params['b'], queue
    return losses.info_nce_queue(*arrays, **options), losses.queue_accuracy(
      *arrays, **options
    )

  found = {
    name: jax.value_and_grad(objective, has_aux=True)(state, name == 'weights')
    for name in ('plain', 'weights')
  }
  return state, parallel.mean(found, axis_name)


@functools.cache
def _found(mapping):
  rng = np.random.default_rng(1)
  params = {
    name: jnp.asarray(np.eye(D) + rng.normal(size=(D, D)) / 16, jnp.float32)
    for name in 'ab'
  }
  step = parallel.compile_step(_step, mapping=mapping)
  return jax.device_get(step(params, _batch())[1])


@pytest.mark.parametrize('mapping', ['shard_map', 'pmap'])
@pytest.mark.parametrize('case', ['plain', 'weights'])
def test_eight_devices_equal_one(mapping, case):
  """Rule 1: the mean of their shares is the loss and gradient of all rows."""
  assert jax.device_count() == DEVICES
  one, many = _found('jit')[case], _found(mapping)[case]
  chex.assert_trees_all_close(many, one, rtol=1e-5, atol=1e-6)
  (_, accuracy), grads = one
  assert 0.1 < accuracy < 0.9, 'an accuracy that tells nothing apart'
  smallest = min(np.abs(g).max() for g in jax.tree.leaves(grads))
  assert smallest > 1e-3, 'gradients too small to tell anything apart'
