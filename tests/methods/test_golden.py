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

BATCH, PIXELS, D, STEPS, RATE = 5, 6, 3, 5, 0.3
TAU, MOMENTUM, QUEUE = 0.5, 0.8, 15
CLUSTERS, EPSILON, MARGIN = 3, 0.2, 0.6
PROJECTED = ('encoder', 'projector')
# Which rows each view shows. Padding differs between the views, because a
# weight that is taken from the wrong view would otherwise change nothing.
SHOWN = {
  'all shown': np.ones((3, BATCH), int),
  'padding': np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 1, 1]]),
}


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


def _views(shown):
  """As many views as `shown` has rows; the views differ by a power."""

  def views(key, images, index, widths=None):
    del key, index, widths
    images = images.astype(jnp.float64) / 255
    return tuple(
      (images ** (view + 1), jnp.asarray(each) - 1.0)
      for view, each in enumerate(shown)
    )

  return views


def _run(make, shown):
  """States and losses of STEPS steps in float64."""
  with jax.enable_x64(True):
    method, optimizer = make(views=_views(shown)), optax.sgd(RATE)

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


# The images of the step, and which rows each view shows.
_VIEW = {}


def _images_of(view):
  images = _VIEW['images'].astype(np.float64) / 255
  return images ** (view + 1)


def _common():
  """The rows that the first two views both show."""
  return np.flatnonzero(_VIEW['shown'][:2].all(axis=0))


def _cross_entropies(logits, own):
  return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), own]


def _pair(params):
  return [_forward(params, PROJECTED, view)[_common()] for view in (0, 1)]


def _info_nce(params, state):
  a, b = _pair(params)
  own = np.arange(len(a))
  first, second = a @ b.T / TAU, b @ a.T / TAU
  values = _cross_entropies(first, own) + _cross_entropies(second, own)
  return np.mean(values) / 2


def _nt_xent(params, state):
  rows = np.concatenate(_pair(params))
  total = 0
  for i in range(len(rows)):
    others = [j for j in range(len(rows)) if j != i]
    logits = rows[i] @ rows[others].T / TAU
    partner = others.index((i + len(rows) // 2) % len(rows))
    total += np.log(np.exp(logits).sum()) - logits[partner]
  return total / len(rows)


def _constant(x):
  """What a gradient does not pass: the real part of a complex step."""
  return x.real if np.iscomplexobj(x) else x


def _simsiam(params, state):
  value = 0
  for view, other in ((0, 1), (1, 0)):
    p = _forward(params, ('encoder', 'projector', 'predictor'), view)
    z = _constant(_forward(params, ('encoder', 'projector'), other))
    value -= np.mean((p * z).sum(1)[_common()]) / 2
  return value


def _byol(params, state):
  value = 0
  for view, other in ((0, 1), (1, 0)):
    p = _forward(params, ('encoder', 'projector', 'predictor'), view)
    z = _forward(state['target'], ('encoder', 'projector'), other)
    value += 2 - 2 * np.mean((p * z).sum(1)[_common()])
  return value


def _moco(params, state, symmetric=False):
  values = []
  for view, other in ((0, 1), (1, 0))[: 1 + symmetric]:
    q = _forward(params, ('encoder', 'projector'), view)
    k = _forward(state['target'], ('encoder', 'projector'), other)
    positive = (q * k).sum(1, keepdims=True)
    older = state['queue'][state['weights'] > 0]
    logits = np.concatenate([positive, q @ older.T], axis=1) / TAU
    values.append(_cross_entropies(logits, 0)[_common()])
  return np.mean(values)


def _sinkhorn(scores):
  matrix = np.exp(scores.real / EPSILON)
  for _ in range(3):
    matrix = matrix / matrix.sum(0)
    matrix = matrix / matrix.sum(1, keepdims=True)
  return matrix


def _swav(params, state):
  prototypes = _unit(params['prototypes'].T).T
  shown = _VIEW['shown']
  views = range(len(shown))
  rows = [_forward(params, PROJECTED, view) for view in views]
  total = count = 0
  for coded in (0, 1):
    places = np.flatnonzero(shown[coded])
    found = [rows[coded][places]]
    if len(state['remembered']) >= 2:  # the queue is full
      found += [each[coded][places] for each in state['remembered'][-2:]]
    codes = np.zeros((BATCH, CLUSTERS))
    shares = _sinkhorn(np.concatenate(found) @ prototypes)
    codes[places] = shares[: len(places)]
    for view in views:
      if view != coded:
        logits = rows[view] @ prototypes / TAU
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        weights = shown[coded] * shown[view]
        total -= (weights * (codes * logs).sum(1)).sum()
        count += weights.sum()
  return total / count


def _deepcluster(params, state):
  labels = state['assignments']
  total = count = 0
  for view, shown in enumerate(_VIEW['shown']):
    x = _images_of(view).reshape(BATCH, -1) @ params['encoder']
    logits = x @ params['head'] + params['head bias']
    weights = shown / state['sizes'][labels]
    total += (weights * _cross_entropies(logits, labels)).sum()
    count += weights.sum()
  return total / count


def _deepcluster_v2(params, state):
  total = count = 0
  for view, shown in enumerate(_VIEW['shown']):
    rows = _forward(params, PROJECTED, view)
    for labels, table in zip(
      state['assignments'], state['centroids'], strict=True
    ):
      values = _cross_entropies(rows @ table.T / TAU, labels)
      total += (shown * values).sum()
      count += shown.sum()
  return total / count


def _mined(params, unit=True):
  """(anchor, positive, semi-hard negative) rows of every image."""
  rows = []
  for view in (0, 1):
    x = _images_of(view).reshape(BATCH, -1)
    x = x @ params['encoder'] @ params['projector']
    rows.append((_unit(x) if unit else x)[_common()])
  a, b = rows
  for i in range(len(a)):
    far = ((a[i].real - b.real) ** 2).sum(1)
    others = [j for j in range(len(a)) if j != i]
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


def _reference(loss, start, shown, *, momentum=None, symmetric=False):
  """(params, state, loss) after each step, from the first state on."""
  _VIEW['shown'] = shown
  params = _matrices(start.params)
  state = {}
  if 'target' in start.method_state:
    state['target'] = _matrices(start.method_state['target']['params'])
  if 'target' in state and 'queue' in start.method_state:
    rows = start.method_state['queue']['rows']
    state |= {'queue': rows, 'weights': np.ones(len(rows)), 'pointer': 0}
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
    views = (1, 0)[: 1 + symmetric] if 'queue' in state else ()
    keys = [_forward(state['target'], PROJECTED, view) for view in views]
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
      queue, weights = state['queue'].copy(), state['weights'].copy()
      places = (state['pointer'] + np.arange(len(rows))) % len(queue)
      queue[places] = rows
      weights[places] = np.concatenate([shown[view] for view in views])
      state |= {'queue': queue, 'weights': weights}
      state['pointer'] = (state['pointer'] + len(rows)) % len(queue)
    yield params, state, value


def _remembers(found, state, shown):
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
        np.testing.assert_array_equal(
          queue['weights'][view].reshape(2, BATCH)[place], shown[view]
        )
  if 'memory' in found:
    np.testing.assert_allclose(
      found['memory']['rows'], shown[0][:, None] * steps[-1][0], atol=1e-6
    )
    np.testing.assert_array_equal(found['memory']['weights'], shown[0])


def _parts(count):
  return [Linear() for _ in range(count)]


_MEMORY = {'clusters': CLUSTERS, 'examples': BATCH}


def _make(method, parts, **options):
  """A method of linear parts that lacks only its `views`."""
  return functools.partial(
    method, *_parts(parts), instances=instances.identity(), **options
  )


def _metric_of(objective, **options):
  return _make(metric, 2, objective=objective, margin=MARGIN, **options)


_SWAV = _make(
  swav,
  2,
  prototypes=CLUSTERS,
  temperature=TAU,
  epsilon=EPSILON,
  queue_steps=2,
)
_MOCO = functools.partial(_make, moco, 2, temperature=TAU, momentum=MOMENTUM)


# The method without its views, its loss, and options of the reference; 'views'
# is the number of views, 2 by default.
TRACES = {
  'swav': (_SWAV, _swav, {}),
  'swav/small': (_SWAV, _swav, {'views': 3}),
  'deepcluster': (_make(deepcluster, 1, **_MEMORY), _deepcluster, {}),
  'deepcluster_v2': (
    _make(deepcluster_v2, 2, heads=2, temperature=TAU, **_MEMORY),
    _deepcluster_v2,
    {},
  ),
  'metric/triplet': (_metric_of('triplet'), _triplet, {}),
  'metric/margin': (_metric_of('margin'), _margin, {}),
  'metric/n_pair': (_metric_of('n_pair', l2=0.1), _n_pair, {}),
  'simclr': (_make(simclr, 2, temperature=TAU), _info_nce, {}),
  'simclr/nt_xent': (
    _make(simclr, 2, temperature=TAU, contrast='nt_xent'),
    _nt_xent,
    {},
  ),
  'simsiam': (_make(simsiam, 3, l2=0.0), _simsiam, {}),
  'byol': (
    _make(byol, 3, momentum=MOMENTUM, steps=STEPS),
    _byol,
    {
      'momentum': lambda step: (
        1 - (1 - MOMENTUM) * (np.cos(np.pi * step / STEPS) + 1) / 2
      )
    },
  ),
  'moco': (_MOCO(queue=QUEUE), _moco, {'momentum': lambda step: MOMENTUM}),
  'moco/symmetric': (
    _MOCO(queue_steps=2, symmetric=True),
    functools.partial(_moco, symmetric=True),
    {'momentum': lambda step: MOMENTUM, 'symmetric': True},
  ),
}


@pytest.mark.parametrize('rows', SHOWN)
@pytest.mark.parametrize('name', TRACES)
def test_the_trace_is_followed(name, rows):
  make, loss, options = TRACES[name]
  options = dict(options)
  shown = SHOWN[rows][: options.pop('views', 2)]
  states, losses = _run(make, shown)
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
  expected = list(_reference(loss, states[0], shown, **options))
  assert len(expected) == STEPS
  for number, (params, state, value) in enumerate(expected):
    found = states[number + 1]
    close(losses[number], value)
    _remembers(found.method_state, state, shown)
    for part, matrix in _matrices(found.params).items():
      # DeepCluster makes its own head, in float32.
      assert matrix.dtype == np.float64 or 'head' in part
      close(matrix, params[part], err_msg=part)
    for part, matrix in state.get('target', {}).items():
      target = found.method_state['target']['params'][part]
      close(target['Dense_0']['kernel'], matrix, err_msg=f'target {part}')
    if 'queue' in state:
      close(found.method_state['queue']['rows'], state['queue'])
      close(found.method_state['queue']['weights'], state['weights'])
      assert found.method_state['queue']['pointer'] == state['pointer']
  # The trace goes somewhere, or all of it would hold for a step that is none.
  moved = states[-1].params['encoder']['Dense_0']['kernel']
  assert (
    np.abs(moved - states[0].params['encoder']['Dense_0']['kernel']).max()
    > 1e-2
  )
