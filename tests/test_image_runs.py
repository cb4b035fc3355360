"""Runs on images, from the recipe to the table of what features are worth."""

import importlib
import json
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import making
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import ssljax
from configs import simclr_images
from ssljax import build, health, main, optim, train
from ssljax.augment.policies import POLICIES
from ssljax.checkpoint import read
from ssljax.errors import UserError
from ssljax.reports import features as features_report

# What prepares a set as tensorflow-datasets would is beside the test of it.
sys.path.append(str(pathlib.Path(__file__).parent / 'data'))
mock = importlib.import_module('test_prepared_images')

STEPS = 4
ROWS = {
  'SimCLR': 'pretrain',
  'raw pixels': 'pixels',
  'random encoder': 'random',
  'SimCLR + finetune': 'finetune',
  'SimCLR + self-training': 'self_train',
  'supervised, equal compute': 'supervised',
}
CLASSIFIERS = tuple(ROWS)[3:]
# With BatchNorm, whose statistics have to go where the encoder goes.
TINY = {'name': 'resnet', 'blocks': (1,), 'width': 8, 'stem': 'cifar'}


def _config(arg):
  config = simclr_images.get_config(f'smoke,{arg}')
  config.mapping = 'jit'  # a third of the time
  config.encoder = ConfigDict(TINY)
  config.evaluation.fractions = (0.05, 1.0)
  config.log_every = 1
  for stage in ('pretrain', 'finetune', 'self_train'):
    if config[stage].steps:
      config[stage].steps = STEPS
  return config


def _run(config, workdir, data_dir='unused'):
  return main.run(config, workdir, str(data_dir), lambda: False)


def _steps(workdir, stage):
  return _json(workdir / stage / 'stage.json')['steps']


def _json(path):
  return json.loads(path.read_text())


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / 'digits'
  _run(_config('dataset=digits,size=8'), path)
  return path


@pytest.fixture(scope='module')
def rows(workdir):
  return _json(workdir / 'results.json')['rows']


@pytest.mark.slow
def test_every_row_has_figures_and_every_figure_its_protocol(workdir, rows):
  assert list(rows) == list(ROWS)
  shared = {'kNN', 'linear, 5 a class', 'linear, 5%', 'linear, 100%'}
  for name, row in rows.items():
    assert set(row['figures']) == shared | (
      {'classifier'} if name in CLASSIFIERS else set()
    )
    for title, figure in row['figures'].items():
      protocol = figure['protocol']
      assert protocol['test'] == 400, title
      assert protocol['checkpoint'] == 'last'
      assert figure['low'] <= figure['value'] <= figure['high']
      if title == 'classifier':
        assert protocol['labels'] == 50
        continue
      assert protocol['train'] == 1200
      assert ('k' in protocol) == (title == 'kNN')
    assert row['figures']['linear, 5 a class']['protocol']['draws'] == 3
    assert row['figures']['kNN']['protocol']['k'] == 200


@pytest.mark.slow
def test_figures_and_pictures_stand_in_each_folder(workdir, rows):
  for name, stage in ROWS.items():
    folder = workdir / stage
    found = _json(folder / 'evaluation.json')
    assert found == _json(folder / 'stage.json')['evaluation']
    assert {title: figure['value'] for title, figure in found.items()} == {
      title: figure['value'] for title, figure in rows[name]['figures'].items()
    }
    for picture in ('pca.png', 'tsne.png'):
      with Image.open(folder / picture) as image:
        assert min(image.size) > 100
        assert len(image.getcolors(2**20)) > 10  # a colour for each class


@pytest.mark.slow
def test_a_row_is_worth_what_its_own_features_are(rows):
  """Not another stage's, and not against another order of the labels."""
  assert rows['raw pixels']['figures']['kNN']['value'] > 0.9
  assert rows['raw pixels']['figures']['linear, 5 a class']['value'] > 0.75
  for row in rows.values():
    assert row['figures']['linear, 100%']['value'] > 0.2
  values = {
    tuple(figure['value'] for figure in row['figures'].values())
    for row in rows.values()
  }
  assert len(values) == len(ROWS)


@pytest.mark.slow
def test_rows_are_paired_with_the_baselines(workdir, rows):
  found = _json(workdir / 'results.json')['differences']
  baselines = ('raw pixels', 'random encoder')
  assert set(found) == {
    f'{name} - {base}'
    for base in baselines
    for name in ROWS
    if name not in baselines
  }
  a, b = (
    rows[name]['figures']['linear, 5 a class']['by_draw']
    for name in ('SimCLR', 'raw pixels')
  )
  (difference,) = found['SimCLR - raw pixels'].values()
  assert difference['value'] == pytest.approx(np.mean(np.subtract(a, b)))


@pytest.mark.slow
def test_a_row_costs_what_its_stages_cost_together(workdir, rows):
  cost = {
    stage: _json(workdir / stage / 'stage.json')['flops']
    for stage in ROWS.values()
  }
  assert cost['pretrain'] > 0 and cost['pixels'] == cost['random'] == 0
  both = cost['pretrain'] + cost['finetune']
  assert rows['SimCLR + finetune']['flops'] == pytest.approx(both)
  whole = both + cost['self_train']
  assert rows['SimCLR + self-training']['flops'] == pytest.approx(whole)
  step = cost['supervised'] / _steps(workdir, 'supervised')
  assert abs(cost['supervised'] - whole) <= 0.51 * step
  assert rows['SimCLR']['flops'] == cost['pretrain']
  assert rows['random encoder']['flops'] == 0


@pytest.mark.slow
def test_the_page_shows_every_row_and_figure(workdir, rows):
  page = (workdir / 'results.md').read_text()
  assert page.startswith('Accuracy on 400 test images.')
  head, _, *lines = page.split('\n\n')[1].splitlines()
  assert [line.split('|')[1].strip() for line in lines] == list(ROWS)
  for title in rows['supervised, equal compute']['figures']:
    assert f'| {title} ' in head
  shown = f'{rows["SimCLR"]["figures"]["kNN"]["value"]:.3f} ['
  assert shown in lines[0]
  assert '| pretrain ' in page  # its telemetry
  assert 'Alarm' not in page


@pytest.mark.slow
@pytest.mark.parametrize(
  ('figure', 'key', 'other'),
  [('kNN', 'k', 20), ('linear, 5 a class', 'draws', 10)],
)
def test_other_protocols_are_no_part_of_a_table(
  workdir, tmp_path, figure, key, other
):
  config = _config('dataset=digits,size=8')
  for stage in ROWS.values():
    done = _json(workdir / stage / 'stage.json')
    if stage == 'random':
      done['evaluation'][figure]['protocol'][key] = other
    (tmp_path / stage).mkdir()
    (tmp_path / stage / 'stage.json').write_text(json.dumps(done))
  shutil.copy(workdir / 'config.json', tmp_path)
  words = f"{key} {other} of 'random encoder' and .* of 'SimCLR'"
  with pytest.raises(UserError, match=words):
    features_report.results(tmp_path, rows=config.rows)
  # The one row apart, the others may stand together.
  rows = [row for row in config.rows if row[0] != 'random encoder']
  found = features_report.results(tmp_path, rows=rows)
  assert set(found['rows']) == set(ROWS) - {'random encoder'}


def _finished(workdir, stages):
  """A run that ended with these figures of its stages, by stage."""
  config = {'recipe': list(stages), **{name: {'take': {}} for name in stages}}
  (workdir / 'config.json').write_text(json.dumps(config))
  for name, (value, labels) in stages.items():
    protocol = {'evaluation': 'classifier', 'labels': labels, 'test': 90}
    figure = {'value': value, 'low': value, 'high': value, 'protocol': protocol}
    done = {'flops': 1e12, 'evaluation': {'classifier': figure}}
    (workdir / name).mkdir()
    (workdir / name / 'stage.json').write_text(json.dumps(done))


def test_classifiers_of_more_and_of_fewer_labels_are_in_one_table(tmp_path):
  _finished(tmp_path, {'a': (0.5, 10), 'b': (0.7, 10), 'c': (0.9, 50)})
  rows = [('1 label', ('a', 'b')), ('5 labels', ('c',))]
  found = features_report.results(tmp_path, rows=rows)
  few, more = (row['figures']['classifier'] for row in found['rows'].values())
  assert few['value'] == pytest.approx(0.6) and few['by_seed'] == [0.5, 0.7]
  assert more['value'] == 0.9
  assert '| 5 labels | 0.900 [0.900, 0.900] ' in features_report.render(found)


def test_classifiers_of_other_images_are_in_no_table(tmp_path):
  _finished(tmp_path, {'a': (0.5, 10), 'b': (0.9, 50), 'c': (0.7, 10)})
  path = tmp_path / 'c' / 'stage.json'
  path.write_text(path.read_text().replace('"test": 90', '"test": 80'))
  with pytest.raises(UserError, match=r"test 80 of 'C' and 90 of 'A'"):
    features_report.results(
      tmp_path, rows=[(name.upper(), (name,)) for name in 'abc']
    )


@pytest.mark.slow
def test_without_probes_only_classifiers_are_tested(workdir, rows, tmp_path):
  """And they are worth what they are worth beside probes."""
  config = _config(f'dataset=digits,size=8,take={workdir}')
  config.recipe, config.evaluation = ('pretrain', 'finetune'), {}
  _run(config, tmp_path / 'run')
  found = _json(tmp_path / 'run' / 'results.json')['rows']
  assert set(found) == {'SimCLR + finetune'}
  ((name, figure),) = found['SimCLR + finetune']['figures'].items()
  assert name == 'classifier'
  expected = rows['SimCLR + finetune']['figures']['classifier']
  assert figure['value'] == pytest.approx(expected['value'], abs=0.01)
  assert figure['protocol'] == expected['protocol']
  assert not (tmp_path / 'run' / 'pretrain' / 'evaluation.json').exists()
  written = _json(tmp_path / 'run' / 'finetune' / 'evaluation.json')
  assert set(written) == {'classifier'}


@pytest.mark.slow
def test_an_encoder_of_another_run_is_worth_the_same(workdir, rows, tmp_path):
  """On the data that it comes from; its cost counts."""
  config = _config(f'dataset=digits,size=8,take={workdir}')
  config.recipe = ('pretrain', 'finetune')
  config.evaluation.pictures = ()
  _run(config, tmp_path / 'run')
  found = _json(tmp_path / 'run' / 'results.json')['rows']
  assert set(found) == {'SimCLR', 'SimCLR + finetune'}
  for name, row in found.items():
    assert row['flops'] == pytest.approx(rows[name]['flops'])
    for title, figure in row['figures'].items():
      expected = rows[name]['figures'][title]['value']
      assert figure['value'] == pytest.approx(expected, abs=0.01), title
  assert _json(tmp_path / 'run' / 'pretrain' / 'stage.json')['steps'] == 0


@pytest.mark.slow
def test_a_frozen_encoder_stays_with_its_statistics(workdir, tmp_path):
  config = _config(f'dataset=digits,size=8,take={workdir}')
  config.recipe = ('finetune',)
  config.finetune.freeze = ('encoder',)
  config.evaluation.update(pictures=(), draws=1)
  _run(config, tmp_path / 'run')
  before, after, trained = (
    read(folder / 'checkpoints', 'params', 'method_state').state
    for folder in (
      workdir / 'pretrain',
      tmp_path / 'run' / 'finetune',
      workdir / 'finetune',
    )
  )

  def encoder(saved):
    statistics = saved['method_state']['batch_stats']['encoder']
    return jax.tree.leaves((saved['params']['encoder'], statistics))

  assert len(encoder(before)) > 4
  jax.tree.map(np.testing.assert_array_equal, encoder(after), encoder(before))
  # And one that is not frozen moves.
  pairs = zip(encoder(trained), encoder(before), strict=True)
  assert all((a != b).any() for a, b in pairs)


@pytest.mark.slow
def test_an_encoder_goes_over_to_other_data(workdir, tmp_path, monkeypatch):
  config = _config(f'dataset=glyphs,take={workdir}')
  config.recipe = ('pretrain',)
  config.evaluation.pictures = ()
  config.data.counts = {'train': 360, 'test': 72}
  config.encoder.stem = 'imagenet'
  with pytest.raises(UserError, match='in the encoder that is taken'):
    _run(config, tmp_path / 'other', tmp_path)
  assert not (tmp_path / 'other').exists()  # told before the first step
  config.encoder = _config('dataset=digits').encoder
  tested, evaluate = [], train.evaluate

  def watched(stage, state, **options):
    batch_stats = state.method_state['batch_stats']
    tested.append((state.params['encoder'], batch_stats['encoder']))
    return evaluate(stage, state, **options)

  monkeypatch.setattr(train, 'evaluate', watched)
  _run(config, tmp_path / 'run', tmp_path)
  (row,) = _json(tmp_path / 'run' / 'results.json')['rows'].values()
  protocol = row['figures']['kNN']['protocol']
  assert (protocol['train'], protocol['test']) == (360, 72)
  folder = workdir / 'pretrain' / 'checkpoints'
  saved = read(folder, 'params', 'method_state').state
  expected = (
    saved['params']['encoder'],
    saved['method_state']['batch_stats']['encoder'],
  )
  jax.tree.map(np.testing.assert_array_equal, tested, [expected])
  # What was taken can be taken, and loaded, from here too.
  reader = ssljax.load(tmp_path / 'run')
  wide = np.zeros((20, 30, 3), np.uint8)
  wide[:, 3:27] = 255  # the middle square, and what is interpolated with it
  features = reader.encode([wide, np.full((9, 9), 255, np.uint8)])
  assert features.shape[0] == 2 and features.dtype == np.float32
  np.testing.assert_allclose(features[0], features[1], atol=1e-5)
  with pytest.raises(UserError, match='no head to read with'):
    reader.recognize(wide)


@pytest.mark.parametrize(
  ('name', 'rate'),
  [('simclr', 0.24), ('moco', 0.24), ('byol', 0.24), ('simsiam', 0.06)],
)
def test_cifar_is_trained_as_lightly_does(name, rate):
  module = importlib.import_module(f'configs.{name}_images')
  config = module.get_config('dataset=cifar10')
  stage = config.pretrain
  assert stage.method.name == name
  assert (stage.batch_size, stage.epochs, stage.steps) == (512, 200, None)
  assert config.data.size == config.data.stored == 32
  encoder = build.encoder(config)
  assert encoder.blocks == (2, 2, 2, 2) and not encoder.bottleneck
  assert (encoder.width, encoder.stem) == (64, 'cifar')
  assert stage.views.policy == 'cifar'
  assert all(view.blur == 0 for view in POLICIES['cifar'])
  assert all(view.flip == 0.5 for view in POLICIES['cifar'])
  evaluation = config.evaluation
  assert (evaluation.k, evaluation.temperature) == (200, 0.1)
  assert 1.0 in evaluation.fractions
  # SGD, from its peak at once, and 5e-4 of every parameter.
  options = stage.optimizer
  assert (options.name, options.momentum) == ('sgd', 0.9)
  assert (options.decay, options.warmup_share) == ('cosine', 0.0)
  assert options.get('clip') is None
  optimizer = making.optimizer(config, stage, steps=100)
  parts = ('encoder', 'projector', 'predictor')
  params = {
    part: {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)} for part in parts
  }
  nothing = jax.tree.map(jnp.zeros_like, params)
  updates, state = optimizer.update(nothing, optimizer.init(params), params)
  for update in jax.tree.leaves(updates):
    np.testing.assert_allclose(update, -rate * 5e-4, rtol=1e-5)
  first = optim.schedule('cosine', peak=rate, steps=100)(1)
  updates, _ = optimizer.update(nothing, state, params)
  expected = -first * 5e-4 * (1 + 0.9)
  np.testing.assert_allclose(updates['encoder']['bias'], expected, rtol=1e-5)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """CIFAR-10 in its form but not in its size, of pictures without sense."""
  data_dir = tmp_path_factory.mktemp('data')
  train, test = (
    mock.examples(mock.cifar(count, seed))
    for seed, count in ((0, 200), (1, 30))
  )
  mock.prepare(data_dir, {'train': train, 'test': test})
  return data_dir


@pytest.mark.slow
def test_the_recipe_of_cifar_runs(prepared, tmp_path, monkeypatch):
  """And an alarm goes from the steps to the table."""
  config = simclr_images.get_config('dataset=cifar10')
  config.mapping = 'jit'
  config.recipe = ('pretrain',)
  config.pretrain.update(batch_size=16, epochs=0, steps=3)
  config.encoder.update(width=8, blocks=(1, 1))
  config.evaluation.update(k=5, draws=2, fractions=(1.0,), pictures=())
  config.log_every = 1
  monkeypatch.setattr(health, 'PATIENCE', 1)
  sign = health.Sign('std', 99.0, 99.0, 'a test looks', 'nothing')
  monkeypatch.setattr(health, 'SIGNS', (sign,))
  page = _run(config, tmp_path / 'run', prepared)
  (row,) = _json(tmp_path / 'run' / 'results.json')['rows'].values()
  protocol = row['figures']['kNN']['protocol']
  # A tenth of what there is to train on validates.
  assert (protocol['k'], protocol['train'], protocol['test']) == (5, 180, 30)
  assert row['figures']['linear, 100%']['protocol']['count'] == 180
  classes = _json(tmp_path / 'run' / 'config.json')['data']['classes']
  assert tuple(classes) == mock.CIFAR
  lines = (tmp_path / 'run' / 'pretrain' / 'metrics.jsonl').read_text()
  first = json.loads(lines.splitlines()[0])
  assert 0 <= first['probe_accuracy'] <= 1
  assert first['loss_at_chance'] == pytest.approx(np.log(31), rel=1e-5)
  (alarm,) = row['alarms']
  assert alarm.startswith('Step 2: a test looks')
  assert f'Alarm in SimCLR: {alarm}' in page


@pytest.mark.slow
def test_a_folder_without_classes_is_pretrained_on(tmp_path):
  folder = tmp_path / 'images'
  folder.mkdir()
  rng = np.random.default_rng(0)
  for number in range(16):
    pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{number}.png')
  config = _config(f'data={folder},size=16')
  with pytest.raises(UserError, match=r"no classes .*stage 'finetune'.*\('p"):
    _run(config, tmp_path / 'all')
  assert not (tmp_path / 'all').exists()  # told before anything was trained
  config.recipe = ('pretrain',)
  config.pretrain.update(batch_size=8, steps=2)
  page = _run(config, tmp_path / 'run')
  assert page.startswith('No classes, and so nothing to test the features by')
  assert '| pretrain ' in page  # how pretraining ended
  found = _json(tmp_path / 'run' / 'results.json')
  assert found['rows'] == found['differences'] == {}
  assert np.isfinite(found['pretraining']['pretrain']['loss'])
  assert 'probe_accuracy' not in found['pretraining']['pretrain']
  done = _json(tmp_path / 'run' / 'pretrain' / 'stage.json')
  assert done['steps'] == 2 and 'evaluation' not in done
