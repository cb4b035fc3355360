"""What is particular to SwAV: its queue, its prototypes, its small views."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ssljax import core, losses, optim
from ssljax.errors import UserError
from ssljax.methods.swav import swav
from ssljax.models import instances

BATCH, D, K = 6, 4, 5


class Linear(nn.Module):
  """A matrix, whatever the size of the images."""

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    del train, mask
    x = x.mean(axis=1) if x.ndim > 2 else x
    return nn.Dense(D, use_bias=False)(x.reshape(len(x), -1)[:, :D])


def _views(small=0):
  def views(key, images, index, widths=None):
    del index, widths
    shown = jnp.zeros(len(images))
    keys = jax.random.split(key, 2 + small)
    made = [images + jax.random.normal(each, images.shape) for each in keys]
    made[2:] = [each[:, :1] for each in made[2:]]
    return tuple((image, shown) for image in made)

  return views


def _method(*, small=0, **options):
  return swav(
    Linear(),
    Linear(),
    views=_views(small),
    instances=instances.identity(),
    prototypes=K,
    **options,
  )


def _batch(step=0):
  rng = np.random.default_rng(step)
  images = rng.integers(0, 256, (BATCH, 2, 3, 3)).astype(np.uint8)
  return {'image': images, 'index': np.arange(BATCH, dtype=np.int32)}


def _losses(method, steps=5, optimizer=None):
  """Losses and states of some steps."""
  optimizer = optimizer or optax.sgd(0.0)
  parts = {'method': method, 'optimizer': optimizer}
  create = jax.jit(functools.partial(core.create_state, **parts))
  state = create(jax.random.key(0), _batch())
  step = jax.jit(functools.partial(core.train_step, **parts))
  found, states = [], [state]
  for number in range(steps):
    state, metrics = step(state, _batch(number))
    found.append(float(metrics['loss']))
    states.append(state)
  return np.array(found), states


def test_the_queue_is_used_once_it_is_full():
  without, _ = _losses(_method())
  queued, states = _losses(_method(queue_steps=2))
  np.testing.assert_allclose(queued[:2], without[:2], rtol=1e-5)
  assert (np.abs(queued - without)[2:] > 1e-3).all()
  filled = [int(state.method_state['queue']['filled']) for state in states]
  assert filled == [0, BATCH, 2 * BATCH, 2 * BATCH, 2 * BATCH, 2 * BATCH]


def test_the_queue_is_used_from_a_step_on():
  without, _ = _losses(_method())
  queued, _ = _losses(_method(queue_steps=1, queue_from=3))
  np.testing.assert_allclose(queued[:3], without[:3], rtol=1e-5)
  assert (np.abs(queued - without)[3:] > 1e-3).all()


def test_small_views_predict_and_have_no_codes():
  """Each has both large views' codes to predict: the mean of more pairs."""
  large, _ = _losses(_method(), steps=1)
  more, _ = _losses(_method(small=2), steps=1)
  assert large != more
  method = _method(small=1)
  params, state = method.init(jax.random.key(0), _batch())
  grads = jax.grad(
    lambda p: method.loss(p, state, _batch(), jax.random.key(1), 0)[0]
  )(params)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_hard_codes_are_corners():
  """Their entropy is 0, so a perfect prediction costs less than of soft ones.

  The loss is that of the same scores against the nearest corner.
  """
  method, soft = _method(codes='hard'), _method()
  params, state = method.init(jax.random.key(0), _batch())
  arguments = (params, state, _batch(), jax.random.key(1), 0)
  hard, _ = method.loss(*arguments)
  smooth, _ = soft.loss(*arguments)
  scores = []
  for image, _ in _views()(jax.random.key(1), _batch()['image'], None):
    x = Linear().apply({'params': params['encoder']}, image)
    x = losses.normalize(Linear().apply({'params': params['projector']}, x))
    scores.append(x @ losses.normalize(params['prototypes']['kernel'].T).T)
  scores = jnp.stack(scores)
  codes = jnp.stack([losses.sinkhorn(each) for each in scores])
  corners = jax.nn.one_hot(codes.argmax(-1), K)
  for found, target in ((hard, corners), (smooth, codes)):
    expected = losses.swapped_prediction(scores, target)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_prototypes_wait_until_a_step():
  optimizer = optim.optimizer(
    'adamw',
    learning_rate=0.1,
    steps=5,
    decay='constant',
    weight_decay=0.1,
    hold={'prototypes': 3},
  )
  _, states = _losses(_method(), optimizer=optimizer)
  kernels = [state.params['prototypes']['kernel'] for state in states]
  for number in range(3):
    np.testing.assert_array_equal(kernels[number + 1], kernels[number])
  assert (kernels[4] != kernels[3]).all()
  moved = states[1].params['encoder']['Dense_0']['kernel']
  assert (moved != states[0].params['encoder']['Dense_0']['kernel']).any()


def test_prototypes_are_normalised_in_the_forward_pass():
  method = _method()
  params, state = method.init(jax.random.key(0), _batch())
  scaled = {
    **params,
    'prototypes': {'kernel': 7.0 * params['prototypes']['kernel']},
  }
  one, seven = (
    method.loss(found, state, _batch(), jax.random.key(1), 0)[0]
    for found in (params, scaled)
  )
  np.testing.assert_allclose(one, seven, rtol=1e-5)


def test_an_unknown_kind_of_codes():
  with pytest.raises(UserError, match=r"'sofd'.*'soft'"):
    _method(codes='sofd')
