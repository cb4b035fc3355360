"""Alarms: when they are raised, and that planted collapses raise them."""

import functools
import json
import types
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import core, health, optim, parallel, train
from ssljax.data.image_sets import open_images
from ssljax.errors import UserError
from ssljax.health import PATIENCE, Monitor
from ssljax.methods.byol import byol
from ssljax.methods.moco import moco
from ssljax.methods.simclr import simclr
from ssljax.methods.simsiam import simsiam
from ssljax.methods.swav import swav
from ssljax.models import instances
from ssljax.models.heads import Mlp

STEPS, BATCH, SIDE = 300, 64, 8
SAME = 'the projections of all images are the same'


def _alarms(values, *, every=1, figure='std', monitor=None, **other):
  """[(step, message)] of a figure's course, a line every so many steps."""
  monitor = monitor or Monitor()
  return [
    (step, message)
    for step, value in zip(
      range(every, every * len(values) + 1, every), values, strict=True
    )
    for message in monitor.read(step, {figure: value, **other})
  ]


@pytest.mark.parametrize('every', [1, 20])
def test_an_alarm_comes_after_patience(every):
  ((step, message),) = _alarms([0.01] * (400 // every), every=every)
  assert step == every + PATIENCE
  assert message.startswith(f'Step {step}: the features of all images are the')
  assert f'std 0.01, below 0.05 for {PATIENCE} steps' in message
  assert 'predictor or stop_gradient' in message


def test_a_short_dip_and_a_healthy_run_are_no_alarm():
  assert not _alarms([0.051] * 400)
  assert not _alarms([0.01] * PATIENCE)
  # Each dip is counted by itself.
  assert not _alarms(([0.01] * PATIENCE + [0.3]) * 4)


def test_warm_up_counts_for_nothing():
  assert not _alarms([0.01] * 150 + [0.3] * 250, monitor=Monitor(warmup=150))
  ((step, _),) = _alarms([0.01] * 400, monitor=Monitor(warmup=150))
  assert step == 151 + PATIENCE


def test_a_figure_that_rises_is_no_alarm_until_it_stops():
  gain = 1.2 ** (1 / PATIENCE)  # a fifth over the time of patience
  rising = 0.005 * gain ** np.arange(3 * PATIENCE)
  assert rising[-1] < 0.05
  assert not _alarms(rising)
  assert _alarms([*rising, *[rising[-1]] * 2 * PATIENCE])
  slowly = 0.005 * (1.05 ** (1 / PATIENCE)) ** np.arange(3 * PATIENCE)
  assert _alarms(slowly)
  assert _alarms(rising[::-1])


def test_an_alarm_is_raised_once():
  monitor = Monitor()
  found = _alarms([0.01] * 300 + [0.3] * 50 + [0.01] * 300, monitor=monitor)
  assert len(found) == 1
  assert list(monitor.raised.values()) == [found[0][1]]
  # Another sign has an alarm of its own.
  assert _alarms([1.0] * 300, figure='effective_rank', monitor=monitor)
  assert set(monitor.raised) == {'std', 'effective_rank'}


@pytest.mark.parametrize(
  ('figure', 'healthy', 'bad', 'words'),
  [
    ('std_across_images', 0.06, 0.04, 'the same at each position'),
    ('std', 0.06, 0.04, 'the features of all images are the same ('),
    ('projection_std', 0.11, 0.09, SAME),
    ('effective_rank', 1.4, 1.2, 'along one direction only'),
    ('clusters', 1.6, 1.4, 'nearly all examples are in one cluster'),
    ('variety', 0.06, 0.04, 'reads nearly all unlabelled images alike'),
    ('trust', 0.6, 0.4, 'sure of itself and wrong about the labelled'),
  ],
)
def test_each_sign_says_what_it_shows(figure, healthy, bad, words):
  assert not _alarms([healthy] * 300, figure=figure)
  ((_, message),) = _alarms([bad] * 300, figure=figure)
  assert words in message
  assert f'({figure} {bad}, below' in message
  others = {sign.meaning for sign in health.SIGNS if sign.figure != figure}
  assert not any(other + ' (' in message for other in others)


HEALTHY = {
  'loss': 2.0,
  'confidence': 0.25,
  'agreement': 1.0,
  'trust': 1.05 / 0.3,
  'variety': 0.95,
  'right': 0.3,
  'truth_known': 1.0,
  'labelled_share': 0.6,
  'infeasible': 0.0,
}


@pytest.mark.parametrize(
  ('figures', 'raised'),
  [
    ({}, set()),
    # Before it has learned anything, but reads each image in its own way.
    ({'confidence': 0.0, 'agreement': 0.0, 'trust': 1.0, 'right': 0}, set()),
    ({'confidence': 0.99, 'agreement': 0.97, 'trust': 1.02 / 1.04}, set()),
    # All blank, or one string.
    ({'variety': 0.0, 'agreement': 0.0, 'right': 0.0}, {'variety'}),
    # Sure, and wrong.
    ({'confidence': 0.9, 'agreement': 0.3, 'trust': 0.35 / 0.95}, {'trust'}),
  ],
)
def test_self_training_that_goes_wrong_is_told(figures, raised):
  monitor = Monitor()
  for step in range(20, 501, 20):
    monitor.read(step, HEALTHY | figures)
  assert set(monitor.raised) == raised


@pytest.mark.parametrize('candidates', [16, 4097])
def test_a_loss_at_chance_is_an_alarm_of_its_own(candidates):
  chance = {'loss_at_chance': np.log(candidates)}

  def alarms(share, figure='loss', **other):
    values = [share * chance['loss_at_chance']] * 300
    return _alarms(values, figure=figure, **chance, **other)

  ((_, message),) = alarms(0.99)
  assert 'the loss stays at chance: not learning' in message
  assert 'features' not in message
  assert alarms(1.3)  # worse than chance, as a fresh projector's
  assert not alarms(0.97)
  # Of the method alone: a probe that watches adds its own.
  assert alarms(0.99, figure='method_loss', loss=9.0)
  assert not alarms(0.9, figure='method_loss', loss=9.0)


def test_a_loss_has_no_chance_level_unless_it_says_so():
  assert not _alarms([10.0] * 300, figure='loss')
  # One candidate: there is nothing to tell apart, and nothing to learn.
  assert not _alarms([0.0] * 300, figure='loss', loss_at_chance=0.0)


def test_a_resumed_run_says_nothing_twice(tmp_path):
  """A stage's own monitor, from the lines that it had logged before."""
  stage = types.SimpleNamespace(warmup=100, folder=tmp_path)
  lines = [
    {'step': step, 'seconds': 1.0, 'std': 0.01, 'effective_rank': None}
    for step in range(20, 1001, 20)
  ]

  def resumed(after):
    """A monitor that goes on after a kill, and what it says from there."""
    with (tmp_path / 'metrics.jsonl').open('w') as file:
      file.writelines(json.dumps(line) + '\n' for line in lines[:after])
    monitor = train.watch(stage)
    said = [
      message
      for line in lines[after:]
      for message in monitor.read(line['step'], {'std': line['std']})
    ]
    return monitor, said

  whole, (message,) = resumed(0)
  # After a warm-up of 100 the first line is that of step 120.
  assert message.startswith('Step 220: ')
  for after in range(1, len(lines)):
    monitor, said = resumed(after)
    assert monitor.raised == whole.raised == {'std': message}
    assert said == ([message] if after < 11 else [])


@functools.cache
def _digits():
  source = open_images(name='digits', data_dir='', size=SIDE).open('train')
  return source.gather(range(len(source)))


def _views(key, images, index, widths=None):
  """Two views: shifted by a pixel at the most, and noise on top."""
  del widths

  def view(key, image, number):
    shift_key, noise_key = jax.random.split(jax.random.fold_in(key, number))
    shift = jax.random.randint(shift_key, (2,), -1, 2)
    image = jnp.roll(image.astype(jnp.float32), shift, axis=(0, 1))
    noise = jax.random.normal(noise_key, image.shape)
    return (image + 40 * noise) / 127.5 - 1

  columns = jnp.zeros(len(images))
  return tuple(
    (jax.vmap(view, (None, 0, 0))(each, images, index), columns)
    for each in jax.random.split(key)
  )


class Encoder(nn.Module):
  """Pixels, one hidden layer, 32 features; no BatchNorm."""

  @nn.compact
  def __call__(self, images, *, train, mask=None):
    pixels = images.reshape(len(images), -1)
    return Mlp((64, 32), hidden_norm=False)(pixels, train=train)


class Recipe(NamedTuple):
  """A method and how fast it is trained."""

  method: core.Method
  rate: float = 0.1
  late: bool = False  # its predictor, at a thirtieth of the rate


_SHARED = {'views': _views, 'instances': instances.identity()}
_HEADS = Mlp((32, 16)), Mlp((8, 16))
_contrastive = {'encoder': Encoder(), 'projector': Mlp((32, 16)), **_SHARED}
_simsiam = functools.partial(simsiam, Encoder(), *_HEADS, l2=0.0, **_SHARED)
_byol = functools.partial(byol, Encoder(), *_HEADS, momentum=0.98, **_SHARED)
# Its predictor lags behind, so that it needs a target that is slower still.
_late = functools.partial(
  byol, Encoder(), Mlp((32, 16)), Mlp((8, 16), hidden_norm=False), **_SHARED
)
_swav = functools.partial(swav, **_contrastive, prototypes=16)
HEALTHY = {
  'SimCLR': Recipe(simclr(**_contrastive, contrast='nt_xent')),
  'MoCo': Recipe(moco(**_contrastive, queue=512, momentum=0.98)),
  'SimSiam': Recipe(_simsiam()),
  'BYOL': Recipe(_byol()),
  'BYOL, late predictor': Recipe(_late(momentum=0.999), 0.3, late=True),
  'SwAV': Recipe(_swav()),
}
PLANTED = {
  'SimSiam without stop_gradient': Recipe(_simsiam(stop_gradient=False)),
  'SimSiam without predictor': Recipe(_simsiam(predict=False)),
  'BYOL without predictor': Recipe(_byol(predict=False), 0.3),
  'BYOL without momentum, late predictor': Recipe(
    _late(momentum=0.0), 0.3, late=True
  ),
}
# Clusters that nothing tells apart: the loss stays at ln K.
PLANTED_SWAV = {
  'without normalisation': Recipe(_swav(normalize=False), 0.05),
  'one iteration, large epsilon': Recipe(_swav(iterations=1, epsilon=1.0)),
}
# One linear layer is all that stands between the features and the loss.
_bare = {
  'encoder': Encoder(),
  'projector': Mlp((16,)),
  'predictor': Mlp((8, 16)),
  **_SHARED,
}
PLANTED_BARE = {
  'SimSiam without stop_gradient': Recipe(
    simsiam(**_bare, l2=0.0, stop_gradient=False), 0.8
  ),
  'BYOL without predictor': Recipe(byol(**_bare, predict=False), 0.8),
}


@functools.cache
def _compiled(recipe):
  """(create_state, train_step) of a recipe, for all of its seeds."""
  optimizer = optim.optimizer(
    'sgd',
    learning_rate=recipe.rate,
    rates={'predictor': 0.03} if recipe.late else None,
    steps=STEPS,
    decay='constant',
    momentum=0.9,
    weight_decay=1e-3,
    decay_vectors=True,
  )
  parts = {'method': recipe.method, 'optimizer': optimizer}
  step = functools.partial(core.train_step, **parts)
  create = functools.partial(core.create_state, **parts)
  return jax.jit(create), parallel.compile_step(step, mapping='jit')


def _trained(recipe, seed):
  """The monitor of a run, read every 10 steps, and the last of its lines."""
  create, step = _compiled(recipe)
  rng = np.random.default_rng(seed)
  digits = _digits()

  def batch():
    chosen = rng.permutation(len(digits['index']))[:BATCH]
    return {key: digits[key][chosen] for key in ('image', 'index')}

  state = create(jax.random.key(seed), batch())
  monitor = Monitor()
  for number in range(1, STEPS + 1):
    state, metrics = step(state, batch())
    if number % 10 == 0:
      line = {key: float(value) for key, value in metrics.items()}
      monitor.read(number, line)
  return monitor, line


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', HEALTHY)
def test_what_learns_raises_no_alarm(name, seed):
  monitor, line = _trained(HEALTHY[name], seed)
  assert not monitor.raised
  # With room to spare, or the next version of XLA would decide.
  assert line['std'] > 0.2
  assert line['effective_rank'] > 1.4
  assert line.get('projection_std', 1.0) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', PLANTED)
def test_a_planted_collapse_is_named(name, seed):
  """The loss looks better than a healthy one's; the projections give it away.

  Features keep their spread behind a projector with BatchNorm (a std of 0.6 to
  0.8 at the end of all these), so it takes the sign of the projections.

  BYOL without momentum is SimSiam, and with a predictor that keeps up it does
  not collapse at this size: without weight decay its projections' std was 0.71
  to 0.87 after 500 steps of Adam at 2e-3 to 3e-2 and of SGD at 0.3 and 1. So
  its predictor is a late one here, which a momentum of 0.999 makes up for.
  """
  monitor, line = _trained(PLANTED[name], seed)
  assert SAME in monitor.raised['projection_std']
  assert 'predictor or stop_gradient' in monitor.raised['projection_std']
  assert 'momentum 0' in monitor.raised['projection_std']
  assert line['cosine'] > 0.99


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', PLANTED_BARE)
def test_a_planted_collapse_of_the_features_is_named(name, seed):
  """Nothing between them and the loss: they go first."""
  monitor, line = _trained(PLANTED_BARE[name], seed)
  assert 'the features of all images are the same (' in monitor.raised['std']
  assert line['cosine'] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', PLANTED_SWAV)
def test_a_planted_collapse_of_clusters_is_named(name, seed):
  monitor, _ = _trained(PLANTED_SWAV[name], seed)
  assert 'the loss stays at chance' in monitor.raised['loss_below_chance']


def test_a_loss_that_comes_down_to_chance_has_learned_nothing():
  course = 2.0 + 0.98 ** np.arange(400)
  ((step, message),) = _alarms(course, figure='loss', loss_at_chance=2.0)
  assert step == 1 + PATIENCE
  assert 'stays at chance' in message


def _state(**params):
  return types.SimpleNamespace(
    params={'encoder': params}, method_state={'batch_stats': {}}
  )


def test_the_first_step_that_is_not_finite_is_named():
  """Whether a call takes one step or several."""
  fine = {'loss': 1.0, 'update_norm': 1.0}
  health.check_finite('head', 9, [fine, fine], _state(kernel=np.ones(2)))
  for bad in (np.nan, np.inf, -np.inf):
    for window in (
      [fine, fine | {'update_norm': bad}, {'loss': bad, 'update_norm': bad}],
      [fine, {'loss': np.array([1, bad]), 'update_norm': np.array([bad, bad])}],
    ):
      words = (
        r'found update_norm not finite at step 8, where the largest value, '
        r'1.0e\+00, is in params/encoder/kernel; .*head\.optimizer\.clip'
      )
      with pytest.raises(UserError, match=words):
        health.check_finite('head', 9, window, _state(kernel=np.ones(2)))


def test_the_arrays_that_are_not_finite_are_named():
  state = _state(bias=np.ones(2), kernel=np.array([1, np.inf]))
  window = [{'loss': 1.0}]
  with pytest.raises(UserError, match='found params/encoder/kernel not finite'):
    health.check_finite('head', 3, window, state)
  health.check_finite('head', 3, window, state, saving=False)  # on the way
  with pytest.raises(UserError, match='found loss, params/encoder/kernel not'):
    health.check_finite('head', 3, [{'loss': np.nan}], state, saving=False)
  state = _state(**{name: np.full(2, np.nan) for name in 'abcde'})
  with pytest.raises(UserError, match='encoder/c and 2 more arrays not finite'):
    health.check_finite('head', 3, window, state)


def test_statistics_are_watched_too():
  state = _state()
  state.method_state['batch_stats'] = {'encoder': {'mean': np.array([np.nan])}}
  with pytest.raises(UserError, match='batch_stats/encoder/mean not finite'):
    health.check_finite('head', 3, [], state)
