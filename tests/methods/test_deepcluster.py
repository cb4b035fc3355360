"""What is particular to DeepCluster: what an epoch begins with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ssljax import core
from ssljax.methods.deepcluster import deepcluster
from ssljax.methods.deepcluster_v2 import deepcluster_v2
from ssljax.models import instances

EXAMPLES, BATCH, D, K = 40, 8, 4, 5


class Linear(nn.Module):
  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    del train, mask
    return nn.Dense(D, use_bias=False)(x.reshape(len(x), -1)[:, :D])


def _views(count):
  def views(key, images, index, widths=None):
    del index, widths
    keys = jax.random.split(key, count)
    shown = jnp.zeros(len(images))
    return tuple(
      (images + 9 * jax.random.normal(each, images.shape), shown)
      for each in keys
    )

  return views


_SHARED = {
  'instances': instances.identity(),
  'clusters': K,
  'examples': EXAMPLES,
}
_ONE = functools.partial(deepcluster, Linear(), views=_views(1), **_SHARED)
_TWO = functools.partial(
  deepcluster_v2, Linear(), Linear(), views=_views(2), heads=2, **_SHARED
)
IMAGES = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 1, 2, 3))
IMAGES = IMAGES.astype(np.uint8)


def _batch(first=0):
  index = np.arange(first, first + BATCH, dtype=np.int32)
  return {'image': IMAGES[index], 'index': index}


def _created(method, optimizer):
  parts = {'method': method, 'optimizer': optimizer}
  create = jax.jit(functools.partial(core.create_state, **parts))
  return create(jax.random.key(0), _batch())


def _begun(method, optimizer, state):
  """(state, how often all features were asked for)."""
  asked = []

  def features(params, method_state):
    asked.append(None)
    return np.asarray(method.encode(params, method_state, IMAGES))

  state = core.begin_epoch(state, features, method=method, optimizer=optimizer)
  return state, len(asked)


def _step(method, optimizer, state, first=0):
  parts = {'method': method, 'optimizer': optimizer}
  step = jax.jit(functools.partial(core.train_step, **parts))
  return step(state, _batch(first))


def test_an_epoch_begins_with_new_clusters_and_a_new_head():
  method, optimizer = _ONE(), optax.adam(0.1)
  state, _ = _step(method, optimizer, _created(method, optimizer))
  begun, asked = _begun(method, optimizer, state)
  assert asked == 1
  labels = begun.method_state['assignments']
  assert labels.shape == (EXAMPLES,)
  assert len(np.unique(labels)) == K
  np.testing.assert_array_equal(
    begun.method_state['sizes'], np.bincount(labels, minlength=K)
  )
  for part, same in (('encoder', True), ('head', False)):
    for tree, other in (
      (begun.params[part], state.params[part]),
      (begun.opt_state[0].mu[part], state.opt_state[0].mu[part]),
    ):
      equal = [
        bool((a == b).all())
        for a, b in zip(
          jax.tree.leaves(tree), jax.tree.leaves(other), strict=True
        )
      ]
      assert all(equal) if same else not all(equal)
  # The head's moments start anew, the count of steps goes on.
  assert all(
    (leaf == 0).all() for leaf in jax.tree.leaves(begun.opt_state[0].mu['head'])
  )
  chex_like = jax.tree.map(lambda x: (x.shape, x.dtype), begun)
  assert chex_like == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_the_key_of_an_epoch_is_of_its_first_step():
  method, optimizer = _ONE(), optax.sgd(0.1)
  state = _created(method, optimizer)
  one, again = (_begun(method, optimizer, state)[0] for _ in range(2))
  np.testing.assert_array_equal(
    one.method_state['assignments'], again.method_state['assignments']
  )
  later, _ = _begun(method, optimizer, state._replace(step=state.step + 7))
  assert (
    one.params['head']['Dense_0']['kernel']
    != later.params['head']['Dense_0']['kernel']
  ).any()


def test_labels_are_looked_up_by_index():
  method, optimizer = _ONE(), optax.sgd(0.0)
  state, _ = _begun(method, optimizer, _created(method, optimizer))
  labels = np.asarray(state.method_state['assignments'])
  # A head that names cluster 2 whatever it sees is right where that is so.
  head = {'kernel': jnp.zeros((D, K)), 'bias': jnp.zeros(K).at[2].set(9.0)}
  state = state._replace(params={**state.params, 'head': {'Dense_0': head}})
  for first in (0, 16, 32):
    _, metrics = _step(method, optimizer, state, first)
    own = labels[first : first + BATCH]
    weights = 1 / np.bincount(labels, minlength=K)[own]
    np.testing.assert_allclose(
      metrics['accuracy'],
      (weights * (own == 2)).sum() / weights.sum(),
      atol=1e-6,
    )


class Frames(nn.Module):
  """Two frames an image, so that an example has two rows; also a projector."""

  stride: int = 1

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    del train, mask
    x = x.reshape(len(x), 2, 3) if x.ndim == 4 else x
    return nn.Dense(D, use_bias=False)(x)


def _frame_views(key, images, index, widths=None):
  """Two views whose frames are all shown."""
  del key, index, widths
  shown = jnp.zeros((len(images), 2))
  return ((images / 255, shown), ((images / 255) ** 2, shown))


def _expected(make, params, state, index):
  """The loss of the examples `index` in float64, row by row."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  labels = np.asarray(state['assignments']).reshape(-1, EXAMPLES, 2)
  total = count = 0
  for power in (1, 2):
    for example in index:
      for frame in (0, 1):
        pixels = (IMAGES[example].reshape(2, 3)[frame] / 255) ** power
        row = pixels @ p['encoder']['Dense_0']['kernel']
        for head in range(len(labels)):
          label, weight = labels[head, example, frame], 1
          if make is deepcluster:
            dense = p['head']['Dense_0']
            logits = row @ dense['kernel'] + dense['bias']
            weight = 1 / np.asarray(state['sizes'], np.float64)[label]
          else:
            x = row @ p['projector']['Dense_0']['kernel']
            table = np.asarray(state['centroids'][head], np.float64)
            logits = table @ (x / np.linalg.norm(x)) / 0.1
          total += weight * (np.log(np.exp(logits).sum()) - logits[label])
          count += weight
  return total / count


def _framed(make):
  parts = [Frames()] * (1 if make is deepcluster else 2)
  method = make(*parts, views=_frame_views, **_SHARED)
  return method, *method.init(jax.random.key(0), _batch())


@pytest.mark.parametrize('make', [deepcluster, deepcluster_v2])
def test_each_row_of_an_example_has_its_own_label(make):
  """Against NumPy: any examples in any order, two rows and two views each."""
  method, params, state = _framed(make)
  if make is deepcluster:
    state = {**state, 'sizes': jnp.arange(1.0, K + 1)}
  index = np.array([31, 4, 17, 5, 38, 0, 22, 9], np.int32)
  batch = {'image': IMAGES[index], 'index': index}
  value, (after, _) = method.loss(params, state, batch, jax.random.key(1), 0)
  expected = _expected(make, params, state, index)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  if make is deepcluster_v2:
    filled = after['memory']['weights'].reshape(EXAMPLES, 2)
    seen = np.isin(np.arange(EXAMPLES), index)
    np.testing.assert_array_equal(filled, np.stack([seen, seen], axis=1))


@pytest.mark.parametrize('make', [deepcluster, deepcluster_v2])
def test_rows_alike_get_one_label_in_the_order_of_the_examples(make):
  method, params, state = _framed(make)
  rng = np.random.default_rng(0)
  kinds = rng.integers(0, K, (EXAMPLES, 2))
  features = rng.normal(size=(K, D)).astype(np.float32)[kinds]
  key = jax.random.key(0)
  _, after, _ = method.before_epoch(params, state, lambda: features, key)
  for labels in np.asarray(after['assignments']).reshape(-1, kinds.size):
    pairs = set(zip(kinds.reshape(-1), labels, strict=True))
    assert len(pairs) == len(set(labels)) == K


@pytest.mark.parametrize('make', [deepcluster, deepcluster_v2])
def test_the_flops_of_an_epoch_have_the_features_it_asks_for(make):
  method, params, state = _framed(make)
  key, asked, counted = jax.random.key(0), [], []

  def features():
    asked.append(epoch)
    return method.encode(params, state, IMAGES)

  def cost():
    counted.append(epoch)
    return 0.0

  for epoch in range(3):
    method.epoch_flops(params, state, cost, epoch)
    params, state, _ = method.before_epoch(params, state, features, key)
  assert counted == asked == ([0, 1, 2] if make is deepcluster else [0])


def test_the_memory_is_filled_once_and_then_remembers():
  method, optimizer = _TWO(), optax.sgd(0.1)
  state = _created(method, optimizer)
  state, asked = _begun(method, optimizer, state)
  assert asked == 1
  memory = state.method_state['memory']
  assert (memory['weights'] == 1).all()
  rows = np.linalg.norm(memory['rows'], axis=1)
  np.testing.assert_allclose(rows, 1, atol=1e-5)
  # Both clusterings are there, by their own centroids, and differ.
  tables = state.method_state['centroids']
  for labels, table in zip(
    state.method_state['assignments'], tables, strict=True
  ):
    np.testing.assert_array_equal(labels, (memory['rows'] @ table.T).argmax(1))
  assert (tables[0] != tables[1]).any()
  after, _ = _step(method, optimizer, state, first=16)
  changed = (after.method_state['memory']['rows'] != memory['rows']).any(1)
  np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(16, 24))
  # What it remembers is clustered, and nothing is computed anew.
  begun, asked = _begun(method, optimizer, after)
  assert asked == 0
  np.testing.assert_array_equal(
    begun.method_state['memory']['rows'], after.method_state['memory']['rows']
  )
  assert not (begun.method_state['centroids'] == tables).all()


def test_no_gradient_and_no_optimizer_moves_the_centroids():
  method, optimizer = _TWO(), optax.sgd(1.0)
  state = _created(method, optimizer)
  after, _ = _step(method, optimizer, state)
  np.testing.assert_array_equal(
    after.method_state['centroids'], state.method_state['centroids']
  )
  assert set(after.params) == {'encoder', 'projector'}


def test_what_a_view_does_not_show_is_not_remembered():
  def views(key, images, index, widths=None):
    hidden = jnp.where(jnp.arange(len(images)) < 3, -1.0, 0.0)
    return ((images * 0.5, hidden), (images * 0.7, hidden))

  method = deepcluster_v2(Linear(), Linear(), views=views, heads=1, **_SHARED)
  optimizer = optax.sgd(0.1)
  state, _ = _begun(method, optimizer, _created(method, optimizer))
  after, _ = _step(method, optimizer, state)
  changed = (
    after.method_state['memory']['rows'] != state.method_state['memory']['rows']
  ).any(1)
  np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(3, BATCH))


@pytest.mark.parametrize('make', [_ONE, _TWO])
def test_one_cluster_is_seen_in_the_log(make):
  """Nothing is learned, at a loss of 0: only this figure shows it."""
  method, optimizer = make(clusters=1), optax.sgd(0.1)
  state, _ = _begun(method, optimizer, _created(method, optimizer))
  _, metrics = _step(method, optimizer, state)
  np.testing.assert_allclose(metrics['clusters'], 1, atol=1e-6)
  np.testing.assert_allclose(metrics['loss'], 0, atol=1e-6)
