"""What is particular to MoCo: which examples its keys are normalised with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ssljax import parallel
from ssljax.methods.moco import moco
from ssljax.models import instances

DEVICES, LOCAL = 8, 2
BATCH = DEVICES * LOCAL
HIDDEN = 5  # The second view shows nothing of this example.
OWN = np.eye(BATCH, dtype=bool)
# The examples of a device's own queries.
QUERIES = np.repeat(np.repeat(np.eye(DEVICES, dtype=bool), LOCAL, 0), LOCAL, 1)


class Identity(nn.Module):
  @nn.compact
  def __call__(self, x, *, train, mask=None):
    del train, mask
    return x.reshape(len(x), -1)


class Company(nn.Module):
  """Each row, and beside it the sum of the rows that a device normalises."""

  @nn.compact
  def __call__(self, x, *, train, mask=None):
    del train
    mask = jnp.ones(len(x), bool) if mask is None else mask
    together = jnp.where(mask[:, None], x, 0).sum(axis=0)
    return jnp.concatenate([x, jnp.broadcast_to(together, x.shape)], axis=1)


def _views(key, images, index, widths=None):
  """An image of example i becomes the i-th unit vector."""
  del key, images, widths
  pictures = jax.nn.one_hot(index, BATCH)
  hidden = jnp.where(index == HIDDEN, -1.0, 0.0)
  return (pictures, jnp.zeros(len(index))), (pictures, hidden)


@functools.cache
def _step(seed):
  """The keys of a step on eight devices, the second view's first.

  Of each view and example: the examples that its key shows, the examples that
  it was normalised with (both bool), and its weight.
  """
  method = moco(
    Identity(),
    Company(),
    views=_views,
    instances=instances.identity(),
    queue_steps=1,
    symmetric=True,
    axis_name='devices',
  )
  batch = {
    'image': np.zeros((BATCH, 1, BATCH, 1), np.uint8),
    'index': np.arange(BATCH, dtype=np.int32),
  }

  def step(state, batch, *, axis_name):
    del axis_name
    params = {'encoder': {}, 'projector': {}}
    arguments = (params, state, batch, jax.random.key(seed), 0)
    _, (state, _) = method.loss(*arguments)
    return state, {}

  _, state = method.init(jax.random.key(0), batch)
  state, _ = parallel.compile_step(step)(state, batch)
  queue = state['queue']
  rows = np.asarray(queue['rows']).reshape(2, BATCH, 2, BATCH) > 0
  return rows[:, :, 0], rows[:, :, 1], np.reshape(queue['weights'], (2, BATCH))


@pytest.mark.parametrize('seed', range(2))
def test_keys_are_shuffled_over_devices_and_put_back(seed):
  assert jax.device_count() == DEVICES
  shown, company, weights = _step(seed)
  np.testing.assert_array_equal(shown, [OWN, OWN])
  hidden = np.arange(BATCH) == HIDDEN
  np.testing.assert_array_equal(weights, [~hidden, np.ones(BATCH)])
  # Every example has LOCAL keys for company, its own included; padding moves
  # along with its example and is in no statistics.
  expected = [np.where(hidden, 0, LOCAL), np.full(BATCH, LOCAL)]
  np.testing.assert_array_equal(company.sum(axis=1), expected)
  for view in company:
    assert (view[OWN] | hidden).all()
    # A draw leaves some pair of a device together, but not most of them.
    together = (view & QUERIES & ~OWN).sum()
    assert together <= DEVICES * LOCAL // 4


def test_each_step_shuffles_anew():
  assert (_step(0)[1] != _step(1)[1]).any()
