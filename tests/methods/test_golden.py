"""Golden traces: a few steps of a tiny linear model, in NumPy and float64.

The reference knows nothing of jax: losses are written out from the papers, and
gradients come from complex steps (exact to rounding). Loss, parameters, moving
average, queue and pointer are followed to 1e-6 (met at about 1e-12).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ssljax import core
from ssljax.methods.byol import byol
from ssljax.methods.moco import moco
from ssljax.methods.simclr import simclr
from ssljax.methods.simsiam import simsiam
from ssljax.models import instances

BATCH, PIXELS, D, STEPS, RATE = 4, 6, 3, 5, 0.3
TAU, MOMENTUM, QUEUE = 0.5, 0.8, 12


class Linear(nn.Module):
  """A matrix, for any part."""

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    del train, mask
    x = x.reshape(len(x), -1)
    return nn.Dense(D, use_bias=False, param_dtype=jnp.float64)(x)


def _images(step):
  rng = np.random.default_rng(step)
  return rng.integers(0, 256, (BATCH, 1, PIXELS // 3, 3)).astype(np.uint8)


def _views(key, images, index, widths=None):
  """Two views that differ by a power; no row is padding."""
  del key, index, widths
  images = images.astype(jnp.float64) / 255
  shown = jnp.zeros(len(images))
  return ((images, shown), (images**2, shown))


def _run(make):
  """States and losses of STEPS steps in float64."""
  with jax.enable_x64(True):
    method, optimizer = make(), optax.sgd(RATE)

    def batch(step):
      index = jnp.arange(BATCH, dtype=jnp.int32)
      return {'image': jnp.asarray(_images(step)), 'index': index}

    parts = {'method': method, 'optimizer': optimizer}
    state = jax.jit(functools.partial(core.create_state, **parts))(
      jax.random.key(0), batch(0)
    )
    step = jax.jit(functools.partial(core.train_step, **parts))
    states, losses = [state], []
    for number in range(STEPS):
      state, metrics = step(state, batch(number))
      states.append(state)
      losses.append(float(metrics['loss']))
    states = [jax.tree.map(np.asarray, s._replace(key=0)) for s in states]
  return states, losses


def _matrices(params):
  return {name: part['Dense_0']['kernel'] for name, part in params.items()}


def _unit(x):
  return x / np.sqrt((x * x).sum(-1, keepdims=True))


def _forward(params, names, view):
  x = (_images_of(view)).reshape(BATCH, -1)
  for name in names:
    x = x @ params[name]
  return _unit(x)


_VIEW = {}


def _images_of(view):
  images = _VIEW['images'].astype(np.float64) / 255
  return images ** (view + 1)


def _cross_entropy(logits, own):
  return np.mean(
    np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), own]
  )


def _info_nce(params, state):
  a, b = (_forward(params, ('encoder', 'projector'), view) for view in (0, 1))
  own = np.arange(BATCH)
  first, second = a @ b.T / TAU, b @ a.T / TAU
  return (_cross_entropy(first, own) + _cross_entropy(second, own)) / 2


def _nt_xent(params, state):
  a, b = (_forward(params, ('encoder', 'projector'), view) for view in (0, 1))
  rows = np.concatenate([a, b])
  total = 0
  for i in range(2 * BATCH):
    others = [j for j in range(2 * BATCH) if j != i]
    logits = rows[i] @ rows[others].T / TAU
    partner = others.index((i + BATCH) % (2 * BATCH))
    total += np.log(np.exp(logits).sum()) - logits[partner]
  return total / (2 * BATCH)


def _constant(x):
  """What a gradient does not pass: the real part of a complex step."""
  return x.real if np.iscomplexobj(x) else x


def _simsiam(params, state):
  value = 0
  for view, other in ((0, 1), (1, 0)):
    p = _forward(params, ('encoder', 'projector', 'predictor'), view)
    z = _constant(_forward(params, ('encoder', 'projector'), other))
    value -= np.mean((p * z).sum(1)) / 2
  return value


def _byol(params, state):
  value = 0
  for view, other in ((0, 1), (1, 0)):
    p = _forward(params, ('encoder', 'projector', 'predictor'), view)
    z = _forward(state['target'], ('encoder', 'projector'), other)
    value += 2 - 2 * np.mean((p * z).sum(1))
  return value


def _moco(params, state, symmetric=False):
  values = []
  for view, other in ((0, 1), (1, 0))[: 1 + symmetric]:
    q = _forward(params, ('encoder', 'projector'), view)
    k = _forward(state['target'], ('encoder', 'projector'), other)
    positive = (q * k).sum(1, keepdims=True)
    logits = np.concatenate([positive, q @ state['queue'].T], axis=1) / TAU
    values.append(_cross_entropy(logits, np.zeros(BATCH, int)))
  return sum(values) / len(values)


def _gradient(loss, params, state):
  """By complex steps, one number at a time."""
  grads = {}
  for name, matrix in params.items():
    grads[name] = np.zeros_like(matrix)
    for place in np.ndindex(matrix.shape):
      moved = matrix.astype(complex)
      moved[place] += 1e-30j
      grads[name][place] = loss({**params, name: moved}, state).imag / 1e-30
  return grads


def _reference(loss, start, *, momentum=None, symmetric=False):
  """(params, state, loss) after each step, from the first state on."""
  params = _matrices(start.params)
  state = {}
  if 'target' in start.method_state:
    state['target'] = _matrices(start.method_state['target']['params'])
  if 'queue' in start.method_state:
    state |= {'queue': start.method_state['queue']['rows'], 'pointer': 0}
  for step in range(STEPS):
    _VIEW['images'] = _images(step)
    value = loss(params, state)
    grads = _gradient(loss, params, state)
    keys = [
      _forward(state['target'], ('encoder', 'projector'), view)
      for view in (1, 0)[: 1 + symmetric]
      if 'queue' in state
    ]
    params = {name: x - RATE * grads[name] for name, x in params.items()}
    state = dict(state)
    if momentum is not None:
      m = momentum(step)
      state['target'] = {
        name: m * x + (1 - m) * params[name]
        for name, x in state['target'].items()
      }
    if keys:
      rows = np.concatenate(keys)
      queue = state['queue'].copy()
      places = (state['pointer'] + np.arange(len(rows))) % len(queue)
      queue[places] = rows
      state['queue'] = queue
      state['pointer'] = (state['pointer'] + len(rows)) % len(queue)
    yield params, state, value


def _parts(count):
  return [Linear() for _ in range(count)]


_SHARED = {'views': _views, 'instances': instances.identity()}
TRACES = {
  'simclr': (
    lambda: simclr(*_parts(2), temperature=TAU, **_SHARED),
    _info_nce,
    {},
  ),
  'simclr/nt_xent': (
    lambda: simclr(*_parts(2), temperature=TAU, contrast='nt_xent', **_SHARED),
    _nt_xent,
    {},
  ),
  'simsiam': (lambda: simsiam(*_parts(3), l2=0.0, **_SHARED), _simsiam, {}),
  'byol': (
    lambda: byol(*_parts(3), momentum=MOMENTUM, steps=STEPS, **_SHARED),
    _byol,
    {
      'momentum': lambda step: (
        1 - (1 - MOMENTUM) * (np.cos(np.pi * step / STEPS) + 1) / 2
      )
    },
  ),
  'moco': (
    lambda: moco(
      *_parts(2), temperature=TAU, momentum=MOMENTUM, queue=QUEUE, **_SHARED
    ),
    _moco,
    {'momentum': lambda step: MOMENTUM},
  ),
  'moco/symmetric': (
    lambda: moco(
      *_parts(2),
      temperature=TAU,
      momentum=MOMENTUM,
      queue_steps=2,
      symmetric=True,
      **_SHARED,
    ),
    functools.partial(_moco, symmetric=True),
    {'momentum': lambda step: MOMENTUM, 'symmetric': True},
  ),
}


@pytest.mark.parametrize('name', TRACES)
def test_the_trace_is_followed(name):
  make, loss, options = TRACES[name]
  states, losses = _run(make)
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
  expected = list(_reference(loss, states[0], **options))
  assert len(expected) == STEPS
  for number, (params, state, value) in enumerate(expected):
    found = states[number + 1]
    close(losses[number], value)
    for part, matrix in params.items():
      assert found.params[part]['Dense_0']['kernel'].dtype == np.float64
      close(found.params[part]['Dense_0']['kernel'], matrix, err_msg=part)
    for part, matrix in state.get('target', {}).items():
      target = found.method_state['target']['params'][part]
      close(target['Dense_0']['kernel'], matrix, err_msg=f'target {part}')
    if 'queue' in state:
      close(found.method_state['queue']['rows'], state['queue'])
      assert found.method_state['queue']['pointer'] == state['pointer']
  # The trace goes somewhere, or all of it would hold for a step that is none.
  moved = states[-1].params['encoder']['Dense_0']['kernel']
  assert (
    np.abs(moved - states[0].params['encoder']['Dense_0']['kernel']).max()
    > 1e-2
  )
