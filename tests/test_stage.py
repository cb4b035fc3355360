"""A stage from its description: its steps, its cost, and what is refused."""

import contextlib
import functools
import types

import jax
import making
import numpy as np
import pytest
import tiny_ocr
from PIL import Image

from configs import simclr_images, simclr_ocr
from ssljax import cost as cost_lib
from ssljax import stage, tasks
from ssljax.clustering import kmeans_flops
from ssljax.data import datasets
from ssljax.errors import UserError, check_known
from ssljax.records import write_json

CONFIG = tiny_ocr.get_config()


def _batch(size):
  return {
    'image': np.zeros((size, 32, 96, 3), np.uint8),
    'index': np.arange(size, dtype=np.int32),
    'label': np.ones((size, 6), np.int32),
  }


@functools.cache
def _cost(name, size=8):
  return cost_lib.loss_flops(making.method(CONFIG, name), _batch(size))


def test_the_cost_of_a_step_grows_with_the_batch():
  assert _cost('supervised', 16) == pytest.approx(
    2 * _cost('supervised', 8), rel=0.02
  )


def test_a_frozen_encoder_has_no_backward_pass():
  """Or equal compute would be compared with FLOPs that nobody spends."""
  config = simclr_ocr.get_config('laptop')
  head, finetune = (
    cost_lib.loss_flops(making.method(config, name), _batch(8))
    for name in ('head', 'finetune')
  )
  # A third, and the views.
  assert 0.3 < head / finetune < 0.5


def test_the_cost_is_that_of_the_matrices():
  """Within a factor: 2 FLOPs a multiplication, forwards and twice back."""
  params, _ = jax.eval_shape(
    making.method(CONFIG, 'supervised').init, jax.random.key(0), _batch(8)
  )
  # Dense layers of the head, of which each works once a frame.
  weights = sum(
    leaf.size for leaf in jax.tree.leaves(params['head']) if leaf.ndim == 2
  )
  head = 3 * 2 * 8 * making.frames(CONFIG) * weights
  assert _cost('supervised') > head


def _description(**options):
  return tiny_ocr.get_config().supervised.to_dict() | options


def test_equal_compute_is_equal_within_a_hundredth():
  steps = {'pretrain': 500, 'head': 100, 'finetune': 900}
  spent = {name: _cost(name) * count for name, count in steps.items()}
  earlier = {
    name: types.SimpleNamespace(flops=flops) for name, flops in spent.items()
  }
  found = stage.steps_of(
    _description(match_compute=tuple(steps), steps=None),
    making.text_source(['1'] * 32),
    cost_lib.cost_of(making.method(CONFIG, 'supervised'), _batch(8), 32),
    earlier,
    None,
  )
  total = found * _cost('supervised')
  assert total == pytest.approx(sum(spent.values()), rel=0.01)


@pytest.mark.parametrize('first', [0, 5, 100])
def test_equal_compute_counts_what_epochs_cost(first):
  """Steps of 3, and 4 a step at the start of each epoch of 5 steps."""

  def cost(steps):
    return 3 * steps + 4 * -(-steps // 5) + first * (steps > 0)

  description = _description(match_compute=('other',), steps=None)
  source = making.text_source(['1'] * 32)
  for spent in range(1, 300):
    errors = [abs(cost(steps) - spent) for steps in range(101)]
    earlier = {'other': types.SimpleNamespace(flops=spent)}
    found = stage.steps_of(description, source, cost, earlier, None)
    assert abs(cost(found) - spent) == min(errors)


def _pretrained(examples=32, **options):
  """A method on the tiny network, and its cost over batches of 8."""
  config = tiny_ocr.get_config()
  with config.unlocked():
    config.pretrain.method = {
      'instances': config.pretrain.method.instances, **options
    }  # fmt: skip
  kept = {'examples': examples} if 'clusters' in options else {}
  method = making.method(config, 'pretrain', **kept)
  return method, cost_lib.cost_of(method, _batch(8), examples)


@pytest.mark.parametrize(
  ('name', 'options', 'passes', 'iterations'),
  [
    ('deepcluster', {}, 3, 20),
    ('deepcluster_v2', {'heads': 2}, 1, 2 * 10),
  ],
)
def test_the_cost_of_a_stage_has_what_its_epochs_begin_with(
  name, options, passes, iterations
):
  """Rule 52: version 1 encodes all examples in each epoch, 2 in the first."""
  method, cost = _pretrained(name=name, clusters=6, **options)
  step = cost_lib.loss_flops(method, _batch(8))
  plain = np.zeros((32, 32, 96, 3), np.uint8)
  key = jax.random.key(0)
  shapes = jax.eval_shape(method.init, key, _batch(8))
  lowered = jax.jit(method.encode).lower(*shapes, plain)
  features = lowered.cost_analysis()['flops']
  # Beside the centroids, 12 rows of 16 numbers an image; the last cosines name
  # the clusters.
  heads = options.get('heads', 1)
  clustering = 2 * (32 * 12) * 16 * 6 * (iterations + heads)
  # Nine steps of 8 among 32 begin three epochs.
  expected = passes * features + 3 * clustering
  assert cost(9) - 9 * step == pytest.approx(expected, rel=1e-3)
  if name == 'deepcluster':
    expected -= features
  assert cost(8) - 8 * step == pytest.approx(expected - clustering, rel=1e-3)


def test_a_method_that_renews_nothing_costs_its_steps():
  method, cost = _pretrained(name='simclr')
  assert cost(9) == 9 * cost_lib.loss_flops(method, _batch(8))


@contextlib.contextmanager
def compiled_in(folder):
  """Where JAX keeps compiled programs, as `--data_dir` decides."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', folder)
  try:
    yield
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


@pytest.mark.parametrize('change', ['head_width', 'charset'])
def test_kept_flops_are_those_of_the_network(change, tmp_path):
  """A wider head, or more classes, costs more in the same data folder."""
  found = []
  for wide in (False, True):
    config = tiny_ocr.get_config()
    config.recipe = ('supervised',)
    if wide and change == 'head_width':
      config.head_width = 512
    elif wide:
      config.data.charset = 'alnum62'
    data = config.data.to_dict()
    dataset = datasets.open_dataset(data, data_dir=str(tmp_path / 'data'))
    with compiled_in(str(tmp_path / 'compiled')):
      resolved = stage.resolve(
        config, folder=tmp_path, task=tasks.make(config), dataset=dataset
      )
    found.append(resolved.stages[0].cost(1))
  assert found[1] > found[0]


def test_flops_are_kept_for_later_processes(tmp_path, monkeypatch):
  """Every start would otherwise take seconds to count them."""
  counts = iter(range(100))

  def kept(key):
    return cost_lib.kept(key, lambda: float(next(counts)))

  folder = tmp_path / 'compiled'
  with compiled_in(None):
    assert [kept('a'), kept('a')] == [0, 1]
  with compiled_in(str(folder)):
    assert [kept(''), kept('')] == [2, 3]
    assert [kept('a'), kept('a'), kept('b'), kept('a')] == [4, 4, 5, 4]
    # Other code may count otherwise.
    with monkeypatch.context() as patch:
      patch.setattr(cost_lib, 'code', lambda: 'other')
      assert [kept('a'), kept('a')] == [6, 6]
    for path in folder.iterdir():
      path.write_text(path.read_text().replace('4.0', '9.0', 1))
    assert [kept('a'), kept('a'), kept('b')] == [7, 7, 5]


def test_the_pass_of_a_teacher_is_counted():
  """Two of BYOL's four passes have no gradient; SimSiam has only two."""
  options = {'predict': True}
  simsiam, _ = _pretrained(name='simsiam', stop_gradient=True, **options)
  byol, _ = _pretrained(name='byol', momentum=0.98, **options)
  encoded = cost_lib.encode_flops(byol, _batch(8))
  more = cost_lib.loss_flops(byol, _batch(8)) - cost_lib.loss_flops(
    simsiam, _batch(8)
  )
  assert more == pytest.approx(2 * encoded, rel=0.1)


def test_steps_are_given_or_counted_in_epochs():
  source = making.text_source(['1'] * 35)

  def steps(**options):
    return stage.steps_of(
      _description(**options), source, lambda steps: 1.0 * steps, {}, None
    )

  assert steps() == tiny_ocr.STEPS['supervised']
  # As --config.supervised.epochs=3 does: epochs of whole batches.
  assert steps(epochs=3) == 3 * 4
  assert steps(steps=0) == 0  # an evaluation
  with pytest.raises(UserError, match=r'0 epochs of 35 .* set epochs or steps'):
    steps(steps=None)
  with pytest.raises(UserError, match='Found -1 steps'):
    steps(steps=-1)


def test_an_unknown_method_is_refused_with_a_suggestion():
  config = tiny_ocr.get_config()
  config.pretrain.method.name = 'simclear'
  with pytest.raises(UserError, match=r"'simclear'.*mean 'simclr'\?"):
    making.method(config, 'pretrain')


def test_a_method_gets_its_options():
  """Those of the config reach the factory, and a strange one is no silence."""
  config = tiny_ocr.get_config()
  with config.unlocked():
    config.pretrain.method.temprature = 0.2
  with pytest.raises(UserError, match="Did you mean 'temperature'"):
    making.method(config, 'pretrain')


class _Opened:
  """Data of a run, of which what is not labelled is labelled here."""

  skipped, resolved = (), {}
  splits = ('unlabeled', 'train', 'validation', 'test')

  def __init__(self, texts):
    self._texts = texts

  def open(self, split):
    check_known('split', split, self.splits)
    return making.text_source(self._texts)

  def files(self, split):
    return ()


def _resolve(config, tmp_path, texts=('1234',) * 32):
  task = tasks.make(config)
  return stage.resolve(
    config, folder=tmp_path, task=task, dataset=_Opened(list(texts))
  ).stages


def _last(**options):
  """A recipe whose last stage differs from the others."""
  config = tiny_ocr.get_config()
  with config.unlocked():
    config.supervised.update(options)
  return config


def test_every_stage_is_resolved(tmp_path):
  found = _resolve(_last(seed=3), tmp_path)
  assert [each.name for each in found] == list(tiny_ocr.STEPS)
  assert [each.steps for each in found] == list(tiny_ocr.STEPS.values())
  assert [each.seed for each in found] == [0, 0, 0, 3]
  assert found[1].take == {'encoder': tmp_path / 'pretrain'}
  assert {each.epoch for each in found} == {4}


MIXED = {'labelled': 8, 'unlabelled': 'unlabeled'}


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'batch_size': 8, 'data': MIXED}, r'at least 1 of each in a batch'),
    ({'data': MIXED | {'unlabelled': 'unlabled'}}, r"mean 'unlabeled'"),
    ({'take': {'encoder': 'pretrian'}}, r"Found 'pretrian' to take a part"),
    ({'take': {'head': 'pretrain'}}, r"'head'.*expected one of encoder, proj"),
    ({'steps': None}, r'set epochs or steps'),
    ({'batch_size': 12}, r'batch of 12 cannot be split over 8 devices'),
    ({'match_compute': ('haed',)}, r"'haed'.*Did you mean 'head'"),
    ({'match_compute': ('supervised',)}, r"before 'supervised', for match"),
    ({'best_rate_of': ('fintune',)}, r"Did you mean 'finetune'"),
    ({'best_rate_of': ('pretrain',)}, r'expected a stage that learns from'),
    ({'take': {'encoder': 'supervised'}}, r"before 'supervised', to take"),
    ({'data': {'clean': 'mine'}}, r"Found clean 'mine'"),
    ({'data': {'split': 'tain'}}, r"split 'tain'.*mean 'train'"),
    ({'method': {'name': 'recognise'}}, r"Did you mean 'recognize'"),
  ],
)
def test_a_mistake_in_the_last_stage_is_told_at_once(
  tmp_path, options, message
):
  with pytest.raises(UserError, match=message):
    _resolve(_last(**options), tmp_path)


@pytest.mark.parametrize(
  ('label', 'message'),
  [
    ('12x4', r"'12x4' has 'x'"),
    ('1234567', 'has 7 characters, expected at most 6'),
  ],
)
def test_a_label_that_the_last_stage_cannot_read(tmp_path, label, message):
  texts = ['1234'] * 31 + [label]
  config = _last()
  for name in ('head', 'finetune'):
    config[name].data.count = 16  # these do not see it
  with pytest.raises(UserError, match=message):
    _resolve(config, tmp_path, texts)


def test_the_rate_is_that_of_the_best_on_validation(tmp_path):
  """Rates are those of the config; validation alone chooses among them."""
  config = _last(best_rate_of=('head', 'finetune'))
  config.head.optimizer.learning_rate = 1e-4
  config.finetune.optimizer.learning_rate = 1e-2
  last = _resolve(config, tmp_path)[-1]
  for name, validation, other in (('head', 0.3, 1.0), ('finetune', 0.5, 0.0)):
    figures = {
      'validation': {'edit_distance_accuracy': validation},
      'test': {'edit_distance_accuracy': other},
    }
    write_json(tmp_path / name / 'stage.json', figures)
  assert last.settled().learning_rate == 1e-2
  params = {'head': np.ones(2, np.float32)}
  grads = {'head': np.ones(2, np.float32)}

  def moved(optimizer):
    state = optimizer.init(params)
    for _ in range(2):  # the first step of a warm-up is at 0
      updates, state = optimizer.update(grads, state, params)
    return updates['head'][0]

  assert moved(last.settled().optimizer) == pytest.approx(
    moved(last.optimizer) * 1e-2 / last.learning_rate
  )
  assert last._replace(rates={}).settled().learning_rate == 2e-3


def test_a_finished_stage_is_not_opened(tmp_path):
  """And what it has spent is read, and not counted again."""
  config = _last(match_compute=('pretrain', 'head'), steps=None)
  for name, flops in (('pretrain', 3e9), ('head', 2e9), ('finetune', 1e9)):
    write_json(tmp_path / name / 'stage.json', {'flops': flops})
  (last,) = _resolve(config, tmp_path)
  assert last.name == 'supervised'
  assert last.steps == round(5e9 / last.cost(1))


def test_a_stage_has_spent_what_its_epochs_begin_with(tmp_path):
  """Equal compute then buys more steps too."""
  config = _last(match_compute=('pretrain',), steps=None)
  pool = config.pretrain.method.instances
  with config.unlocked():
    config.pretrain.method = {'name': 'deepcluster', 'instances': pool}
  first, *_, last = _resolve(config, tmp_path)
  method = making.method(config, 'pretrain', examples=32)
  steps = first.steps * cost_lib.loss_flops(method, first.example)
  passes = (
    3 * 4 * cost_lib.encode_flops(method, first.example)
  )  # of four batches
  clustering = 3 * kmeans_flops(32 * 12, 16, clusters=64, iterations=20)
  spent = first.summary()['flops']
  assert spent == pytest.approx(steps + passes + clustering)
  assert last.flops == pytest.approx(spent, abs=last.cost(1) / 2)


def test_an_evaluation_fills_no_batch(tmp_path):
  last = _resolve(_last(steps=0, batch_size=64), tmp_path)[-1]
  assert (last.steps, last.batch_size, last.flops) == (0, 32, 0.0)
  # Epochs go before steps, and then a whole batch is needed.
  last = _resolve(_last(steps=0, epochs=3, batch_size=64), tmp_path)[-1]
  assert (last.steps, last.batch_size, len(last.source)) == (3, 64, 64)


@pytest.mark.parametrize(
  ('options', 'length', 'labels', 'first'),
  [
    # Ten labels fill a batch of 16 twice over.
    ({'batch_size': 16, 'data': {'count': 10}}, 20, 10, None),
    ({'batch_size': 16, 'data': MIXED | {'count': 3}}, 9 + 32, 3, 9),
    ({'batch_size': 16, 'data': MIXED | {'count': 32}}, 32 + 32, 32, 32),
  ],
)
def test_fewer_labels_than_a_batch_are_repeated(
  tmp_path, options, length, labels, first
):
  texts = [str(number) for number in range(32)]
  last = _resolve(_last(**options), tmp_path, texts)[-1]
  assert len(last.source) == length
  assert last.summary()['labels'] == len(last.labels) == labels
  seen = [last.labels.describe(place).text for place in range(labels)]
  assert len(set(seen)) == labels
  batch = last.batch()
  assert len(batch['label']) == 16
  if first:
    assert last.mixture == (first, 8)
    assert last.epoch == 32 // 8  # of the unlabelled
    assert batch['labelled'].sum() == min(first, 16)
  else:
    assert 'labelled' not in batch


@pytest.mark.parametrize(
  ('options', 'asked', 'size'),
  [
    ({'method': {'name': 'autoencoder'}}, 64, 32),
    ({'method': {'name': 'autoencoder'}, 'data': {'count': 30}}, 64, 24),
    ({'method': {'name': 'autoencoder'}}, 16, 16),
    # 32 unlabelled examples, and 8 of the labelled ones.
    ({'data': MIXED}, 48, 40),
    ({'data': MIXED | {'count': 3}}, 64, 40),
    ({'data': MIXED}, 32, 32),
  ],
)
def test_a_batch_is_no_larger_than_the_examples(tmp_path, options, asked, size):
  """It is a multiple of the 8 devices, and an epoch is one step."""
  last = _resolve(_last(batch_size=asked, **options), tmp_path)[-1]
  assert last.batch_size == size
  assert len(last.batch()['image']) == size
  if size < asked:
    assert last.epoch == 1


def test_fewer_examples_than_devices_are_refused(tmp_path):
  options = {'method': {'name': 'autoencoder'}, 'data': {'count': 5}}
  with pytest.raises(UserError, match='batch size of 64 and 5 examples'):
    _resolve(_last(batch_size=64, **options), tmp_path)


class _Files(_Opened):
  """The user's files, and rendered text beside them."""

  splits = ('unlabeled', 'train', 'test', 'rendered')

  def __init__(self, texts):
    super().__init__(texts)
    self.opened = []

  def open(self, split):
    self.opened.append(split)
    return super().open(split)

  def files(self, split):
    return () if split == 'rendered' else ['0.png']


@pytest.mark.parametrize('first', ['pretrain', 'rendered'])
def test_a_long_label_is_told_before_text_is_rendered(tmp_path, first):
  """However the reader begins: 24 frames, and two blanks between repeats."""
  config = _last()
  if first == 'rendered':
    config.head.data.split = 'rendered'
    config.recipe = ('head', 'finetune')
    config.head.take = {}
  config.data.max_length = 40
  dataset = _Files(['1234'] * 31 + ['12' * 11 + '111'])
  with pytest.raises(UserError, match=r'needs 27 frames.*96 pixels.*gives 24'):
    stage.resolve(
      config, folder=tmp_path, task=tasks.make(config), dataset=dataset
    )
  assert 'rendered' not in dataset.opened


def test_two_small_classes_are_enough(tmp_path):
  """The command of the README on a folder with fewer images than a batch."""
  for name in ('cat', 'dog'):
    (tmp_path / 'own' / name).mkdir(parents=True)
    for place in range(20):
      image = Image.new('L', (20, 20), 10 * place)
      image.save(tmp_path / 'own' / name / f'{place}.png')
  config = simclr_images.get_config(f'smoke,data={tmp_path}/own')
  config.mapping = 'jit'
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='unused')
  config.data.update(dataset.resolved)
  found = stage.resolve(
    config, folder=tmp_path / 'run', task=tasks.make(config), dataset=dataset
  ).stages
  sizes = {each.name: each.batch_size for each in found if each.steps}
  train = len(dataset.open('train'))
  assert config.pretrain.batch_size == 64 > train
  assert sizes['pretrain'] == train
  # Ten labels are repeated, and a quarter of a mixed batch has labels.
  assert sizes['finetune'] == config.finetune.batch_size
  assert sizes['self_train'] == min(32, train + 8)
  survey = dataset.survey()
  assert survey.classes and len(survey.images) == 40
  assert set(survey.splits['test'].values()) <= {'cat', 'dog'}
  assert survey.facts()['labels']['count'] == 40


@pytest.mark.parametrize(
  ('summed', 'parts', 'words'),
  [
    (False, 2, r"'simclr' compares .* rematerialise"),
    (True, 3, r'accumulate=3 .* batches of 16 on 2 devices.* multiple of 6'),
    (True, 0, 'accumulate=0'),
    (True, 8, ''),
    (False, 1, ''),
  ],
)
def test_a_batch_is_taken_in_parts_where_the_loss_stays(summed, parts, words):
  method = types.SimpleNamespace(summed=summed)
  described = {'method': {'name': 'simclr'}, 'batch_size': 16}
  described['accumulate'] = parts
  expected = (
    pytest.raises(UserError, match=words) if words else contextlib.nullcontext()
  )
  with expected:
    stage.check_parts('pretrain', described, method, 2)
