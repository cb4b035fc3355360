"""Schedules, and which parts the optimizer moves how far."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssljax import optim

RATE, DECAY, MOMENTUM = 0.1, 0.3, 0.8


def _params():
  def part(value):
    return {
      'kernel': jnp.full((2, 3), value),
      'bias': jnp.full((3,), value),
      'gain': jnp.asarray(value),
    }

  return {'encoder': part(1.0), 'head': part(2.0)}


def _like(params, value):
  return jax.tree.map(lambda x: jnp.full_like(x, value), params)


def _optimizer(name='sgd', **options):
  defaults = {'learning_rate': RATE, 'steps': 10, 'decay': 'constant'}
  return optim.optimizer(name, **defaults | options)


def _updates(optimizer, grads, params=None, steps=1):
  params = params or _params()
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update(grads, state, params)
  return updates


@pytest.mark.parametrize(
  ('decay', 'expected'),
  [
    ('constant', {0: 0, 2: 0.05, 4: 0.1, 10: 0.1, 20: 0.1}),
    ('cosine', {0: 0, 2: 0.05, 4: 0.1, 12: 0.05, 20: 0}),
  ],
)
def test_schedule_with_warm_up(decay, expected):
  rate = optim.schedule(decay, peak=0.1, steps=20, warmup=4)
  for step, value in expected.items():
    np.testing.assert_allclose(rate(step), value, atol=1e-7)


@pytest.mark.parametrize(('decay', 'last'), [('constant', 0.1), ('cosine', 0)])
def test_schedule_without_warm_up_starts_at_its_peak(decay, last):
  rate = optim.schedule(decay, peak=0.1, steps=20)
  np.testing.assert_allclose([rate(0), rate(20)], [0.1, last], atol=1e-7)


def test_a_stage_of_no_steps_has_a_schedule():
  """Evaluation is a stage of zero steps."""
  assert np.isfinite(optim.schedule('cosine', peak=0.1, steps=0)(0))


def test_sgd_by_hand():
  """Two steps of momentum 0.8: the second moves by 1.8 of the first."""
  params = _params()
  grads = _like(params, 1.0)
  updates = _updates(_optimizer(momentum=0.8), grads, steps=2)
  for leaf in jax.tree.leaves(updates):
    np.testing.assert_allclose(leaf, -RATE * 1.8, rtol=1e-6)


def _reference(name, grads, w, *, decays, adapts):
  """Updates of one array in float64, by a rate that falls by a cosine.

  Args:
    name: of the optimizer.
    grads: of the steps.
    w: the array before the first of them.
    decays: whether it decays.
    adapts: whether LARS scales its update to its norm.
  """
  moment = square = 0.0
  for step, gradient in enumerate(grads):
    rate = RATE * (1 + np.cos(np.pi * step / 10)) / 2
    pull = DECAY * w * decays
    if name == 'adamw':
      moment = 0.9 * moment + 0.1 * gradient
      square = 0.999 * square + 0.001 * gradient**2
    elif name == 'adam':
      moment = 0.9 * moment + 0.1 * (gradient + pull)
      square = 0.999 * square + 0.001 * (gradient + pull) ** 2
    if name in ('adam', 'adamw'):
      mean = moment / (1 - 0.9 ** (step + 1))
      deviation = np.sqrt(square / (1 - 0.999 ** (step + 1)))
      update = -rate * mean / (deviation + 1e-8)
      if name == 'adamw':
        update -= rate * pull
    elif name == 'sgd':
      moment = MOMENTUM * moment + gradient + pull
      update = -rate * moment
    else:  # Algorithm 1 of 1708.03888; it remembers steps, SGD gradients.
      ratio = 1.0
      if adapts:
        ratio = 1e-3 * np.linalg.norm(w) / np.linalg.norm(gradient + pull)
      moment = MOMENTUM * moment + rate * ratio * (gradient + pull)
      update = -moment
    yield update
    w = w + update


@pytest.mark.parametrize('decay_vectors', [False, True])
@pytest.mark.parametrize('name', ['sgd', 'adam', 'adamw', 'lars'])
def test_rules_against_numpy(name, decay_vectors):
  """Four steps, because the first does not tell decay before from after.

  SGD's momentum also remembers the decay, which is added to the gradient.
  LARS must not scale a bias: its norm is near zero, so it would hardly move.
  """
  rng = np.random.default_rng(0)
  shapes = {'kernel': (3, 4), 'bias': (4,)}
  params = {key: rng.normal(size=shape) for key, shape in shapes.items()}
  grads = [
    {key: rng.normal(size=shape) for key, shape in shapes.items()}
    for _ in range(4)
  ]
  optimizer = _optimizer(
    name,
    decay='cosine',
    weight_decay=DECAY,
    momentum=MOMENTUM,
    decay_vectors=decay_vectors,
  )
  expected = {
    key: _reference(
      name,
      [gradient[key] for gradient in grads],
      params[key],
      decays=decay_vectors or key == 'kernel',
      adapts=key == 'kernel',
    )
    for key in shapes
  }
  tree = jax.tree.map(jnp.float32, {'encoder': params})
  state = optimizer.init(tree)
  for gradient in grads:
    given = jax.tree.map(jnp.float32, {'encoder': gradient})
    updates, state = optimizer.update(given, state, tree)
    tree = optax.apply_updates(tree, updates)
    for key, values in expected.items():
      value = next(values)
      # In float32 the 1 - 0.999 of Adam has four digits.
      tolerance = 1e-4 * np.abs(value).max()
      np.testing.assert_allclose(
        updates['encoder'][key], value, rtol=0, atol=tolerance
      )


def test_lars_leaves_an_array_of_zeros_unscaled():
  """Its ratio is 1 there, or a kernel that starts at zero stays there."""
  params = _like(_params(), 0.0)
  updates = _updates(_optimizer('lars'), _like(params, 0.5), params)
  for leaf in jax.tree.leaves(updates):
    np.testing.assert_allclose(leaf, -RATE * 0.5, rtol=1e-6)


@pytest.mark.parametrize('clip', [None, 1.0])
def test_frozen_parts_do_not_move_at_all(clip):
  """Not by decay either, which is what a stopped gradient leaves running."""
  params = _params()
  optimizer = _optimizer(
    'adamw', weight_decay=0.5, clip=clip, freeze=('encoder',)
  )
  state = optimizer.init(params)
  updates, state = optimizer.update(_like(params, 1.0), state, params)
  for leaf in jax.tree.leaves(updates['encoder']):
    np.testing.assert_array_equal(leaf, 0)
  for leaf in jax.tree.leaves(updates['head']):
    assert (leaf < 0).all()
  # Two moments for each of the head's three arrays, and none for the encoder.
  moments = [x for x in jax.tree.leaves(state) if x.dtype == jnp.float32]
  assert len(moments) == 2 * 3


def test_decay_moves_matrices_only():
  params = _params()
  updates = _updates(_optimizer('adamw', weight_decay=0.5), _like(params, 0.0))
  for name, part in updates.items():
    expected = -RATE * 0.5 * params[name]['kernel']
    np.testing.assert_allclose(part['kernel'], expected, rtol=1e-6)
    np.testing.assert_array_equal(part['bias'], 0)
    np.testing.assert_array_equal(part['gain'], 0)


def test_clip_bounds_the_norm():
  params = _params()
  updates = _updates(_optimizer(clip=1.0), _like(params, 3.0))
  np.testing.assert_allclose(optax.tree.norm(updates), RATE, rtol=1e-6)


def test_clip_ignores_frozen_parts():
  """A large gradient that moves nothing must not shrink the others."""
  params = _params()
  grads = {
    'encoder': _like(params['encoder'], 1e6),
    'head': _like(params['head'], 0.1),
  }
  updates = _updates(_optimizer(clip=1.0, freeze=('encoder',)), grads)
  for leaf in jax.tree.leaves(updates['head']):
    np.testing.assert_allclose(leaf, -RATE * 0.1, rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_rates_scale_a_parts_update(name):
  params = _params()
  grads = _like(params, 1.0)
  plain = _updates(_optimizer(name), grads)
  rated = _updates(_optimizer(name, rates={'encoder': 0.25}), grads)
  for part, factor in (('encoder', 0.25), ('head', 1.0)):
    for a, b in zip(
      jax.tree.leaves(rated[part]), jax.tree.leaves(plain[part]), strict=True
    ):
      np.testing.assert_allclose(a, factor * b, rtol=1e-6)


def test_rates_beside_a_frozen_part():
  params = _params() | {'projector': {'kernel': jnp.ones((2, 2))}}
  optimizer = _optimizer(freeze=('encoder',), rates={'head': 0.5})
  updates = _updates(optimizer, _like(params, 1.0), params)
  moved = {name: float(part['kernel'][0, 0]) for name, part in updates.items()}
  assert moved['encoder'] == 0
  np.testing.assert_allclose(moved['head'], -RATE / 2, rtol=1e-6)
  np.testing.assert_allclose(moved['projector'], -RATE, rtol=1e-6)


def test_unknown_names():
  with pytest.raises(ValueError, match=r"'adamW'.*expected.*Did you mean"):
    _optimizer('adamW')
  with pytest.raises(ValueError, match=r"'cosin'.*expected.*Did you mean"):
    _optimizer(decay='cosin')


@pytest.mark.parametrize(
  'options', [{'freeze': ('encodr',)}, {'rates': {'encodr': 0.1}}]
)
def test_an_unknown_part_is_not_passed_over(options):
  """A misspelt name to freeze would train the encoder without a word."""
  optimizer = _optimizer(**options)
  with pytest.raises(ValueError, match=r"'encodr'.*Did you mean 'encoder'"):
    optimizer.init(_params())
