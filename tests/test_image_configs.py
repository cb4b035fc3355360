"""Every recipe on images: it can be read, and it names what exists."""

import importlib
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import making
import pytest

from configs import pretext_images
from ssljax import build
from ssljax.augment.policies import POLICIES
from ssljax.models.resnet import RESNETS, ResNet
from ssljax.models.vit import VITS, ViT

ROOT = pathlib.Path(__file__).parent.parent
NAMES = sorted(
  path.stem
  for path in (ROOT / 'configs').glob('*image*.py')
  if path.stem != 'images'
)
PRETRAINED = [
  name for name in NAMES if name not in ('image_methods', 'supervised_images')
]
ARGUMENTS = ('', 'smoke', 'dataset=digits', 'dataset=cifar10', 'data=DIR')
EVERY = [(name, arg) for name in NAMES for arg in ARGUMENTS]
VARIANTS = [
  ('moco_images', 'version=1'),
  ('deepcluster_images', 'version=1'),
  ('metric_images', 'objective=margin'),
  ('metric_images', 'objective=n_pair,labelled=True'),
  ('supervised_images', 'share=0.1'),
  ('image_methods', 'seeds=2'),
  ('simclr_images', 'labels=1'),
  ('simclr_images', 'dataset=cifar10,labels=10'),
  ('labels_images', 'dataset=digits,draws=1'),
]


def _module(name):
  return importlib.import_module(f'configs.{name}')


def _config(name, arg=None):
  return _module(name).get_config(arg)


def test_there_are_recipes():
  assert {'simclr_images', 'swav_images', 'image_methods'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_the_docstring_says_how_to_run_it(name):
  command = f'python -m ssljax.main --config=configs/{name}.py'
  assert command in _module(name).__doc__
  with pytest.raises(ValueError, match=r"Found 'labtop'.*mean 'laptop'\?"):
    _config(name, 'labtop')


@pytest.mark.parametrize(('name', 'arg'), EVERY + VARIANTS)
def test_every_stage_can_be_made(name, arg):
  config = _config(name, arg)
  json.dumps(config.to_dict(), allow_nan=False)  # goes to config.json
  making.check(config)
  described = {key for key in config if hasattr(config[key], 'method')}
  assert described == set(config.recipe)
  names = [row for row, _ in config.rows]
  assert len(set(names)) == len(names)
  assert set(config.baselines) <= set(names)
  assert {stage for _, row in config.rows for stage in row} <= described
  assert config.product in config.recipe
  for place, stage in enumerate(config.recipe):
    options = config[stage]
    assert options.views.get('policy', 'cifar') in POLICIES
    assert set(options.take.values()) <= set(config.recipe[:place])
    making.optimizer(config, options, steps=100)
    small = options.views.get('small_size', 0)
    assert 0 <= small < config.data.size


@pytest.mark.parametrize('name', PRETRAINED)
def test_imagenet_is_the_papers_network(name):
  config = _config(name, 'dataset=imagenet2012')
  making.check(config)
  assert tuple(config.encoder.blocks) == (3, 4, 6, 3)
  assert config.encoder.bottleneck and config.encoder.dtype == 'bfloat16'
  assert config.data.size == 224


def test_byol_on_imagenet_is_one_recipe():
  """The paper's of 300 epochs, in nothing that of 1,000."""
  stage = _config('byol_images', 'dataset=imagenet2012').pretrain
  rule = stage.optimizer
  assert (stage.epochs, stage.batch_size) == (300, 4096)
  assert rule.learning_rate == 0.3 * 4096 / 256
  assert rule.weight_decay == 1e-6
  assert rule.warmup_share * stage.epochs == 10
  assert stage.method.momentum == 0.99


def test_all_methods_are_compared_and_alike():
  config = _config('image_methods')
  methods = {config[stage].method.name for stage in config.recipe}
  with_ocr = {path.stem for path in (ROOT / 'ssljax/methods').glob('[a-z]*.py')}
  assert methods == with_ocr - {'recognize', 'self_training'}
  trained = [
    config[stage]
    for stage in config.recipe
    if not making.method(config, stage).labelled
  ]
  assert {stage.data.split for stage in trained} == {'train'}
  # Pretext tasks look at an image several times, or have a critic to feed.
  joint = [
    stage for stage in trained if stage.method.name not in pretext_images.TASKS
  ]
  for key in ('steps', 'batch_size', 'data'):
    assert len({str(stage[key]) for stage in joint}) == 1, key


@pytest.mark.parametrize(
  ('arg', 'chosen', 'batch'),
  [
    ('', (5, None), (32, 8)),
    ('labels=1', (1, None), (32, 8)),
    ('dataset=cifar10', (None, 0.01), (256, 64)),
    ('dataset=cifar10,labels=10', (10, None), (256, 64)),
  ],
)
def test_the_last_stages_have_the_same_labels(arg, chosen, batch):
  config = _config('simclr_images', arg)
  finetune, whole, equal = (
    config[name] for name in ('finetune', 'self_train', 'supervised')
  )
  for stage in (finetune, whole, equal):
    assert (stage.data.per_class, stage.data.share) == chosen
    assert stage.views == finetune.views
    assert stage.optimizer == finetune.optimizer
  assert (whole.batch_size, whole.data.labelled) == batch
  assert whole.data.unlabelled == 'train'
  assert whole.take.to_dict() == {'encoder': 'finetune', 'head': 'finetune'}
  assert 'labelled' not in finetune.data and 'labelled' not in equal.data
  assert equal.match_compute == ('pretrain', 'finetune', 'self_train')
  assert not equal.take


def test_rows_of_a_draw_share_labels_and_compute():
  config = _config('labels_images', 'dataset=digits,draws=2')
  titles = [title for title, _ in config.rows]
  assert len(titles) == 12
  assert titles[0] == '1 label a class: pretraining + finetune'
  assert titles[-1] == '10 labels a class: self-training from scratch'
  for title, stages in config.rows:
    assert len(stages) == 2
    for draw, name in enumerate(stages):
      stage = config[name]
      labels = int(title.split()[0])
      assert (stage.seed, stage.data.per_class) == (draw, labels)
      whole = f'finetune_{labels}_{draw}', f'whole_{labels}_{draw}'
      equal = (f'pretrain_{draw}', *whole)
      matched = name.startswith(('once', 'alone'))
      assert stage.match_compute == (equal if matched else ())
      origins = set(stage.take.to_dict().values())
      taken = {'finetune': {equal[0]}, 'whole': {whole[0]}}
      assert origins == taken.get(name.split('_')[0], set())
  seeds = [config[f'pretrain_{draw}'].seed for draw in range(2)]
  assert seeds == [0, 1]
  rates = {config[name].optimizer.learning_rate for name in config.recipe}
  assert rates == {2e-3}
  assert not config.evaluation


@pytest.mark.parametrize('task', pretext_images.TASKS)
def test_a_task_has_its_pace(task):
  batch_size, times = pretext_images.TASKS[task].get('pace', (64, 1))
  for scale, steps in (('laptop', 500 * times), ('smoke', 20)):
    stage = _config('pretext_images', f'{scale},task={task}').pretrain
    assert (stage.batch_size, stage.steps) == (batch_size, steps)
  large = _config('pretext_images', f'task={task},dataset=imagenet2012')
  assert large.pretrain.batch_size == 256


def test_tasks_on_text_keep_their_pace_among_others():
  config = _config('text_methods')
  stages = {
    title: config[f'pretrain_{title}_0'] for title in ('simclr', 'jigsaw')
  }
  assert {(each.batch_size, each.steps) for each in stages.values()} == {
    (48, 400)
  }
  paced = config.pretrain_autoencoder_0
  assert (paced.batch_size, paced.steps) == (16, 1600)


@pytest.mark.parametrize('scale', ['smoke', 'laptop', 'article'])
def test_a_step_of_cyclegan_on_text_fits_its_pool(scale):
  stage = _config('pretext_ocr', f'{scale},task=cyclegan').pretrain
  assert stage.batch_size <= 50  # the method's default


def test_tasks_that_digits_are_not_fit_for_are_left_out():
  config = _config('image_methods', 'dataset=digits')
  methods = {config[stage].method.name for stage in config.recipe}
  left = set(pretext_images.TASKS) - methods
  assert left == {
    'relative_patch',
    'jigsaw',
    'colorization',
    'pix2pix',
    'cyclegan',
  }


@pytest.mark.parametrize('task', pretext_images.TASKS)
def test_a_task_has_its_players(task):
  config = _config('pretext_images', f'task={task}')
  stage = config.pretrain
  assert stage.method.name == task
  method = making.method(config, stage, steps=1)
  size = config.data.size
  batch = {
    'image': jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8),
    'clean': jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8),
    'index': jax.ShapeDtypeStruct((2,), jnp.int32),
  }
  params, _ = jax.eval_shape(method.init, jax.random.key(0), batch)
  critics = {part for part in params if 'critic' in part}
  assert critics == set(stage.optimizer.get('players', {}))


def test_swav_on_cifar_is_lightlys():
  config = _config('swav_images', 'dataset=cifar10')
  assert config.pretrain.method.prototypes == 512
  assert 'small' not in config.pretrain.views  # two crops
  optimizer = config.pretrain.optimizer
  assert optimizer.name == 'adam'
  assert optimizer.learning_rate == pytest.approx(1e-3 * 512 / 128)
  assert optimizer.weight_decay == 1e-6
  assert (config.pretrain.batch_size, config.pretrain.epochs) == (512, 200)
  assert tuple(config.encoder.blocks) == (2, 2, 2, 2)
  assert config.encoder.stem == 'cifar'


@pytest.mark.parametrize(
  ('dataset', 'rate'),
  [('glyphs', 2e-3), ('cifar10', 0.06), ('imagenet2012', 0.05 * 512 / 256)],
)
def test_the_rate_of_simsiams_predictor_does_not_decay(dataset, rate):
  """The other parts' falls by a cosine (2011.10566, section 4.1)."""
  config = _config('simsiam_images', f'dataset={dataset}')
  stage, steps = config.pretrain, 40
  optimizer = making.optimizer(config, stage, steps=steps)
  # Of zeros nothing decays, and all gradients are alike: Adam's step is its
  # rate, SGD's the rate times the sum of the powers of its momentum.
  parts = ('encoder', 'projector', 'predictor')
  params = {part: {'kernel': jnp.zeros((2, 2))} for part in parts}
  ones = jax.tree.map(jnp.ones_like, params)
  state, update = optimizer.init(params), jax.jit(optimizer.update)
  warmup = round(stage.optimizer.warmup_share * steps)
  sum_of_powers = 0.0
  for step in range(steps):
    updates, state = update(ones, state, params)
    sum_of_powers = 1 + stage.optimizer.get('momentum', 0.0) * sum_of_powers
    moved = {part: float(updates[part]['kernel'][0, 0]) for part in parts}
    if step < warmup:
      continue
    peak = -rate * sum_of_powers
    assert moved['predictor'] == pytest.approx(peak, rel=1e-4)
    fall = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
    for part in ('encoder', 'projector'):
      assert moved[part] == pytest.approx(peak * fall, rel=1e-3)
  assert abs(moved['encoder']) < abs(moved['predictor']) / 100


TORCHS = {f'resnet{depth}': ResNet(**RESNETS[depth]) for depth in RESNETS}
TORCHS |= {f'vit_{size.lower()}': ViT(**VITS[size]) for size in VITS}


@pytest.mark.parametrize('name', TORCHS)
def test_an_encoder_of_torch_by_its_name(name):
  config = _module('simclr_images').get_config(f'encoder={name}')
  assert build.encoder({'encoder': config.encoder.to_dict()}) == TORCHS[name]


def test_an_encoder_that_is_none_of_them():
  with pytest.raises(ValueError, match='Found encoder=resnet19; expected one'):
    _module('simclr_images').get_config('encoder=resnet19')
