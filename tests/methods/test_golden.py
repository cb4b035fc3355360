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
from ssljax.methods.deepcluster import deepcluster
from ssljax.methods.deepcluster_v2 import deepcluster_v2
from ssljax.methods.metric import metric
from ssljax.methods.moco import moco
from ssljax.methods.simclr import simclr
from ssljax.methods.simsiam import simsiam
from ssljax.methods.swav import swav
from ssljax.models import instances

BATCH, PIXELS, D, STEPS, RATE = 4, 6, 3, 5, 0.3
TAU, MOMENTUM, QUEUE = 0.5, 0.8, 12
CLUSTERS, EPSILON, MARGIN = 3, 0.2, 0.6
PROJECTED = ('encoder', 'projector')


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
  """Kernels by part, and the bias of DeepCluster's head."""
  dense = {name: part.get('Dense_0', part) for name, part in params.items()}
  found = {name: layer['kernel'] for name, layer in dense.items()}
  return found | {
    f'{name} bias': layer['bias']
    for name, layer in dense.items()
    if 'bias' in layer
  }


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


def _sinkhorn(scores):
  matrix = np.exp(scores.real / EPSILON)
  for _ in range(3):
    matrix = matrix / matrix.sum(0)
    matrix = matrix / matrix.sum(1, keepdims=True)
  return matrix


def _swav(params, state):
  prototypes = _unit(params['prototypes'].T).T
  rows = [_forward(params, PROJECTED, view) for view in (0, 1)]
  value = 0
  for view, other in ((0, 1), (1, 0)):
    shown = rows[other]
    if len(state['remembered']) >= 2:  # the queue is full
      older = [each[other] for each in state['remembered'][-2:]]
      shown = np.concatenate([shown, *older])
    codes = _sinkhorn(shown @ prototypes)[:BATCH]
    logits = rows[view] @ prototypes / TAU
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    value -= np.mean((codes * logs).sum(1)) / 2
  return value


def _deepcluster(params, state):
  labels = state['assignments']
  x = _images_of(0).reshape(BATCH, -1) @ params['encoder']
  logits = x @ params['head'] + params['head bias']
  values = np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), labels]
  weights = 1 / state['sizes'][labels]
  return (weights * values).sum() / weights.sum()


def _deepcluster_v2(params, state):
  value = 0
  for view in (0, 1):
    rows = _forward(params, PROJECTED, view)
    for labels, table in zip(
      state['assignments'], state['centroids'], strict=True
    ):
      value += _cross_entropy(rows @ table.T / TAU, labels) / 4
  return value


def _mined(params, unit=True):
  """(anchor, positive, semi-hard negative) rows of every image."""
  rows = []
  for view in (0, 1):
    x = _images_of(view).reshape(BATCH, -1)
    x = x @ params['encoder'] @ params['projector']
    rows.append(_unit(x) if unit else x)
  a, b = rows
  for i in range(BATCH):
    far = ((a[i].real - b.real) ** 2).sum(1)
    others = [j for j in range(BATCH) if j != i]
    beyond = [j for j in others if far[j] > far[i]]
    negative = (
      min(beyond, key=far.__getitem__)
      if beyond
      else max(others, key=far.__getitem__)
    )
    yield a[i], b[i], b[negative], b[others]


def _positive(x):
  return x if x.real > 0 else 0 * x


def _triplet(params, state):
  return np.mean(
    [
      _positive(((a - p) ** 2).sum() - ((a - n) ** 2).sum() + MARGIN)
      for a, p, n, _ in _mined(params)
    ]
  )


def _margin(params, state):
  return np.mean(
    [
      ((a - p) ** 2).sum() / 2
      + _positive(MARGIN - np.sqrt(((a - n) ** 2).sum())) ** 2 / 2
      for a, p, n, _ in _mined(params)
    ]
  )


def _n_pair(params, state):
  return np.mean(
    [
      np.log(1 + np.exp(others @ a - a @ p).sum())
      + 0.1 * ((a**2).sum() + (p**2).sum())
      for a, p, _, others in _mined(params, unit=False)
    ]
  )


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
  if 'target' in state and 'queue' in start.method_state:
    state |= {'queue': start.method_state['queue']['rows'], 'pointer': 0}
  # What does not change in an epoch, and the rows of each step that are kept.
  state |= {
    name: start.method_state[name]
    for name in ('assignments', 'sizes', 'centroids')
    if name in start.method_state
  }
  state['remembered'] = []
  for step in range(STEPS):
    _VIEW['images'] = _images(step)
    value = loss(params, state)
    grads = _gradient(loss, params, state)
    keys = [
      _forward(state['target'], ('encoder', 'projector'), view)
      for view in (1, 0)[: 1 + symmetric]
      if 'target' in state and 'queue' in state
    ]
    kept = []
    if 'projector' in params:
      kept = [_forward(params, PROJECTED, view) for view in (0, 1)]
    params = {name: x - RATE * grads[name] for name, x in params.items()}
    state = {**state, 'remembered': [*state['remembered'], kept]}
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


def _remembers(found, state):
  """SwAV's queue and DeepCluster's memory hold the rows of their steps."""
  steps = state['remembered']
  if 'filled' in found.get('queue', {}):
    queue = found['queue']
    assert queue['filled'] == min(len(steps), 2) * BATCH
    for view in (0, 1):
      for place in range(min(len(steps), 2)):
        # Steps take turns in the two places of the queue.
        latest = max(n for n in range(len(steps)) if n % 2 == place)
        np.testing.assert_allclose(
          queue['rows'][view].reshape(2, BATCH, D)[place],
          steps[latest][view],
          atol=1e-6,
        )
  if 'memory' in found:
    np.testing.assert_allclose(found['memory']['rows'], steps[-1][0], atol=1e-6)
    assert (found['memory']['weights'] == 1).all()


def _parts(count):
  return [Linear() for _ in range(count)]


_SHARED = {'views': _views, 'instances': instances.identity()}
_MEMORY = {'clusters': CLUSTERS, 'examples': BATCH}


def _one_view(*arguments):
  return _views(*arguments)[:1]


def _metric_of(objective, **options):
  return lambda: metric(
    *_parts(2), objective=objective, margin=MARGIN, **options, **_SHARED
  )


TRACES = {
  'swav': (
    lambda: swav(
      *_parts(2),
      prototypes=CLUSTERS,
      temperature=TAU,
      epsilon=EPSILON,
      queue_steps=2,
      **_SHARED,
    ),
    _swav,
    {},
  ),
  'deepcluster': (
    lambda: deepcluster(
      *_parts(1), **_SHARED | {'views': _one_view}, **_MEMORY
    ),
    _deepcluster,
    {},
  ),
  'deepcluster_v2': (
    lambda: deepcluster_v2(
      *_parts(2), heads=2, temperature=TAU, **_SHARED, **_MEMORY
    ),
    _deepcluster_v2,
    {},
  ),
  'metric/triplet': (_metric_of('triplet'), _triplet, {}),
  'metric/margin': (_metric_of('margin'), _margin, {}),
  'metric/n_pair': (_metric_of('n_pair', l2=0.1), _n_pair, {}),
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
    _remembers(found.method_state, state)
    for part, matrix in _matrices(found.params).items():
      # DeepCluster makes its own head, in float32.
      assert matrix.dtype == np.float64 or 'head' in part
      close(matrix, params[part], err_msg=part)
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
