"""Sinkhorn and swapped prediction: references, edges, padding and devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssljax import losses, parallel

VIEWS, N, K = 4, 10, 6

_ROW_WEIGHTS = np.array([1, 0, 1, 2.5, 1, 0.5, 0, 1, 1, 1])
_WEIGHTS = np.ones((VIEWS, N))
_WEIGHTS[0, 2] = _WEIGHTS[1, 2:4] = _WEIGHTS[3, 5] = 0
_WEIGHTS[:, 7] = 0
_WEIGHTS[1, 8], _WEIGHTS[2, 9] = 2.5, 0.5


def _scores(seed=0, shape=(N, K)):
  """Cosines, with one prototype that all rows like: columns are uneven."""
  scores = np.random.default_rng(seed).uniform(-0.8, 0.8, size=shape)
  scores[..., 0] += 0.2
  return scores


def _codes(seed=1, views=2):
  codes = np.random.default_rng(seed).uniform(size=(views, N, K)) ** 3
  return codes / codes.sum(axis=-1, keepdims=True)


def _single(x):
  return x.astype(np.float32)


def _sinkhorn(scores, *, epsilon=0.05, iterations=3, weights=None):
  """The listing of SwAV's appendix, entry by entry: (k, rows), summing to 1."""
  keep = range(len(scores)) if weights is None else np.flatnonzero(weights)
  count, k = len(keep), scores.shape[1]
  q = [[np.exp(scores[i, j] / epsilon) for i in keep] for j in range(k)]
  total = sum(map(sum, q))
  q = [[x / total for x in row] for row in q]
  for _ in range(iterations):
    q = [[x / sum(row) / k for x in row] for row in q]
    sums = [sum(q[j][i] for j in range(k)) for i in range(count)]
    q = [[x / s / count for x, s in zip(row, sums, strict=True)] for row in q]
  codes = np.zeros(scores.shape)
  codes[list(keep)] = np.array(q).T * count
  return codes


def _swapped(scores, codes, *, temperature=0.1, weights=None):
  total = count = 0.0
  for i in range(len(codes)):
    for v in range(len(scores)):
      for n in range(scores.shape[1]):
        weight = 1 if weights is None else weights[v, n] * weights[i, n]
        if v == i or not weight:
          continue
        p = np.exp(scores[v, n] / temperature)
        entropy = -sum(codes[i, n] * np.log(p / p.sum()))
        total, count = total + weight * entropy, count + weight
  return total / count


class ReferenceTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(
    ('defaults', {}, None),
    ('one_iteration', dict(iterations=1), None),
    ('soft', dict(epsilon=0.4, iterations=5), None),
    ('weights', {}, _ROW_WEIGHTS),
  )
  def test_sinkhorn(self, options, weights):
    scores = _scores()
    found = self.variant(
      lambda scores, weights: losses.sinkhorn(
        scores, weights=weights, **options
      )
    )(_single(scores), weights)
    self.assertEqual(found.dtype, jnp.float32)
    expected = _sinkhorn(scores, weights=weights, **options)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-8)

  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(
    ('defaults', VIEWS, 2, {}, None),
    ('two_views', 2, 2, dict(temperature=0.5), None),
    ('one_code', VIEWS, 1, {}, None),
    ('weights', VIEWS, 2, {}, _WEIGHTS),
  )
  def test_swapped_prediction(self, views, count, options, weights):
    scores, codes = _scores(shape=(views, N, K)), _codes(views=count)
    found = self.variant(
      lambda scores, codes, weights: losses.swapped_prediction(
        scores, codes, weights=weights, **options
      )
    )(_single(scores), _single(codes), weights)
    self.assertEqual(found.dtype, jnp.float32)
    self.assertEqual(found.shape, ())
    expected = _swapped(scores, codes, weights=weights, **options)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize('weights', [None, _WEIGHTS], ids=['plain', 'weights'])
def test_swapped_gradient_against_differences(weights):
  """Central differences of the float64 reference, of scores and of codes."""
  scores, codes = _scores(shape=(VIEWS, N, K)), _codes()
  loss = functools.partial(losses.swapped_prediction, weights=weights)
  grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(
    _single(scores), _single(codes)
  )
  for seed in range(3):
    u, v = _scores(10 + seed, scores.shape), _scores(20 + seed, codes.shape)
    h = 1e-5
    high, low = (
      _swapped(scores + h * s * u, codes + h * s * v, weights=weights)
      for s in (1, -1)
    )
    found = np.vdot(grads[0], u) + np.vdot(grads[1], v)
    np.testing.assert_allclose(found, (high - low) / (2 * h), rtol=1e-4)


@pytest.mark.parametrize('shape', [(64, 300), (3, 50)])
@pytest.mark.parametrize('iterations', [1, 3])
def test_rows_sum_to_one(shape, iterations):
  codes = losses.sinkhorn(_single(_scores(2, shape)), iterations=iterations)
  assert np.all(codes >= 0)
  np.testing.assert_allclose(np.sum(codes, axis=1), 1, atol=1e-6)


def test_columns_approach_their_share():
  scores = _single(_scores(3, (30, K)))
  off = [
    np.abs(
      np.sum(losses.sinkhorn(scores, iterations=i), axis=0) / (30 / K) - 1
    ).max()
    for i in (1, 3, 200)
  ]
  assert off[0] > off[1] > 0.1, 'a test that any scores would pass'
  assert off[2] < 1e-4


def test_sinkhorn_known_values():
  np.testing.assert_allclose(
    losses.sinkhorn(np.full((N, K), 0.7, np.float32)), 1 / K, rtol=1e-6
  )
  # exp: [[2, 1], [1, 1]]; columns: [[2/3, 1/2], [1/3, 1/2]]; then the rows.
  scores = np.log(np.array([[2, 1], [1, 1]], np.float32))
  np.testing.assert_allclose(
    losses.sinkhorn(scores, epsilon=1.0, iterations=1),
    [[4 / 7, 3 / 7], [2 / 5, 3 / 5]],
    rtol=1e-6,
  )


def test_sinkhorn_ignores_shifts():
  """Of all scores, and of a prototype's: its column is divided anyway."""
  scores = _single(_scores(4))
  codes = losses.sinkhorn(scores)
  for shift in (3.0, -3.0, np.arange(K, dtype=np.float32)):
    again = losses.sinkhorn(scores + shift)
    np.testing.assert_allclose(again, codes, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
def test_sinkhorn_with_large_scores(dtype):
  """exp(1 / 0.01) is no float32, and a prototype that all avoid is 0 / 0."""
  signs = np.random.default_rng(5).choice([-1.0, 1.0], size=(N, K))
  signs[:, 0], signs[3], signs[4] = -1, 1, -1
  codes, slope = jax.value_and_grad(
    lambda scores: (losses.sinkhorn(scores, epsilon=0.01)[:, 1] ** 2).sum()
  )(jnp.asarray(signs, dtype))
  assert np.isfinite(codes) and np.all(np.isfinite(slope))
  codes = losses.sinkhorn(jnp.asarray(signs, dtype), epsilon=0.01)
  assert codes.dtype == jnp.float32
  expected = _sinkhorn(signs, epsilon=0.01)
  np.testing.assert_allclose(codes, expected, rtol=1e-3, atol=1e-6)
  assert np.sum(codes[:, 0]) > 0.5, 'the avoided prototype gets its share'


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32(dtype):
  scores = jnp.asarray(30 * _scores(shape=(VIEWS, N, K)), dtype)
  exact = scores.astype(jnp.float32)
  codes = losses.sinkhorn(scores[0])
  assert codes.dtype == jnp.float32
  np.testing.assert_array_equal(codes, losses.sinkhorn(exact[0]))
  codes = jnp.asarray(_codes(), dtype)
  value, grads = jax.value_and_grad(losses.swapped_prediction)(scores, codes)
  assert value.dtype == jnp.float32 and grads.dtype == dtype
  assert np.all(np.isfinite(grads))
  np.testing.assert_allclose(
    value,
    losses.swapped_prediction(exact, codes.astype(jnp.float32)),
    rtol=1e-6,
  )


def test_sinkhorn_padding():
  scores, padding = _single(_scores(6)), _ROW_WEIGHTS == 0
  target = _single(_scores(7))

  @jax.jit
  def run(scores):
    def objective(scores):
      codes = losses.sinkhorn(scores, weights=_ROW_WEIGHTS)
      return (codes * target).sum(), codes

    return jax.grad(objective, has_aux=True)(scores)

  grads, codes = run(scores)
  assert not np.any(codes[padding]) and not np.any(grads[padding])
  assert np.all(np.any(grads, axis=1) == ~padding)
  np.testing.assert_allclose(
    codes[~padding], losses.sinkhorn(scores[~padding]), rtol=1e-5, atol=1e-9
  )
  for content in (1e4, np.inf, -np.inf, np.nan):
    scores[padding] = content
    chex.assert_trees_all_equal(run(scores), (grads, codes))


def test_swapped_padding():
  scores, codes = _single(_scores(8, (VIEWS, N, K))), _single(_codes())
  padding = _WEIGHTS == 0
  grad = jax.jit(
    jax.value_and_grad(
      functools.partial(losses.swapped_prediction, weights=_WEIGHTS),
      argnums=(0, 1),
    )
  )
  expected = grad(scores, codes)
  assert not np.any(expected[1][0][padding])
  assert not np.any(expected[1][1][padding[:2]])
  for content in (1e4, np.inf, -np.inf, np.nan):
    scores[padding], codes[padding[:2]] = content, content
    chex.assert_trees_all_equal(grad(scores, codes), expected)


def test_nothing_but_padding_is_zero():
  scores, codes = jnp.asarray(_scores(9, (VIEWS, N, K))), jnp.asarray(_codes())
  with jax.debug_nans(True):
    found, grads = jax.value_and_grad(
      lambda x: losses.sinkhorn(x, weights=np.zeros(N))[:, 1].sum()
    )(scores[0])
    assert found == 0 and not np.any(grads)
    value, grads = jax.value_and_grad(losses.swapped_prediction)(
      scores, codes, weights=np.zeros((VIEWS, N))
    )
  assert value == 0 and not np.any(grads)


def test_ones_as_weights_change_nothing():
  scores, codes = _single(_scores(shape=(VIEWS, N, K))), _single(_codes())
  plain = losses.swapped_prediction(scores, codes)
  for ones in (np.ones((VIEWS, N)), np.ones((VIEWS, N), bool)):
    found = losses.swapped_prediction(scores, codes, weights=ones)
    np.testing.assert_allclose(found, plain, rtol=1e-6)
  plain = losses.sinkhorn(scores[0])
  for some in (np.ones(N, bool), np.linspace(0.1, 9, N)):
    found = losses.sinkhorn(scores[0], weights=some)
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_swapped_known_values():
  # Codes are predicted by the other view: [0, 0] and softmax([1, 0] / 0.5).
  scores = np.array([[[1, 0]], [[0, 0]]], np.float32)
  codes = np.array([[[0.75, 0.25]], [[0, 1]]], np.float32)
  np.testing.assert_allclose(
    losses.swapped_prediction(scores, codes, temperature=0.5),
    (np.log(2) + np.log(1 + np.exp(2))) / 2,
    rtol=1e-6,
  )
  flat = np.full((VIEWS, N, K), 0.3, np.float32)
  found = losses.swapped_prediction(flat, _single(_codes()))
  np.testing.assert_allclose(found, np.log(K), rtol=1e-6)
  codes = _codes(views=1)
  same = np.broadcast_to(0.1 * np.log(codes), (VIEWS, N, K))
  entropy = -np.mean(np.sum(codes * np.log(codes), axis=-1))
  found = losses.swapped_prediction(_single(same), _single(codes))
  np.testing.assert_allclose(found, entropy, rtol=1e-5)


def test_shapes_that_do_not_match_are_refused():
  scores, codes = _scores(shape=(VIEWS, N, K)), _codes()
  with pytest.raises(ValueError, match=r'scores has shape \(4, 10, 6\)'):
    losses.sinkhorn(scores)
  with pytest.raises(ValueError, match=r'weights has shape \(3,\)'):
    losses.sinkhorn(scores[0], weights=np.ones(3))
  with pytest.raises(ValueError, match='iterations is 0'):
    losses.sinkhorn(scores[0], iterations=0)
  with pytest.raises(ValueError, match=r'scores has shape \(10, 6\)'):
    losses.swapped_prediction(scores[0], codes)
  with pytest.raises(ValueError, match=r'expected .* 2 views or more'):
    losses.swapped_prediction(scores[:1], codes[:1])
  for wrong in (codes[:, 1:], codes[..., :1], codes[0], codes[:0]):
    with pytest.raises(ValueError, match=r'codes has .*\(1 to 4, 10, 6\)'):
      losses.swapped_prediction(scores, wrong)
  with pytest.raises(ValueError, match=r'codes has shape \(4, 10, 6\)'):
    losses.swapped_prediction(scores[:3], _codes(views=4))
  with pytest.raises(ValueError, match=r'weights has shape \(10,\).*\(4, 10\)'):
    losses.swapped_prediction(scores, codes, weights=np.ones(N))


DEVICES, LOCAL, D = 8, 3, 5
ROWS = DEVICES * LOCAL


def _joint(scores, batch, weights, axis_name):
  """Both, with the gradient running through the codes as well."""
  codes = losses.sinkhorn(
    scores[0],
    epsilon=0.5,
    iterations=2,
    weights=None if weights is None else weights[0],
    axis_name=axis_name,
  )
  value = losses.swapped_prediction(
    scores, codes[None], weights=weights, axis_name=axis_name
  )
  return value, parallel.gather(codes, axis_name)


def _alone(scores, batch, weights, axis_name):
  codes = jnp.swapaxes(batch['codes'], 0, 1)
  return losses.swapped_prediction(
    scores, codes, temperature=0.5, weights=weights, axis_name=axis_name
  ), []


_CASES = {
  f'{name}/{kind}': (function, kind == 'weights')
  for name, function in (('joint', _joint), ('alone', _alone))
  for kind in ('plain', 'weights')
}


def _step(state, batch, *, axis_name):
  """Value, codes and gradients of each case, averaged as a train step would."""

  def objective(params, function, weighted):
    features = jnp.swapaxes(batch['x'], 0, 1) @ params['encoder']
    scores = losses.normalize(features) @ params['prototypes']
    weights = batch['weights'].T if weighted else None
    return function(scores, batch, weights, axis_name)

  found = {}
  for name, (function, weighted) in _CASES.items():
    value, grads = jax.value_and_grad(objective, has_aux=True)(
      state, function, weighted
    )
    found[name] = parallel.mean((value, grads), axis_name)
  return state, found


def _batch():
  """Every device differs in rows, in scale and in weight."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(ROWS, 1, D)) + np.arange(ROWS)[:, None, None] / 8
  codes = rng.uniform(size=(ROWS, 2, K)) ** 3
  weights = np.ones((ROWS, 3))
  weights[:LOCAL] = 0  # A device with nothing but padding,
  weights[LOCAL : 2 * LOCAL, 0] = [1, 0, 0]  # one with little in one view,
  weights[-1] = [2.5, 1, 0.5]
  weights[-5, 2] = 0
  return {
    'x': _single(x + 0.5 * rng.normal(size=(ROWS, 3, D))),
    'codes': _single(codes / codes.sum(axis=-1, keepdims=True)),
    'weights': _single(weights),
  }


@pytest.fixture(scope='module')
def found():
  def run(mapping):
    rng = np.random.default_rng(1)
    params = {
      'encoder': jnp.asarray(rng.normal(size=(D, 4)), jnp.float32),
      'prototypes': jnp.asarray(rng.normal(size=(4, K)), jnp.float32),
    }
    step = parallel.compile_step(_step, mapping=mapping)
    return jax.device_get(step(params, _batch())[1])

  assert jax.device_count() == DEVICES
  return {mapping: run(mapping) for mapping in parallel.MAPPINGS}


@pytest.mark.parametrize('mapping', ['shard_map', 'pmap'])
@pytest.mark.parametrize('case', list(_CASES))
def test_eight_devices_equal_one(found, mapping, case):
  one, many = found['jit'][case], found[mapping][case]
  chex.assert_trees_all_close(many, one, rtol=1e-5, atol=1e-6)
  smallest = min(np.abs(g).max() for g in jax.tree.leaves(one[1]))
  assert smallest > 1e-3, 'gradients too small to tell anything apart'
