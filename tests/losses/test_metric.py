"""Pairs, triplets and N-pairs: references, edges, padding and devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssljax import losses, parallel

N, D = 12, 5

_WEIGHTS = np.array([1, 0, 1, 1, 0.5, 1, 1, 0, 1, 2, 1, 1])
_SAME = np.arange(N) % 3 == 0
_LABELS = np.array([0, 0, 1, 2, 2, 2, 0, 1, 3, 3, 0, 1])
# Half a matrix, the own column included or not: it must make no difference.
_NEGATIVES = _LABELS[:, None] != _LABELS
_NEGATIVES[2, 2] = True


def _rows(seed=0, count=3, scale=0.4):
  """Distances around 1, so that margins of 1 are met by some and not all."""
  rng = np.random.default_rng(seed)
  return [scale * rng.normal(size=(N, D)) for _ in range(count)]


def _single(arrays):
  return [x.astype(np.float32) for x in arrays]


def _mean(values, weights):
  return sum(values) / (N if weights is None else sum(weights))


def _margin(a, b, *, margin=1.0, same=_SAME, weights=None):
  def one(i):
    d = np.sqrt(sum((a[i] - b[i]) ** 2))
    return d**2 if same[i] else max(0, margin - d) ** 2

  w = np.ones(N) if weights is None else weights
  return _mean([w[i] * one(i) for i in np.flatnonzero(w)], weights)


def _triplet(anchor, positive, negative, *, margin=0.2, weights=None):
  def one(i):
    near = sum((anchor[i] - positive[i]) ** 2)
    far = sum((anchor[i] - negative[i]) ** 2)
    return max(0, near - far + margin)

  w = np.ones(N) if weights is None else weights
  return _mean([w[i] * one(i) for i in np.flatnonzero(w)], weights)


def _n_pair(anchor, positive, *, weights=None, negatives=None):
  w = np.ones(N) if weights is None else weights

  def one(i):
    total = 0.0
    for j in np.flatnonzero(w):
      if j != i and (negatives is None or negatives[i, j]):
        total += np.exp(anchor[i] @ positive[j] - anchor[i] @ positive[i])
    return np.log(1 + total)

  return _mean([w[i] * one(i) for i in np.flatnonzero(w)], weights)


def _pairs(a, b, **options):
  return losses.margin_contrastive(a, b, _SAME, **options)


# name, loss, reference, how many arrays, options
_CASES = (
  ('margin', _pairs, _margin, 2, {}),
  ('margin_wide', _pairs, _margin, 2, dict(margin=2.5)),
  ('margin_weights', _pairs, _margin, 2, dict(weights=_WEIGHTS)),
  ('triplet', losses.triplet, _triplet, 3, {}),
  ('triplet_wide', losses.triplet, _triplet, 3, dict(margin=1.0)),
  ('triplet_weights', losses.triplet, _triplet, 3, dict(weights=_WEIGHTS)),
  ('n_pair', losses.n_pair, _n_pair, 2, {}),
  ('n_pair_weights', losses.n_pair, _n_pair, 2, dict(weights=_WEIGHTS)),
  ('n_pair_negatives', losses.n_pair, _n_pair, 2, dict(negatives=_NEGATIVES)),
  (
    'n_pair_both',
    losses.n_pair,
    _n_pair,
    2,
    dict(weights=_WEIGHTS, negatives=_NEGATIVES),
  ),
)

_every_loss = pytest.mark.parametrize(
  ('loss', 'count'),
  [(_pairs, 2), (losses.triplet, 3), (losses.n_pair, 2)],
  ids=['margin', 'triplet', 'n_pair'],
)


class ReferenceTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(*_CASES)
  def test_value(self, loss, reference, count, options):
    arrays = _rows(count=count)
    extra = {k: v for k, v in options.items() if np.ndim(v)}
    rest = {k: v for k, v in options.items() if not np.ndim(v)}

    def function(arrays, extra):
      return loss(*arrays, **extra, **rest)

    value = self.variant(function)(_single(arrays), extra)
    self.assertEqual(value.dtype, jnp.float32)
    self.assertEqual(value.shape, ())
    np.testing.assert_allclose(value, reference(*arrays, **options), rtol=2e-6)


@pytest.mark.parametrize('case', _CASES, ids=[c[0] for c in _CASES])
def test_gradient_against_differences(case):
  """Central differences of the float64 reference, in random directions."""
  _, loss, reference, count, options = case
  arrays = _rows(2, count)
  grads = jax.jit(
    jax.grad(functools.partial(loss, **options), argnums=tuple(range(count)))
  )(*_single(arrays))
  for seed in range(3):
    directions = _rows(10 + seed, count)
    h = 1e-6
    high, low = (
      reference(
        *(x + s * h * u for x, u in zip(arrays, directions, strict=True)),
        **options,
      )
      for s in (1, -1)
    )
    found = sum(np.vdot(g, u) for g, u in zip(grads, directions, strict=True))
    np.testing.assert_allclose(found, (high - low) / (2 * h), rtol=2e-4)


def test_margin_known_values():
  a = np.array([[0, 0], [1, 1], [3, 0], [2, 2]], np.float32)
  b = np.array([[0.3, 0.4], [1.3, 1.4], [0, 0], [2, 2]], np.float32)
  # d is 0.5, 0.5, 3 and 0; without the half that Hadsell has.
  for same, expected in (
    ([True, False, False, False], [0.25, 0.25, 0, 1]),
    ([1, 1, 1, 1], [0.25, 0.25, 9, 0]),
    ([0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 9, 1]),
  ):
    found = losses.margin_contrastive(a, b, np.array(same))
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)
  found = losses.margin_contrastive(a, b, np.zeros(4), margin=4.0)
  np.testing.assert_allclose(found, np.mean([3.5**2, 3.5**2, 1, 16]), rtol=1e-5)


def test_triplet_known_values():
  anchor = np.zeros((3, 2), np.float32)
  positive = np.array([[1, 0], [1, 0], [0, 2]], np.float32)
  negative = np.array([[2, 0], [0, 1], [1, 0]], np.float32)
  # Squared: 1 - 4 + 0.2 is met, 1 - 1 + 0.2 and 4 - 1 + 0.2 are not.
  found = losses.triplet(anchor, positive, negative)
  np.testing.assert_allclose(found, (0 + 0.2 + 3.2) / 3, rtol=1e-6)
  found = losses.triplet(anchor, positive, negative, margin=4.0)
  np.testing.assert_allclose(found, (1 + 4 + 7) / 3, rtol=1e-6)


def test_n_pair_known_values():
  eye = np.eye(4, D, dtype=np.float32)
  for scale in (1.0, 2.0):  # As given: the length counts.
    found = losses.n_pair(scale * eye, eye)
    np.testing.assert_allclose(found, np.log(1 + 3 * np.exp(-scale)), rtol=1e-6)
  zeros = np.zeros((4, D), np.float32)
  np.testing.assert_allclose(losses.n_pair(zeros, eye), np.log(4), rtol=1e-6)
  none = np.zeros((4, 4), bool)
  np.testing.assert_allclose(
    losses.n_pair(-eye, eye, negatives=none), 0, atol=1e-7
  )


def test_n_pair_does_not_overflow():
  """exp(1000) is no float32: the loss is the difference itself."""
  anchor = np.array([[1000, 0], [0, 1000]], np.float32)
  wrong = np.array([[0, 1], [1, 0]], np.float32)
  value, grads = jax.value_and_grad(losses.n_pair)(anchor, wrong)
  np.testing.assert_allclose(value, 1000, rtol=1e-6)
  np.testing.assert_allclose(grads, np.array([[1, -1], [-1, 1]]) / 2)
  right, grads = jax.value_and_grad(losses.n_pair)(anchor, wrong[::-1])
  assert right == 0 and not np.any(grads)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
def test_coinciding_pairs_have_a_finite_gradient(dtype):
  """Rule 5: the distance has no slope at 0, and its square has slope 0."""
  a = jnp.asarray(_rows()[0], dtype)
  for same in (np.ones(N), np.zeros(N), _SAME):
    value, grads = jax.value_and_grad(
      losses.margin_contrastive, argnums=(0, 1)
    )(a, a, same)
    np.testing.assert_allclose(value, np.mean(same == 0), atol=1e-5)
    for grad in grads:
      np.testing.assert_array_equal(grad, 0)
  # A step apart there is a direction, and the slope is that of the margin.
  b = a.at[:, 0].add(jnp.asarray(0.125, dtype))
  squares = (b[:, 0] - a[:, 0]).astype(jnp.float32)
  grads = jax.grad(losses.margin_contrastive)(a, b, np.zeros(N))
  np.testing.assert_allclose(grads[:, 0], 2 * (1 - squares) / N, rtol=1e-2)


@_every_loss
def test_masked_rows_change_nothing(loss, count):
  arrays, padding = _single(_rows(3, count)), _WEIGHTS == 0
  grad = jax.jit(
    jax.value_and_grad(
      lambda arrays: loss(*arrays, weights=_WEIGHTS),
    )
  )
  value, grads = grad(arrays)
  assert not any(np.any(g[padding]) for g in grads)
  for content in (0.0, 1e4, np.inf, np.nan):
    for sign, x in zip((1, -1, 1), arrays, strict=False):
      x[padding] = sign * content
    chex.assert_trees_all_equal(grad(arrays), (value, grads))
  if loss is not _pairs:
    kept = (x[~padding] for x in arrays)
    found = loss(*kept, weights=_WEIGHTS[~padding])
    np.testing.assert_allclose(found, value, rtol=1e-6)


def test_masked_labels_change_nothing():
  """Whether padding belongs together may be anything, too."""
  a, b = _single(_rows(count=2))
  same = _SAME.astype(np.float32)
  grad = jax.value_and_grad(losses.margin_contrastive)
  expected = grad(a, b, same, weights=_WEIGHTS)
  same[_WEIGHTS == 0] = np.nan
  chex.assert_trees_all_equal(grad(a, b, same, weights=_WEIGHTS), expected)


def test_masked_candidates_may_be_named_negatives():
  a, b = _single(_rows(count=2))
  expected = losses.n_pair(a, b, weights=_WEIGHTS)
  found = losses.n_pair(a, b, weights=_WEIGHTS, negatives=np.ones((N, N), bool))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


@_every_loss
def test_ones_as_weights_change_nothing(loss, count):
  arrays = _single(_rows(4, count))
  expected = loss(*arrays)
  for ones in (np.ones(N), np.ones(N, bool), np.full(N, 3)):
    found = loss(*arrays, weights=ones)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@_every_loss
def test_nothing_but_padding_is_zero(loss, count):
  def padding(arrays):
    return loss(*arrays, weights=np.zeros(N))

  arrays = [jnp.asarray(x) for x in _single(_rows(count=count))]
  # Op by op, and no NaN on the way: who hunts one must not be led here.
  with jax.debug_nans(True):
    value, grads = jax.value_and_grad(padding)(arrays)
  assert value == 0
  assert not any(np.any(g) for g in grads)


@_every_loss
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize('weights', [None, _WEIGHTS], ids=['plain', 'weights'])
@pytest.mark.parametrize('zeros', ['one', 'all'])
def test_finite_at_zero(loss, count, dtype, weights, zeros):
  arrays = _rows(5, count)
  for x in arrays:
    x[3 if zeros == 'one' else slice(None)] = 0
  value, grads = jax.value_and_grad(lambda x: loss(*x, weights=weights))(
    [jnp.asarray(x, dtype) for x in arrays]
  )
  assert value.dtype == jnp.float32
  assert all(g.dtype == dtype for g in grads)
  chex.assert_tree_all_finite((value, grads))


@_every_loss
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32(loss, count, dtype):
  """Squares of 300 overflow float16, and dot products do."""
  arrays = [jnp.asarray(x, dtype) for x in _rows(6, count, scale=300)]
  exact = loss(*(x.astype(jnp.float32) for x in arrays))
  assert np.isfinite(exact)
  np.testing.assert_allclose(loss(*arrays), exact, rtol=1e-6)


def test_shapes_that_do_not_match_are_refused():
  a, b, c = _rows()
  with pytest.raises(ValueError, match=r'b has shape \(11, 5\).*\(12, 5\)'):
    losses.margin_contrastive(a, b[1:], _SAME)
  for same in (_SAME[1:], _SAME[:, None], True):
    with pytest.raises(ValueError, match=r'same has shape .*\(12,\)'):
      losses.margin_contrastive(a, b, same)
  with pytest.raises(ValueError, match=r'weights has shape \(12, 1\)'):
    losses.margin_contrastive(a, b, _SAME, weights=np.ones((N, 1)))
  with pytest.raises(ValueError, match=r'negative has shape \(1, 5\)'):
    losses.triplet(a, b, c[:1])
  with pytest.raises(ValueError, match=r'weights has shape \(3,\)'):
    losses.triplet(a, b, c, weights=np.ones(3))
  with pytest.raises(ValueError, match=r'positive has shape \(12, 1\)'):
    losses.n_pair(a, b[:, :1])
  with pytest.raises(ValueError, match=r'negatives has shape .*\(12, 12\)'):
    losses.n_pair(a, b, negatives=_NEGATIVES[:, :1])
  with pytest.raises(ValueError, match=r'expected \(rows, d\)'):
    losses.n_pair(a[None], b[None])


DEVICES, LOCAL = 8, 3
ROWS = DEVICES * LOCAL


def _device_cases(axis_name):
  """name -> loss(a, b, c, batch) over the devices of an axis."""

  def case(function, count, *names, **options):
    def loss(arrays, batch):
      chosen = {name: batch[name] for name in names}
      return function(*arrays[:count], axis_name=axis_name, **chosen, **options)

    return loss

  margin, pair = losses.margin_contrastive, losses.n_pair
  return {
    'margin': case(margin, 2, 'same', margin=4.0),
    'margin/weights': case(margin, 2, 'same', 'weights', margin=4.0),
    'triplet': case(losses.triplet, 3, margin=3.0),
    'triplet/weights': case(losses.triplet, 3, 'weights', margin=3.0),
    'n_pair': case(pair, 2),
    'n_pair/weights': case(pair, 2, 'weights'),
    'n_pair/negatives': case(pair, 2, 'negatives'),
    'n_pair/both': case(pair, 2, 'negatives', 'weights'),
  }


def _step(state, batch, *, axis_name):
  """Value and gradients of every case, averaged as a train step would."""

  def objective(params, loss):
    arrays = [batch[name] @ params[name] for name in ('a', 'b', 'c')]
    return loss(arrays, batch)

  found = {}
  for name, loss in _device_cases(axis_name).items():
    value, grads = jax.value_and_grad(objective)(state, loss)
    if name.startswith(('margin', 'n_pair')):
      del grads['c']
    found[name] = parallel.mean((value, grads), axis_name)
  return state, found


def _batch():
  """Every device differs in rows, in scale, in weight and in labels."""
  rng = np.random.default_rng(0)
  a = rng.normal(size=(ROWS, D)) + np.arange(ROWS)[:, None] / 8
  weights = np.ones(ROWS)
  weights[:LOCAL] = 0  # A device with nothing but padding,
  weights[LOCAL : 2 * LOCAL] = [1, 0, 0]  # one with little,
  weights[-1] = 2.5
  labels = np.arange(ROWS) // 5  # and classes that straddle devices.
  b, c = (a + rng.normal(size=(ROWS, D)) for _ in range(2))
  return {
    **dict(zip('abc', _single([a, b, c]), strict=True)),
    'same': np.arange(ROWS) % 5 < 2,
    'weights': weights.astype(np.float32),
    'negatives': labels[:, None] != labels,
  }


@pytest.fixture(scope='module')
def found():
  def run(mapping):
    rng = np.random.default_rng(1)
    first = 0.3 * rng.normal(size=(D, 4))
    params = {
      name: jnp.asarray(first + 0.1 * rng.normal(size=(D, 4)), jnp.float32)
      for name in 'abc'
    }
    step = parallel.compile_step(_step, mapping=mapping)
    return jax.device_get(step(params, _batch())[1])

  assert jax.device_count() == DEVICES
  return {mapping: run(mapping) for mapping in parallel.MAPPINGS}


@pytest.mark.parametrize('mapping', ['shard_map', 'pmap'])
@pytest.mark.parametrize('case', list(_device_cases(None)))
def test_eight_devices_equal_one(found, mapping, case):
  one, many = found['jit'][case], found[mapping][case]
  chex.assert_trees_all_close(many, one, rtol=1e-5, atol=1e-6)
  smallest = min(np.abs(g).max() for g in jax.tree.leaves(one[1]))
  assert smallest > 1e-3, 'gradients too small to tell anything apart'
