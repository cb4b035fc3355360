"""What every method must hold to, whatever it learns from.

A file in `ssljax/methods` needs an entry in `CASES` under its own name; the
suite then runs over it. Further cases of a method are `name/variant`.
"""

import functools
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssljax import core, losses, methods, optim, parallel
from ssljax.augment.policies import policy_views
from ssljax.augment.text import text_views
from ssljax.checkpoint import Checkpoints
from ssljax.methods.autoencoder import autoencoder
from ssljax.methods.byol import byol
from ssljax.methods.colorization import colorization
from ssljax.methods.cyclegan import cyclegan
from ssljax.methods.deepcluster import deepcluster
from ssljax.methods.deepcluster_v2 import deepcluster_v2
from ssljax.methods.inpainting import inpainting
from ssljax.methods.jigsaw import jigsaw
from ssljax.methods.metric import metric
from ssljax.methods.moco import moco
from ssljax.methods.pix2pix import pix2pix
from ssljax.methods.recognize import recognize
from ssljax.methods.relative_patch import relative_patch
from ssljax.methods.rotation import rotation
from ssljax.methods.self_training import self_training
from ssljax.methods.simclr import simclr
from ssljax.methods.simsiam import simsiam
from ssljax.methods.super_resolution import super_resolution
from ssljax.methods.supervised import supervised
from ssljax.methods.swav import swav
from ssljax.models import instances
from ssljax.models.decoders import Decoder, PatchCritic
from ssljax.models.heads import Classifier, Mlp, Predictor, Projector
from ssljax.models.resnet import ResNet
from ssljax.models.sequence import CtcHead, SequenceEncoder

STEPS, ROWS, DEVICES = 3, 16, 8
HEIGHT, WIDTH, STRIDE = 16, 32, 4
AXIS = 'devices'
SPREAD = {'std', 'std_across_images', 'std_across_positions', 'effective_rank'}
NAMES = tuple(
  module.name
  for module in pkgutil.iter_modules(methods.__path__)
  if not module.name.startswith('_')  # what methods share
)


class Case(NamedTuple):
  """A method to hold to the contract.

  Attributes:
    build: `(axis_name) -> Method`.
    parts: top-level names of `params` that a gradient reaches.
    progress: the metric that shows learning, and the least change of it.
    rate, steps: of the optimizer in the test of progress.
    metrics: those that 8 devices must report as one does; 'loss' and
      'gradient_norm' always.
    frozen: parts that must not move.
    images: the batch holds square images with a class each, not text.
    clean: the batch holds a plain print of each image.
  """

  build: Callable[[str | None], core.Method]
  parts: tuple[str, ...]
  progress: tuple[str, float]
  rate: float = 1e-2
  steps: int = 30
  metrics: tuple[str, ...] = ()
  frozen: tuple[str, ...] = ()
  images: bool = False
  clean: bool = False


def _encoder():
  # What a method owes its encoder does not depend on the encoder's depth, and
  # a transformer block is a third of what there is to compile.
  return SequenceEncoder(channels=(8, 8), width=16, layers=0, heads=2)


def _simclr(axis_name, *, batch_norm=True, pool=None, **options):
  return simclr(
    _encoder(),
    Projector(width=8, batch_norm=batch_norm, axis_name=axis_name),
    # The shift leaves images with different numbers of padded frames.
    views=text_views(stride=STRIDE, shift=0.3, inversion=0.2),
    instances=pool or instances.frames(2, stride=STRIDE),
    axis_name=axis_name,
    **options,
  )


def _simsiam(axis_name, *, predictor=None, **options):
  return simsiam(
    _encoder(),
    Projector(width=8, axis_name=axis_name),
    Predictor(8, 4, axis_name=axis_name, **predictor or {}),
    views=text_views(stride=STRIDE, shift=0.3, inversion=0.2),
    instances=instances.frames(2, stride=STRIDE),
    axis_name=axis_name,
    **options,
  )


def _byol(axis_name, **options):
  return byol(
    _encoder(),
    Projector(width=8, axis_name=axis_name),
    Predictor(8, 4, axis_name=axis_name),
    views=text_views(stride=STRIDE, shift=0.3, inversion=0.2),
    instances=instances.frames(2, stride=STRIDE),
    # A target that follows within a test's few steps.
    momentum=0.5,
    steps=100,
    axis_name=axis_name,
    **options,
  )


def _moco(axis_name, **options):
  return moco(
    _encoder(),
    Projector(width=8, axis_name=axis_name, groups=DEVICES),
    views=text_views(stride=STRIDE, shift=0.3, inversion=0.2),
    instances=instances.frames(2, stride=STRIDE),
    queue=4 * ROWS * 4,
    momentum=0.9,
    axis_name=axis_name,
    **options,
  )


_INSTANCES = instances.frames(2, stride=STRIDE, time=WIDTH // STRIDE)


def _views(count=2, small=0):
  return text_views(count, small=small, stride=STRIDE, shift=0.3, inversion=0.2)


def _swav(axis_name, **options):
  return swav(
    _encoder(),
    Projector(width=8, axis_name=axis_name),
    views=_views(small=2),
    instances=_INSTANCES,
    prototypes=6,
    queue_steps=2,
    axis_name=axis_name,
    **options,
  )


# A case's batches are numbered up to 2,015.
_MEMORY = {'clusters': 6, 'examples': 2048}


def _deepcluster(axis_name):
  return deepcluster(
    _encoder(),
    views=_views(1),
    instances=_INSTANCES,
    axis_name=axis_name,
    **_MEMORY,
  )


def _deepcluster_v2(axis_name):
  return deepcluster_v2(
    _encoder(),
    Projector(width=8, axis_name=axis_name),
    views=_views(small=2),
    instances=_INSTANCES,
    heads=2,
    axis_name=axis_name,
    **_MEMORY,
  )


def _metric(axis_name, **options):
  return metric(
    _encoder(),
    Projector(width=8, axis_name=axis_name),
    views=_views(),
    instances=_INSTANCES,
    axis_name=axis_name,
    **options,
  )


def _images(method, *, parts, groups=0, views=2, small=0, **options):
  """`build` of a method on square images, with BatchNorm in its encoder."""

  def build(axis_name):
    shared = {'axis_name': axis_name, 'groups': groups}
    modules = [ResNet((1,), width=8, stem='cifar', zero_init=False, **shared)]
    modules += parts(shared)
    return method(
      *modules,
      views=policy_views(
        'characters',
        size=HEIGHT,
        count=views,
        small=small,
        small_size=HEIGHT // 2,
      ),
      axis_name=axis_name,
      **options,
    )

  return build


def _drawn(method, *, critic=True, encoder=None, scale=1, **options):
  """`build` of a method that makes pictures."""

  def build(axis_name):
    chosen = encoder or ResNet(
      (1,), width=8, zero_init=False, axis_name=axis_name
    )
    modules = [chosen, Decoder(width=4, scale=scale)]
    if critic:
      modules.append(PatchCritic((8, 8)))
    return method(*modules, axis_name=axis_name, **options)

  return build


def _pieces(method, **options):
  """`build` of a method that cuts images into patches."""

  def build(axis_name):
    encoder = ResNet((1,), width=8, zero_init=False, axis_name=axis_name)
    return method(encoder, grid=(2, 2), gap=1, axis_name=axis_name, **options)

  return build


def _mlps(*widths):
  return lambda shared: [Mlp(each, **shared) for each in widths]


def _recognize(axis_name, **options):
  return recognize(
    _encoder(),
    CtcHead(classes=5, hidden=16),
    views=text_views(count=1, stride=STRIDE),
    axis_name=axis_name,
    **options,
  )


def _self_training(axis_name):
  return self_training(
    _encoder(),
    CtcHead(classes=5, hidden=16),
    criterion=losses.ctc,
    views=text_views(count=1, stride=STRIDE),
    momentum=0.5,
    axis_name=axis_name,
  )


_SIMCLR = Case(
  _simclr,
  parts=('encoder', 'projector'),
  progress=('loss', -1.5),
  metrics=('retrieval', 'retrieval_chance', 'loss_at_chance'),
)
_RECOGNIZE = Case(
  _recognize,
  parts=('encoder', 'head'),
  progress=('loss', -1.0),
  metrics=('infeasible',),
)
_SIMSIAM = Case(
  _simsiam,
  parts=('encoder', 'projector', 'predictor'),
  progress=('cosine', 0.3),
  steps=60,
  metrics=('cosine',),
)
_IDENTITY = {'instances': instances.identity()}
_BYOL = Case(
  _byol,
  parts=('encoder', 'projector', 'predictor'),
  progress=('cosine', 0.1),
  steps=60,
  metrics=('cosine',),
)
_MOCO = Case(
  _moco,
  parts=('encoder', 'projector'),
  # Not retrieval: of one batch the queue holds older keys of the same images.
  progress=('loss', -1.0),
  steps=60,
  metrics=('retrieval', 'queue_age'),
)
CASES = {
  'simclr': _SIMCLR,
  'simclr/article': _SIMCLR._replace(
    build=functools.partial(_simclr, batch_norm=False, pool=instances.frames(5))
  ),
  'simclr/image': _SIMCLR._replace(
    build=functools.partial(_simclr, negatives='image')
  ),
  'simsiam': _SIMSIAM,
  'simsiam/no predictor': _SIMSIAM._replace(
    build=functools.partial(_simsiam, predict=False),
    parts=('encoder', 'projector'),
  ),
  'byol': _BYOL,
  'moco': _MOCO,
  'supervised': Case(
    _images(supervised, views=1, parts=lambda shared: [Classifier(4)]),
    parts=('encoder', 'head'),
    progress=('loss', -0.3),
    metrics=('accuracy',),
    images=True,
  ),
  'simclr/images': _SIMCLR._replace(
    build=_images(
      simclr, parts=_mlps((16, 8)), contrast='nt_xent', **_IDENTITY
    ),
    images=True,
  ),
  'simsiam/images': _SIMSIAM._replace(
    build=_images(simsiam, parts=_mlps((16, 16), (8, 16)), l2=0.0, **_IDENTITY),
    images=True,
  ),
  'byol/images': _BYOL._replace(
    build=_images(byol, parts=_mlps((16, 8), (16, 8)), **_IDENTITY),
    images=True,
  ),
  'moco/images': _MOCO._replace(
    build=_images(
      moco,
      # v2's; over the two rows of a group BatchNorm would be a sign.
      parts=lambda shared: [Mlp((16, 8), hidden_norm=False, **shared)],
      groups=DEVICES,
      queue=8 * ROWS,
      symmetric=True,
      temperature=0.5,
      **_IDENTITY,
    ),
    images=True,
  ),
  'recognize': _RECOGNIZE,
  'recognize/frozen': _RECOGNIZE._replace(
    build=functools.partial(_recognize, freeze=('encoder',)),
    parts=('head',),
    frozen=('encoder',),
  ),
}
_TELEMETRY = (
  *('confidence', 'agreement', 'trust', 'variety'),
  *('labelled_share', 'right', 'truth_known'),
)
CASES |= {
  'self_training': _RECOGNIZE._replace(
    build=_self_training,
    progress=('loss', -0.5),
    metrics=('infeasible', *_TELEMETRY),
  ),
  'self_training/images': Case(
    _images(
      self_training,
      views=1,
      parts=lambda shared: [Classifier(4)],
      criterion=losses.cross_entropy,
      momentum=0.5,
    ),
    parts=('encoder', 'head'),
    progress=('loss', -0.3),
    metrics=_TELEMETRY,
    images=True,
  ),
}
_TRIPLET = Case(
  _metric,
  parts=('encoder', 'projector'),
  # Not the loss: the better the rows, the harder the negatives.
  progress=('retrieval', 0.08),
  steps=100,
  metrics=('retrieval', 'loss_at_chance'),
)
_SWAV = Case(
  _swav,
  parts=('encoder', 'projector', 'prototypes'),
  progress=('loss', -0.2),
  steps=60,
  metrics=('clusters',),
)
_V2 = Case(
  _deepcluster_v2,
  parts=('encoder', 'projector'),
  # Of clusters drawn at random, as no epoch begins here.
  progress=('loss', -0.2),
  steps=60,
  metrics=('clusters', 'accuracy'),
)
CASES |= {
  'swav': _SWAV,
  'swav/hard': _SWAV._replace(
    build=functools.partial(_swav, codes='hard', queue_from=2)
  ),
  'swav/images': _SWAV._replace(
    build=_images(
      swav, parts=_mlps((16, 8)), small=2, prototypes=6, **_IDENTITY
    ),
    images=True,
  ),
  'deepcluster': Case(
    _deepcluster,
    parts=('encoder', 'head'),
    progress=('loss', -0.2),
    metrics=('clusters', 'accuracy'),
  ),
  'deepcluster/images': Case(
    _images(
      deepcluster, parts=lambda shared: [], views=1, **_MEMORY, **_IDENTITY
    ),
    parts=('encoder', 'head'),
    progress=('loss', -0.2),
    metrics=('clusters',),
    images=True,
  ),
  'deepcluster_v2': _V2,
  'deepcluster_v2/images': _V2._replace(
    build=_images(
      deepcluster_v2, parts=_mlps((16, 8)), small=2, **_MEMORY, **_IDENTITY
    ),
    images=True,
  ),
  'metric': _TRIPLET,
  'metric/margin': _TRIPLET._replace(
    build=functools.partial(_metric, objective='margin', margin=1.0)
  ),
  'metric/n_pair': _TRIPLET._replace(
    build=functools.partial(_metric, objective='n_pair', l2=3e-3)
  ),
  'metric/labelled': _TRIPLET._replace(
    build=_images(metric, parts=_mlps((16, 8)), labelled=True, **_IDENTITY),
    images=True,
  ),
}
_PIECES = Case(
  _pieces(relative_patch, colours='keep', jitter=False),
  parts=('encoder', 'head'),
  progress=('accuracy', 0.2),
  steps=120,
  metrics=('accuracy',),
  images=True,
)
_DRAWN = Case(
  _drawn(autoencoder, critic=False),
  parts=('encoder', 'decoder'),
  progress=('psnr', 1.0),
  metrics=('psnr',),
  images=True,
)
_CRITICISED = _DRAWN._replace(
  parts=('encoder', 'decoder', 'critic'), metrics=('psnr', 'critic_loss')
)
CASES |= {
  'rotation': _PIECES._replace(
    build=_images(rotation, views=1, parts=lambda shared: []),
  ),
  'rotation/text': _PIECES._replace(
    build=lambda axis_name: rotation(_encoder(), turns=2, axis_name=axis_name),
    images=False,
  ),
  'relative_patch': _PIECES,
  'jigsaw': _PIECES._replace(
    build=_pieces(jigsaw, orders=6),
    parts=('encoder', 'places', 'head'),
  ),
  'colorization': _DRAWN._replace(
    build=_drawn(colorization, critic=False, scale=2),
    progress=('loss', -0.3),
    metrics=(),
  ),
  'colorization/l2': _DRAWN._replace(
    build=_drawn(colorization, critic=False, scale=2, form='l2'), metrics=()
  ),
  'autoencoder': _DRAWN,
  'autoencoder/text': _DRAWN._replace(
    build=_drawn(autoencoder, critic=False, encoder=_encoder()),
    images=False,
    clean=True,
  ),
  'inpainting': _CRITICISED._replace(build=_drawn(inpainting)),
  'super_resolution': _CRITICISED._replace(build=_drawn(super_resolution)),
  # Their weights are for the learning rates of their papers.
  'pix2pix': _CRITICISED._replace(build=_drawn(pix2pix, l1=1.0), clean=True),
  'cyclegan': Case(
    _drawn(cyclegan, cycle=1.0, pool=40),
    parts=(
      *('encoder', 'decoder', 'reverse_encoder', 'reverse_decoder'),
      *('critic', 'reverse_critic'),
    ),
    progress=('cycle', -0.1),
    metrics=('cycle', 'critic_loss_clean', 'critic_loss_noisy'),
    images=True,
    clean=True,
  ),
}
FIRST = tuple(name for name in CASES if '/' not in name)
# BatchNorm in the encoder, with rows that are gathered, a queue, and codes.
IMAGES = (
  *('simclr/images', 'moco/images', 'swav/images'),
  'self_training/images',
)
VARIANTS = (
  'simclr/image',
  'recognize/frozen',
  'swav/hard',
  'metric/margin',
  'metric/n_pair',
  'rotation/text',
  'autoencoder/text',
  *IMAGES,
)
MANY = ('pmap', 'shard_map')
PMAPPED = ('simclr', 'moco', 'recognize')
every_case = pytest.mark.parametrize('name', CASES)
first_cases = pytest.mark.parametrize('name', FIRST)


@pytest.mark.parametrize('name', NAMES)
def test_every_method_has_a_case(name):
  assert name in CASES, f'add {name!r} to CASES, and its particular test'


def _batch(seed=0, rows=ROWS):
  """Examples of which no two devices have alike.

  Coarse pictures that grow in contrast, and labels of 1 to 4 characters. The
  first device has none that 8 frames can hold, the third has one of two.
  """
  rng = np.random.default_rng(seed)
  coarse = (
    rng.normal(size=(rows, 2, 8, 3))
    * np.linspace(20, 80, rows)[:, None, None, None]
  )
  images = np.clip(128 + coarse, 0, 255).astype(np.uint8)
  images = images.repeat(HEIGHT // 2, axis=1).repeat(WIDTH // 8, axis=2)
  labels = rng.integers(1, 5, (rows, 6))
  labels[np.arange(6) >= 1 + np.arange(rows)[:, None] % 4] = 0
  labels[[0, 1, 5]] = 2  # Six times the same: 11 frames.
  return {
    'image': images,
    'index': np.arange(rows, dtype=np.int32) + 1000 * seed,
    'label': labels.astype(np.int32),
  }


def _batch_of(name, seed=0):
  """What a case learns from: text, or square images and one class each."""
  batch = _batch(seed)
  if CASES[name].images:
    batch['image'] = batch['image'][:, :, :HEIGHT]
    batch['label'] = batch['label'][:, 0] - 1
  if name.startswith('self_training'):
    batch['labelled'] = np.arange(ROWS) < ROWS // 2  # on half the devices
  if CASES[name].clean:
    # Like print: two values, and another one than the image's own.
    dark = batch['image'].mean(axis=-1, keepdims=True) < 128
    batch['clean'] = (255 * dark).astype(np.uint8).repeat(3, axis=-1)
  return batch


def _create(method, optimizer, batch):
  create = functools.partial(
    core.create_state, method=method, optimizer=optimizer
  )
  return functools.partial(create, jax.random.key(0), batch)


def _copy(tree):
  """NumPy, in memory of its own: a view would keep a buffer from donation."""

  def copy(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    return np.array(leaf, copy=True)

  return jax.tree.map(copy, tree)


def _optimizer(case):
  """SGD, or AdamW where its state says so: one compiled step serves both.

  The mappings are compared under plain SGD: Adam would hide a gradient that is
  wrong by a constant factor. Progress is made by AdamW.
  """
  sgd = optax.sgd(0.5)
  adamw = optim.optimizer(
    'adamw', learning_rate=case.rate, steps=case.steps, decay='constant'
  )

  def init(params):
    return {'adamw': adamw.init(params), 'adaptive': jnp.zeros((), bool)}

  def update(grads, state, params):
    plain, _ = sgd.update(grads, sgd.init(params))
    adapted, inner = adamw.update(grads, state['adamw'], params)
    chosen = jax.tree.map(
      lambda a, b: jnp.where(state['adaptive'], a, b), adapted, plain
    )
    return chosen, {**state, 'adamw': inner}

  return optax.GradientTransformation(init, update)


@functools.cache
def _created(name):
  case = CASES[name]
  create = _create(case.build(None), _optimizer(case), _batch_of(name))
  return jax.device_get(jax.jit(create)())


def _start(name, *, adaptive=False):
  """The first state of every run: host arrays, and a key that can be lost."""
  state = _created(name)
  chosen = {**state.opt_state, 'adaptive': np.array(adaptive)}
  return state._replace(key=jax.random.key(1), opt_state=chosen)


class Run(NamedTuple):
  """Three steps of SGD, and what was seen on the way."""

  state: core.TrainState  # after the last step
  states: list[core.TrainState]  # copies: at the start and after each step
  metrics: list[dict[str, Any]]
  traces: int
  donated: list[bool]


@functools.cache
def _compiled(name, mapping, devices):
  """The step, and a list that grows with each trace of it."""
  case = CASES[name]
  method = case.build(None if mapping == 'jit' else AXIS)
  traces = []

  def loss(*arguments):
    traces.append(None)
    return method.loss(*arguments)

  counted = method._replace(loss=loss)
  step = parallel.compile_step(
    functools.partial(
      core.train_step, method=counted, optimizer=_optimizer(case)
    ),
    mapping=mapping,
    devices=jax.devices()[:devices],
    axis_name=AXIS,
  )
  return step, traces


@functools.cache
def _run(name, mapping, devices):
  """One compiled step serves many tests: compiling is what takes the time."""
  step, traces = _compiled(name, mapping, devices)
  state = _start(name)
  states, metrics, donated = [_copy(state)], [], []
  for seed in range(STEPS):
    before = state
    state, found = step(state, _batch_of(name, seed))
    states.append(_copy(state))
    metrics.append(_copy(found))
    # What comes from the host is not the caller's to lose.
    if seed:
      donated.append(all(x.is_deleted() for x in jax.tree.leaves(before)))
  return Run(state, states, metrics, len(traces), donated)


@every_case
def test_the_loss_is_a_finite_scalar(name):
  for metrics in _run(name, 'jit', 1).metrics:
    for value in metrics.values():
      assert np.shape(value) == ()
      assert np.isfinite(value)


@every_case
def test_a_gradient_reaches_each_part_and_no_frozen_one(name):
  case, run = CASES[name], _run(name, 'jit', 1)
  before, after = run.states[0].params, run.states[1].params
  assert set(before) == {*case.parts, *case.frozen}
  for part in case.parts:
    moved = [
      np.abs(a - b).max()
      for a, b in zip(
        jax.tree.leaves(after[part]), jax.tree.leaves(before[part]), strict=True
      )
    ]
    assert max(moved) > 1e-4, part
    # A bias before BatchNorm moves nothing; most of a part must.
    assert np.mean(np.array(moved) > 0) > 0.6, part
  for part in case.frozen:
    chex.assert_trees_all_equal(after[part], before[part])


@first_cases
def test_spread_is_that_of_the_features_not_of_what_follows_them(name):
  """Projections keep their spread behind BatchNorm, whatever collapses."""
  step, _ = _compiled(name, 'jit', 1)
  (seen, *_) = _run(name, 'jit', 1).metrics
  shown = SPREAD & set(seen)
  # What the others learn is tested.
  if name not in ('recognize', 'self_training', 'supervised'):
    assert {'std', 'effective_rank'} <= shown

  def changed(chosen):
    """The metrics with other weights of the chosen parts."""
    start = _start(name)
    params = {
      part: jax.tree.map(lambda x: 1.5 - x, values) if chosen(part) else values
      for part, values in start.params.items()
    }
    return step(start._replace(params=params), _batch_of(name))[1]

  found = changed(lambda part: part != 'encoder')
  assert found['gradient_norm'] != seen['gradient_norm']
  for key in shown:
    np.testing.assert_array_equal(found[key], seen[key], err_msg=key)
  found = changed(lambda part: part == 'encoder')
  for key in shown:
    assert found[key] != seen[key], key


@pytest.mark.parametrize(
  ('name', 'mapping', 'devices'),
  [(name, 'shard_map', DEVICES) for name in (*FIRST, *VARIANTS)]
  # What a mapping does on one device, and what pmap does, which jax itself maps
  # to shard_map, is no matter of the method: but of rows that are gathered, of
  # a queue, and of BatchNorm.
  + [(name, 'pmap', DEVICES) for name in PMAPPED]
  + [('simclr', mapping, 1) for mapping in MANY],
)
def test_mappings_and_devices_agree(name, mapping, devices):
  """Rule 1, on data that no two devices share."""
  one, several = _run(name, 'jit', 1), _run(name, mapping, devices)
  chex.assert_trees_all_equal_shapes_and_dtypes(several.state, one.state)
  for a, b in zip(several.states[:2], one.states[:2], strict=True):
    chex.assert_trees_all_close(a, b, rtol=0, atol=1e-5)
  for key in ('loss', 'gradient_norm', *CASES[name].metrics):
    np.testing.assert_allclose(
      several.metrics[0][key], one.metrics[0][key], rtol=1e-4, err_msg=key
    )


def test_a_full_pool_of_pictures_is_the_same_on_all_devices():
  """A step from an empty one, as above, stores all and shows only new ones."""
  state, rng = _start('cyclegan'), np.random.default_rng(0)
  old = jax.tree.map(
    lambda x: rng.uniform(-1, 1, x.shape).astype(x.dtype),
    state.method_state['pool'],
  )
  count = np.int32(len(old['clean']))
  full = {**state.method_state, 'pool': old, 'filled': count}
  pools, figures = [], []
  for mapping, devices in (('jit', 1), ('shard_map', DEVICES)):
    step, _ = _compiled('cyclegan', mapping, devices)
    fresh = _start('cyclegan')._replace(method_state=full)
    new, metrics = step(fresh, _batch_of('cyclegan'))
    pools.append(_copy(new.method_state['pool']))
    figures.append([metrics[x] for x in CASES['cyclegan'].metrics])
  chex.assert_trees_all_close(*pools, rtol=0, atol=1e-5)
  np.testing.assert_allclose(*figures, rtol=1e-4)
  for domain in old:
    changed = (pools[0][domain] != old[domain]).any(axis=(1, 2, 3)).sum()
    assert 0 < changed < len(jax.tree.leaves(_batch_of('cyclegan'))[0])


def test_a_full_queue_is_divided_among_devices():
  """Otherwise Sinkhorn counts each row of the queue once per device."""
  start, rng = _start('swav'), np.random.default_rng(0)
  queue = start.method_state['queue']
  rows = rng.normal(size=queue['rows'].shape).astype(np.float32)
  # Rows near one direction, and some padding: the queue shifts the codes.
  rows[..., 0] += 2
  full = {
    'rows': rows / np.linalg.norm(rows, axis=-1, keepdims=True),
    'weights': rng.integers(0, 2, queue['weights'].shape).astype(np.float32),
    'pointer': queue['pointer'],
    'filled': np.int32(rows.shape[1]),
  }
  states, losses = [], {}
  for name, used, mapping, devices in (
    ('empty', queue, 'jit', 1),
    ('one', full, 'jit', 1),
    ('many', full, 'shard_map', DEVICES),
  ):
    state = {**start.method_state, 'queue': used}
    step, _ = _compiled('swav', mapping, devices)
    new, metrics = step(
      _start('swav')._replace(method_state=state), _batch_of('swav')
    )
    losses[name] = float(metrics['loss'])
    states.append(_copy(new))
  assert abs(losses['one'] - losses['empty']) > 1e-3
  np.testing.assert_allclose(losses['many'], losses['one'], rtol=1e-5)
  chex.assert_trees_all_close(states[2], states[1], rtol=0, atol=1e-5)


@first_cases
def test_the_state_keeps_its_tree(name):
  run = _run(name, 'jit', 1)
  for state in run.states[1:]:
    chex.assert_trees_all_equal_shapes_and_dtypes(state, run.states[0])
  assert [int(state.step) for state in run.states] == list(range(STEPS + 1))
  np.testing.assert_array_equal(run.states[-1].key, run.states[0].key)
  assert set(run.states[0].method_state['batch_stats']) <= set(
    run.states[0].params
  )


@pytest.mark.parametrize(
  ('name', 'mapping', 'devices'),
  [(name, 'jit', 1) for name in FIRST]
  + [(name, 'shard_map', DEVICES) for name in FIRST]
  + [(name, 'pmap', DEVICES) for name in PMAPPED],
)
def test_one_trace_in_three_steps_and_a_donated_state(name, mapping, devices):
  run = _run(name, mapping, devices)
  assert run.traces == 1
  assert run.donated == [True] * (STEPS - 1)


@first_cases
def test_a_checkpoint_is_the_state(name, tmp_path):
  run = _run(name, 'jit', 1)
  method, optimizer = CASES[name].build(None), _optimizer(CASES[name])
  like = jax.eval_shape(_create(method, optimizer, _batch_of(name)))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(STEPS, run.state)
  with Checkpoints(tmp_path) as checkpoints:
    restored = checkpoints.restore(like)
  chex.assert_trees_all_equal_shapes_and_dtypes(restored, run.state)
  chex.assert_trees_all_equal(_copy(restored), run.states[-1])


@first_cases
def test_progress(name):
  """On one small batch, by the figure that the method's case names."""
  case = CASES[name]
  step, _ = _compiled(name, 'jit', 1)
  batch, state = _batch_of(name), _start(name, adaptive=True)
  figures = []
  figure, change = case.progress
  for _ in range(case.steps):
    state, metrics = step(state, batch)
    figures.append(float(metrics[figure]))
  # Every step has views of its own: means of five.
  gained = np.mean(figures[-5:]) - np.mean(figures[:5])
  assert np.sign(change) * gained > abs(change), figures


@first_cases
def test_encode_and_predict_are_deterministic_and_change_nothing(name):
  method, run = CASES[name].build(None), _run(name, 'jit', 1)
  state, images = run.state, _batch_of(name, seed=9)['image']
  for function in filter(None, (method.encode, method.predict)):
    compiled = jax.jit(function)

    def call(images, compiled=compiled):
      return np.asarray(compiled(state.params, state.method_state, images))

    found = call(images)
    assert found.dtype == np.float32
    assert found.ndim in (2, 3, 4)
    assert len(found) == ROWS
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(call(images), found)
    # Inference mode: an image's features are its own, whoever stands beside.
    others = images.copy()
    others[3:] = 255 - others[3:]
    np.testing.assert_allclose(call(others)[:3], found[:3], atol=1e-5)
    chex.assert_trees_all_equal(_copy(state), run.states[-1])


@pytest.mark.parametrize(
  'name', [name for name in FIRST if CASES[name].build(None).examine]
)
def test_examine_tells_of_each_image_by_itself(name):
  method, state = CASES[name].build(None), _run(name, 'jit', 1).state
  examine = jax.jit(method.examine)

  def call(batch):
    key = jax.random.key(3)
    return examine(state.params, state.method_state, batch, key)

  batch = _batch_of(name, seed=9)
  figures, pictures = call(batch)
  assert figures
  for values in figures.values():
    assert values.shape == (ROWS,)
    assert np.isfinite(values).all()
  for picture in pictures.values():
    assert picture.shape == (ROWS, HEIGHT, HEIGHT, 3)
    assert 0 <= picture.min() <= picture.max() <= 1
  others = {key: values.copy() for key, values in batch.items()}
  others['image'][3:] = 255 - others['image'][3:]
  again, _ = call(others)
  for key in {'accuracy', 'psnr', 'colour_error'} & set(figures):
    np.testing.assert_allclose(again[key][:3], figures[key][:3], atol=1e-3)


@pytest.mark.parametrize('name', [name for name in CASES if CASES[name].frozen])
def test_frozen_parts_stay_bit_identical_under_decay(name):
  case = CASES[name]
  method = case.build(None)
  optimizer = optim.optimizer(
    'adamw',
    learning_rate=0.1,
    steps=STEPS,
    decay='constant',
    weight_decay=0.5,
    freeze=case.frozen,
  )
  step = parallel.compile_step(
    functools.partial(core.train_step, method=method, optimizer=optimizer),
    mapping='jit',
  )
  state = _start(name)
  state = state._replace(opt_state=jax.jit(optimizer.init)(state.params))
  before = _copy(state)
  for seed in range(STEPS):
    state, _ = step(state, _batch_of(name, seed))
  after = _copy(state)
  for part in case.frozen:
    chex.assert_trees_all_equal(after.params[part], before.params[part])
    chex.assert_trees_all_equal(
      after.method_state['batch_stats'].get(part),
      before.method_state['batch_stats'].get(part),
    )
  for part in case.parts:
    for a, b in zip(
      jax.tree.leaves(after.params[part]),
      jax.tree.leaves(before.params[part]),
      strict=True,
    ):
      assert (a != b).any()


def test_unreadable_labels_are_left_out():
  """Rule 25: the loss is the mean over the others, whatever they are."""
  # Without views an example's loss does not depend on its place.
  method = recognize(_encoder(), CtcHead(classes=5, hidden=16))
  batch = _batch()
  start = _start('recognize')

  @jax.jit
  def loss(batch):
    arguments = (start.method_state, batch, jax.random.key(0), 0)
    return jax.value_and_grad(method.loss, has_aux=True)(
      start.params, *arguments
    )

  # Two that can be read beside two that cannot, and the first two twice.
  mixed, readable = (
    loss({name: values[rows] for name, values in batch.items()})
    for rows in (np.array([2, 3, 0, 1]), np.array([2, 3, 2, 3]))
  )
  (found, (_, metrics)), grads = mixed
  (expected, (_, others)), same = readable
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  chex.assert_trees_all_close(grads, same, atol=1e-5)
  np.testing.assert_allclose(metrics['infeasible'], 0.5, atol=1e-6)
  np.testing.assert_allclose(others['infeasible'], 0, atol=1e-6)


def test_batch_norm_keeps_statistics_and_all_devices_share_them():
  """Its own claim, as agreement alone would hold for a run that keeps none."""
  run = _run('simclr', 'shard_map', DEVICES)
  start, one = (
    jax.tree.leaves(state.method_state['batch_stats'])
    for state in run.states[:2]
  )
  assert len(start) == 4
  for a, b in zip(start, one, strict=True):
    assert (a != b).all()
  assert not jax.tree.leaves(
    _run('simclr/article', 'jit', 1).states[0].method_state
  )
