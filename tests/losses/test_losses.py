"""Each loss against float64 NumPy, at the edges, and at low precision."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssljax import losses

N, D = 12, 5


def _rows(seed=0, rows=N):
  rng = np.random.default_rng(seed)
  a = rng.normal(size=(rows, D))
  return a, a + rng.normal(size=(rows, D))


def _unit(x):
  x = np.asarray(x, np.float64)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _cross_entropy(logits, target, candidates):
  """-log softmax at `target` over `candidates`, spelled out for one row."""
  return np.log(sum(np.exp(logits[j] - logits[target]) for j in candidates))


def _info_nce(a, b, *, temperature, weights=None, groups=None, block_size=None):
  del block_size  # decides how much is held, and no value
  a, b = _unit(a), _unit(b)
  weights = np.ones(len(a)) if weights is None else weights
  groups = np.zeros(len(a)) if groups is None else groups
  total = 0.0
  for i in np.flatnonzero(weights):
    same = [j for j in np.flatnonzero(weights) if groups[j] == groups[i]]
    forward = _cross_entropy(b @ a[i] / temperature, i, same)
    backward = _cross_entropy(a @ b[i] / temperature, i, same)
    total += weights[i] * (forward + backward) / 2
  return total / weights.sum() if weights.any() else 0.0


def _nt_xent(a, b, *, temperature, weights=None, block_size=None):
  del block_size
  n = len(a)
  z = np.concatenate([_unit(a), _unit(b)])
  weights = np.ones(n) if weights is None else weights
  weights = np.concatenate([weights, weights])
  total = 0.0
  for i in np.flatnonzero(weights):
    others = [j for j in np.flatnonzero(weights) if j != i]
    loss = _cross_entropy(z @ z[i] / temperature, (i + n) % (2 * n), others)
    total += weights[i] * loss
  return total / weights.sum() if weights.any() else 0.0


def _negative_cosine(a, b, *, weights=None):
  return -np.average(np.sum(_unit(a) * _unit(b), axis=1), weights=weights)


_WEIGHTS = np.array([1, 0, 1, 1, 0.5, 1, 1, 0, 1, 2, 1, 1])
_GROUPS = np.array([7, 7, 7, 3, 3, 3, 3, 9, 9, 9, 5, 7])

_CASES = (
  ('info_nce', losses.info_nce, _info_nce, dict(temperature=0.1)),
  ('info_nce_warm', losses.info_nce, _info_nce, dict(temperature=0.7)),
  (
    'info_nce_weights',
    losses.info_nce,
    _info_nce,
    dict(temperature=0.1, weights=_WEIGHTS),
  ),
  (
    'info_nce_groups',
    losses.info_nce,
    _info_nce,
    dict(temperature=0.1, groups=_GROUPS),
  ),
  (
    'info_nce_weights_groups',
    losses.info_nce,
    _info_nce,
    dict(temperature=0.1, weights=_WEIGHTS, groups=_GROUPS),
  ),
  ('nt_xent', losses.nt_xent, _nt_xent, dict(temperature=0.1)),
  (
    'nt_xent_weights',
    losses.nt_xent,
    _nt_xent,
    dict(temperature=0.5, weights=_WEIGHTS),
  ),
  (
    'info_nce_blocks',
    losses.info_nce,
    _info_nce,
    dict(temperature=0.1, weights=_WEIGHTS, groups=_GROUPS, block_size=5),
  ),
  (
    'nt_xent_blocks',
    losses.nt_xent,
    _nt_xent,
    dict(temperature=0.5, weights=_WEIGHTS, block_size=7),
  ),
  ('negative_cosine', losses.negative_cosine, _negative_cosine, {}),
  (
    'negative_cosine_weights',
    losses.negative_cosine,
    _negative_cosine,
    dict(weights=_WEIGHTS),
  ),
)

# What padding does is asked of all; a temperature where there is one.
_ALL = (
  functools.partial(losses.info_nce, temperature=0.1),
  functools.partial(losses.nt_xent, temperature=0.1),
  functools.partial(losses.info_nce, temperature=0.1, block_size=5),
  functools.partial(losses.nt_xent, temperature=0.1, block_size=5),
  losses.negative_cosine,
)
_every_loss = pytest.mark.parametrize(
  'loss',
  _ALL,
  ids=[
    *('info_nce', 'nt_xent', 'info_nce_blocks', 'nt_xent_blocks'),
    'negative_cosine',
  ],
)


class ReferenceTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(*_CASES)
  def test_value(self, loss, reference, options):
    a, b = _rows()
    arrays = {k: v for k, v in options.items() if np.ndim(v)}
    rest = {k: v for k, v in options.items() if not np.ndim(v)}

    def function(a, b, arrays):
      return loss(a, b, **arrays, **rest)

    value = self.variant(function)(
      a.astype(np.float32), b.astype(np.float32), arrays
    )
    self.assertEqual(value.dtype, jnp.float32)
    self.assertEqual(value.shape, ())
    np.testing.assert_allclose(value, reference(a, b, **options), rtol=2e-6)

  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  def test_retrieval(self):
    a, b = _rows(1)
    similarity = _unit(a) @ _unit(b).T
    similarity[:, _WEIGHTS == 0] = -2
    backward = _unit(b) @ _unit(a).T
    backward[:, _WEIGHTS == 0] = -2
    hits = [x.argmax(1) == np.arange(N) for x in (similarity, backward)]
    expected = np.average(np.mean(hits, axis=0), weights=_WEIGHTS)
    accuracy, chance = self.variant(losses.retrieval_accuracy)(
      a.astype(np.float32), b.astype(np.float32), weights=_WEIGHTS
    )
    np.testing.assert_allclose(accuracy, expected, rtol=1e-6)
    assert 0.2 < expected < 0.9, 'a test that any constant would pass'
    np.testing.assert_allclose(chance, 1 / np.count_nonzero(_WEIGHTS))


@pytest.mark.parametrize(
  'options', [{}, {'groups': _GROUPS}], ids=['plain', 'groups']
)
def test_retrieval_costs_no_second_product(options):
  """A train step compiles both, and one forward and two backward products."""
  a, b = (x.astype(np.float32) for x in _rows())

  def step(a, b):
    accuracy = losses.retrieval_accuracy(a, b, **options)
    return losses.info_nce(a, b, **options), accuracy

  grad = jax.value_and_grad(step, argnums=(0, 1), has_aux=True)
  compiled = jax.jit(grad).lower(a, b).compile()
  assert compiled.as_text().count(' dot(') == 3


@pytest.mark.parametrize('case', _CASES, ids=[c[0] for c in _CASES])
def test_gradient_against_differences(case):
  """Central differences of the float64 reference, in random directions."""
  _, loss, reference, options = case
  a, b = _rows(2)
  da, db = jax.jit(
    jax.grad(functools.partial(loss, **options), argnums=(0, 1))
  )(a.astype(np.float32), b.astype(np.float32))
  for seed in range(3):
    u, v = _rows(10 + seed)
    h = 1e-5
    slope = (
      reference(a + h * u, b + h * v, **options)
      - reference(a - h * u, b - h * v, **options)
    ) / (2 * h)
    found = np.vdot(da, u) + np.vdot(db, v)
    np.testing.assert_allclose(found, slope, rtol=2e-4, atol=1e-6)


def test_known_values():
  eye = np.eye(4, D, dtype=np.float32)
  # One partner at cosine 1, three others at 0: ln(1 + 3 e^(-1/τ)).
  np.testing.assert_allclose(
    losses.info_nce(eye, eye, temperature=0.5),
    np.log(1 + 3 * np.exp(-2)),
    rtol=1e-6,
  )
  # Six others: twice three at 0, none of them the row itself.
  np.testing.assert_allclose(
    losses.nt_xent(eye, eye, temperature=0.5),
    np.log(1 + 6 * np.exp(-2)),
    rtol=1e-6,
  )
  same = np.ones((4, D), np.float32)
  np.testing.assert_allclose(losses.info_nce(same, same), np.log(4), rtol=1e-6)
  np.testing.assert_allclose(losses.nt_xent(same, same), np.log(7), rtol=1e-6)


def test_negative_cosine_signs():
  a, b = (x.astype(np.float32) for x in _rows())
  np.testing.assert_allclose(losses.negative_cosine(a, a), -1, rtol=1e-6)
  np.testing.assert_allclose(losses.negative_cosine(a, 3 * a), -1, rtol=1e-6)
  np.testing.assert_allclose(losses.negative_cosine(a, -a), 1, rtol=1e-6)
  assert -1 < losses.negative_cosine(a, b) < 1


def test_nt_xent_partner_is_half_way():
  """Rows of one view that resemble each other are negatives, not partners."""
  a = np.repeat(np.eye(3, D, dtype=np.float32), 2, axis=0)
  b = a + np.float32(0.01)
  found = losses.nt_xent(a, b, temperature=0.1)
  np.testing.assert_allclose(found, _nt_xent(a, b, temperature=0.1), rtol=1e-5)
  assert found > np.log(2), 'the twin in the same view must count against it'


def test_groups_of_one_and_of_all():
  a, b = (x.astype(np.float32) for x in _rows())
  alone = losses.info_nce(a, b, groups=np.arange(N))
  np.testing.assert_allclose(alone, 0, atol=1e-6)
  together = losses.info_nce(a, b, groups=np.full(N, 2**31 - 1))
  np.testing.assert_allclose(together, losses.info_nce(a, b), rtol=1e-6)
  accuracy, chance = losses.retrieval_accuracy(a, b, groups=np.arange(N))
  assert accuracy == chance == 1
  _, chance = losses.retrieval_accuracy(a, b, groups=np.repeat([4, 5, 6], 4))
  np.testing.assert_allclose(chance, 1 / 4)


@_every_loss
def test_masked_rows_change_nothing(loss):
  a, b = (x.astype(np.float32) for x in _rows(3))
  padding = _WEIGHTS == 0
  grad = jax.jit(
    jax.value_and_grad(
      lambda a, b: loss(a, b, weights=_WEIGHTS), argnums=(0, 1)
    )
  )
  value, grads = grad(a, b)
  for content in (0.0, 1e4, np.inf, np.nan):
    other_a, other_b = a.copy(), b.copy()
    other_a[padding], other_b[padding] = content, -content
    again, grads_again = grad(other_a, other_b)
    assert again == value
    chex.assert_trees_all_equal(grads_again, grads)
  assert not np.any(grads[0][padding]) and not np.any(grads[1][padding])
  keep = ~padding
  np.testing.assert_allclose(
    value, loss(a[keep], b[keep], weights=_WEIGHTS[keep]), rtol=1e-6
  )


@_every_loss
def test_ones_as_weights_change_nothing(loss):
  a, b = (x.astype(np.float32) for x in _rows(4))
  expected = loss(a, b)
  for ones in (np.ones(N), np.ones(N, bool), np.full(N, 3)):
    np.testing.assert_allclose(loss(a, b, weights=ones), expected, rtol=1e-6)


@_every_loss
def test_nothing_but_padding_is_zero(loss):
  a, b = (jnp.asarray(x, jnp.float32) for x in _rows())

  def padding(a):
    return loss(a, b, weights=np.zeros(N))

  # Op by op, and no NaN on the way: who hunts one must not be led here.
  with jax.debug_nans(True):
    value, grads = jax.value_and_grad(padding)(a)
  assert value == 0
  np.testing.assert_array_equal(grads, 0)


@_every_loss
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize('weights', [None, _WEIGHTS], ids=['plain', 'weights'])
@pytest.mark.parametrize('zeros', ['none', 'one', 'all'])
def test_finite_at_zero_and_at_low_precision(loss, dtype, weights, zeros):
  a, b = _rows(5)
  if zeros == 'one':
    a[3] = 0
  elif zeros == 'all':
    a[:], b[:] = 0, 0
  a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
  value, grads = jax.value_and_grad(
    lambda a, b: loss(a, b, weights=weights), argnums=(0, 1)
  )(a, b)
  assert value.dtype == jnp.float32
  assert grads[0].dtype == grads[1].dtype == dtype
  chex.assert_tree_all_finite((value, grads))


@_every_loss
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32(loss, dtype):
  """The same numbers in float32 give the same loss, to float32's rounding.

  Squares of 300 overflow float16, and so would exp(1 / 0.05).
  """
  if 'temperature' in getattr(loss, 'keywords', {}):
    loss = functools.partial(loss, temperature=0.05)
  a, b = (jnp.asarray(300 * x, dtype) for x in _rows(6))
  exact = loss(a.astype(jnp.float32), b.astype(jnp.float32))
  np.testing.assert_allclose(loss(a, b), exact, rtol=1e-6)


def test_weighted_mean():
  values = jnp.array([1.0, 3.0, jnp.inf, jnp.nan])
  weights = np.array([3, 1, 0, 0])
  found, grads = jax.value_and_grad(losses.weighted_mean)(values, weights)
  np.testing.assert_allclose(found, 1.5)
  np.testing.assert_allclose(grads, [0.75, 0.25, 0, 0])
  np.testing.assert_allclose(losses.weighted_mean(values[:2]), 2)
  assert losses.weighted_mean(values, np.zeros(4)) == 0


def test_normalize():
  x, _ = _rows()
  np.testing.assert_allclose(
    losses.normalize(x.astype(np.float32)), _unit(x), rtol=1e-6
  )
  small = losses.normalize(np.full((1, D), 1e-5, np.float32))
  np.testing.assert_allclose(np.linalg.norm(small), 1, rtol=1e-6)
  assert not np.any(losses.normalize(np.zeros((1, D), np.float32)))


def test_shapes_that_do_not_match_are_refused():
  a, b = _rows()
  with pytest.raises(ValueError, match=r'b has shape \(11, 5\).*\(12, 5\)'):
    losses.info_nce(a, b[1:])
  with pytest.raises(ValueError, match=r'expected \(rows, d\)'):
    losses.nt_xent(a[None], b[None])
  with pytest.raises(ValueError, match=r'target has shape'):
    losses.negative_cosine(a, b[:, :1])
  with pytest.raises(ValueError, match=r'weights has shape \(12, 1\)'):
    losses.nt_xent(a, b, weights=np.ones((N, 1)))
  with pytest.raises(ValueError, match=r'groups has shape \(3,\)'):
    losses.retrieval_accuracy(a, b, groups=np.arange(3))
