"""The probe that watches: the method trains as though it were not there."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssljax import core, evals, optim, parallel

ROWS, CLASSES = 16, 3


def _toy(time=False, **options):
  """A method with a state, a random loss and two parts."""
  encoder, head = nn.Dense(8), nn.Dense(4)

  def encode(params, method_state, images):
    assert set(params) == {'encoder', 'head'}
    shift = method_state['batch_stats']['shift']
    rows = encoder.apply({'params': params['encoder']}, images) + shift
    return jnp.stack([rows, rows**2], axis=1) if time else rows

  def init(key, batch):
    a, b = jax.random.split(key)
    images = batch['image']
    params = {
      'encoder': encoder.init(a, images)['params'],
      'head': head.init(b, jnp.ones((1, 8)))['params'],
    }
    return params, {'batch_stats': {'shift': jnp.zeros(8)}}

  def loss(params, method_state, batch, key, step):
    assert set(params) == {'encoder', 'head'}
    noise = jax.random.normal(key, batch['image'].shape)
    rows = encoder.apply({'params': params['encoder']}, batch['image'] + noise)
    out = head.apply({'params': params['head']}, jnp.tanh(rows))
    state = {'batch_stats': {'shift': 0.9 + 0.1 * rows.mean(0)}}
    return jnp.mean(out**2), (state, {'size': jnp.abs(out).mean()})

  return core.Method(init, loss, encode, **options)


def _batch(seed=0, unlabelled=5):
  rng = np.random.default_rng(seed)
  labels = np.arange(ROWS) % CLASSES
  images = rng.normal(size=(ROWS, 6)) + 2 * np.eye(6)[labels]
  labels[:unlabelled] = -1
  return {
    'image': images.astype(np.float32),
    'label': labels.astype(np.int32),
  }


def _train(method, optimizer, steps=3):
  key = jax.random.key(0)
  state = jax.jit(
    functools.partial(core.create_state, method=method, optimizer=optimizer)
  )(key, _batch())
  step = jax.jit(
    functools.partial(core.train_step, method=method, optimizer=optimizer)
  )
  metrics = []
  for i in range(steps):
    state, found = step(state, _batch(i))
    metrics.append(found)
  return state, metrics


def _equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_probe_loss_reaches_only_the_probe():
  method = _toy()
  watched = evals.with_probe(method, classes=CLASSES)
  batch, key = _batch(), jax.random.key(1)
  params, state = watched.init(jax.random.key(0), batch)

  def own(params):
    value, (_, metrics) = watched.loss(params, state, batch, key, 0)
    return value - metrics['method_loss']

  grads = jax.grad(own)(params)
  assert np.abs(grads['probe']['kernel']).max() > 1e-3
  for part in ('encoder', 'head'):
    for leaf in jax.tree.leaves(grads[part]):
      np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize(
  'options',
  ({'clip': 1e-4}, {'clip': 1e-4, 'freeze': ('head',)}, {'momentum': 0.9}),
)
def test_the_method_trains_bit_for_bit_as_without(options):
  """Clipping included: a shared norm would shrink every step."""
  optimizer = optim.optimizer('sgd', learning_rate=0.1, steps=9, **options)
  method = _toy()
  alone, before = _train(method, optimizer)
  watched, after = _train(
    evals.with_probe(method, classes=CLASSES), evals.probe_optimizer(optimizer)
  )
  rest = {part: watched.params[part] for part in ('encoder', 'head')}
  _equal(alone.params, rest)
  _equal(alone.method_state, watched.method_state)
  for old, new in zip(before, after, strict=True):
    np.testing.assert_array_equal(old['size'], new['size'])
    np.testing.assert_array_equal(old['loss'], new['method_loss'])


def test_loss_and_accuracy_by_hand():
  method = _toy(time=True)
  watched = evals.with_probe(method, classes=CLASSES)
  batch, key = _batch(), jax.random.key(1)
  params, state = watched.init(jax.random.key(0), batch)
  value, (_, metrics) = watched.loss(params, state, batch, key, 0)
  inner = {part: params[part] for part in ('encoder', 'head')}
  rows = np.asarray(method.encode(inner, state, batch['image'])).mean(1)
  rows = rows.astype(np.float64)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  probe = jax.tree.map(np.asarray, params['probe'])
  logits = rows @ probe['kernel'] + probe['bias']
  entropies, hits = [], []
  for row, label in zip(logits, batch['label'], strict=True):
    if label >= 0:
      entropies.append(np.log(np.exp(row).sum()) - row[label])
      hits.append(row.argmax() == label)
  assert len(hits) == ROWS - 5
  np.testing.assert_allclose(
    value - metrics['method_loss'], np.mean(entropies), rtol=1e-4
  )
  np.testing.assert_allclose(metrics['probe_accuracy'], np.mean(hits))


def test_without_any_label():
  """Finite, nothing learnt."""
  watched = evals.with_probe(_toy(), classes=CLASSES)
  batch = _batch(unlabelled=ROWS)
  params, state = watched.init(jax.random.key(0), batch)
  (value, (_, metrics)), grads = jax.value_and_grad(watched.loss, has_aux=True)(
    params, state, batch, jax.random.key(1), 0
  )
  assert value == metrics['method_loss']
  np.testing.assert_array_equal(grads['probe']['kernel'], 0)


def test_the_mean_is_over_the_labels_of_all_devices():
  """Of 5 unlabelled rows one device holds 4: a mean of means is another."""
  batch, key = _batch(), jax.random.key(1)
  alone = evals.with_probe(_toy(), classes=CLASSES)
  params, state = alone.init(jax.random.key(0), batch)
  _, (_, expected) = alone.loss(params, state, batch, key, 0)
  shared = evals.with_probe(_toy(), classes=CLASSES, axis_name='devices')

  def loss(batch):
    value, (_, metrics) = shared.loss(params, state, batch, key, 0)
    own = value - metrics['method_loss']
    return parallel.mean((own, metrics['probe_accuracy']), 'devices')

  parts = jax.tree.map(lambda x: x.reshape(4, 4, *x.shape[1:]), batch)
  own, accuracy = jax.vmap(loss, axis_name='devices')(parts)
  value, (_, metrics) = alone.loss(params, state, batch, key, 0)
  np.testing.assert_allclose(own, value - metrics['method_loss'], rtol=1e-3)
  np.testing.assert_allclose(accuracy, expected['probe_accuracy'], rtol=1e-6)


def test_it_learns():
  method = evals.with_probe(_toy(), classes=CLASSES)
  optimizer = evals.probe_optimizer(optax.sgd(0.0), learning_rate=0.1)
  _, metrics = _train(method, optimizer, steps=60)
  assert metrics[-1]['probe_accuracy'] > 0.9


def test_the_rest_passes_through():
  """Inner functions never see the probe (their own asserts), nor lose it."""

  def after_step(params, method_state, step):
    assert set(params) == {'encoder', 'head'}
    return method_state | {'step': step}

  def before_epoch(params, method_state, features, key):
    assert set(params) == {'encoder', 'head'}
    return {**params, 'head': 'new'}, method_state, ('head',)

  def predict(params, method_state, images):
    assert set(params) == {'encoder', 'head'}
    return images + 1

  method = _toy(
    after_step=after_step, before_epoch=before_epoch, predict=predict
  )
  watched = evals.with_probe(method, classes=CLASSES)
  params, state = watched.init(jax.random.key(0), _batch())
  assert watched.after_step(params, state, 7)['step'] == 7
  found, _, renewed = watched.before_epoch(params, state, None, None)
  assert renewed == ('head',) and found['head'] == 'new'
  assert found['probe'] is params['probe']
  assert watched.predict(params, state, 1) == 2
  images = _batch()['image']
  np.testing.assert_array_equal(
    watched.encode(params, state, images),
    method.encode(
      {part: params[part] for part in ('encoder', 'head')}, state, images
    ),
  )
  assert evals.with_probe(_toy(), classes=CLASSES).predict is None
