"""Every recipe in `configs/`: it can be read, and it names what exists."""

import importlib
import json
import pathlib
import subprocess
import sys

import making
import ml_collections
import pytest

from configs import common, tables
from ssljax.data import layouts

ROOT = pathlib.Path(__file__).parent.parent
# Of images: `tests/test_image_configs.py`.
SCALES = {
  'simclr_ocr': ('smoke', 'laptop', 'article'),
  'supervised_ocr': ('smoke', 'laptop', 'article'),
  'simsiam_ocr': ('smoke', 'laptop', 'article'),
  'article_table': ('smoke', 'laptop', 'gpu', 'article'),
  'simsiam_warnings': ('smoke', 'laptop'),
  'labels_ocr': ('smoke', 'laptop'),
  'moco_ocr': ('smoke', 'laptop', 'article'),
  'byol_ocr': ('smoke', 'laptop', 'article'),
  'swav_ocr': ('smoke', 'laptop', 'article'),
  'deepcluster_ocr': ('smoke', 'laptop', 'article'),
  'metric_ocr': ('smoke', 'laptop', 'article'),
  'pretext_ocr': ('smoke', 'laptop', 'article'),
  'text_methods': ('smoke', 'laptop'),
  'text_fractions': ('smoke', 'laptop'),
}
LIBRARIES = ('common', 'text', 'tables', 'images')
EVERY = [(name, scale) for name, scales in SCALES.items() for scale in scales]


def _module(name):
  return importlib.import_module(f'configs.{name}')


def _config(name, arg=None):
  return _module(name).get_config(arg)


def test_every_file_is_here():
  files = {path.stem for path in (ROOT / 'configs').glob('*.py')}
  of_images = {file for file in files if 'image' in file}
  assert files - set(LIBRARIES) - of_images == set(SCALES)


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')))
def test_a_config_is_a_document(path):
  """It says what it is for before its numbers, and can be read at once."""
  if path.stem in LIBRARIES:
    return
  text = path.read_text()
  assert len(text.splitlines()) <= 60
  for word in ('\nFor: ', '\nExpected', '\nCost', f'configs/{path.name}'):
    assert word in _module(path.stem).__doc__, word


@pytest.mark.parametrize('name', SCALES)
def test_laptop_is_the_default_and_others_are_refused(name):
  assert _config(name).scale == 'laptop'
  assert _config(name) == _config(name, 'laptop') == _config(name, '')
  with pytest.raises(ValueError, match=r"Found 'labtop'.*mean 'laptop'\?"):
    _config(name, 'labtop')
  with pytest.raises(ValueError, match=r"Found 'sead=1'.*key=value"):
    _config(name, 'sead=1')
  for scale in {'smoke', 'laptop', 'gpu', 'article'} - set(SCALES[name]):
    with pytest.raises(ValueError, match='Found'):
      _config(name, scale)


@pytest.mark.parametrize('name', SCALES)
def test_the_docstring_says_how_to_run_it(name):
  text = _module(name).__doc__
  command = f'python -m ssljax.main --config=configs/{name}.py'
  assert command in text


@pytest.mark.parametrize(('name', 'scale'), EVERY)
def test_stages_name_earlier_stages(name, scale):
  config = _config(name, scale)
  assert config.scale == scale
  json.dumps(config.to_dict(), allow_nan=False)  # goes to config.json
  making.check(config)
  # Nothing is described that does not run.
  described = {key for key in config if hasattr(config[key], 'method')}
  assert described == set(config.recipe)
  assert len(config.recipe) == len(set(config.recipe))
  for place, stage in enumerate(config.recipe):
    earlier = config.recipe[:place]
    options = config[stage]
    for origin in (
      *options.take.values(), *options.match_compute, *options.best_rate_of
    ):  # fmt: skip
      assert origin in earlier, stage
    # One rule, and only one, sets the steps.
    ways = (options.epochs > 0, options.steps is not None)
    assert sum(ways) + bool(options.match_compute) == 1, stage
    # A stage that freezes a part has it from somewhere, or says `random`.
    for part in options.freeze:
      assert part in options.take or 'random' in stage, stage
    counts = [config.data.counts[x] for x in options.data.split.split('+')]
    if 'unlabelled' in options.data:
      assert 0 <= options.data.labelled < options.batch_size
      assert options.data.unlabelled in config.data.counts
    elif options.method.name != 'recognize':  # which repeats its labels
      assert options.batch_size <= (options.data.count or sum(counts))


@pytest.mark.parametrize(('name', 'scale'), EVERY)
def test_rows_name_stages_that_read(name, scale):
  config = _config(name, scale)
  assert config.rows
  readers = {
    stage
    for stage in config.recipe
    if making.method(config, stage).predict is not None
  }
  seeds = set()
  for _, _, stages in config.rows:
    seeds.add(len(stages))
    for stage in stages:
      # A seed is a stage, or several of which the best is taken.
      group = (stage,) if isinstance(stage, str) else stage
      assert set(group) <= readers
  assert len(seeds) == 1
  names = {row for _, row, _ in config.rows}
  for pair in config.differences:
    assert set(pair) <= names
  labels = {label for label, _, _ in config.rows}
  for label, part in config.labelled_layouts.items():
    assert label in labels
    assert set(part) < set(config.data.layouts)


@pytest.mark.parametrize(('name', 'scale'), EVERY)
def test_data_has_what_the_stages_ask_for(name, scale):
  config = _config(name, scale)
  unseen = {'unlabeled_unseen', 'test_unseen'} & set(config.data.counts)
  assert set(config.data.counts) - unseen == {
    'unlabeled', 'train', 'validation', 'test'
  }  # fmt: skip
  assert len(unseen) == (2 if name == 'article_table' else 0)
  for stage in config.recipe:
    data = config[stage].data
    share = len(data.layouts or config.data.layouts) / len(config.data.layouts)
    # Layouts are uniform; a tenth is left for chance.
    asked = data.count or 0
    splits = data.split.split('+')
    available = sum(config.data.counts[x] for x in splits) * share
    assert asked <= (available if share == 1 else 0.9 * available), stage
    assert set(data.layouts) <= set(config.data.layouts)
  # CTC writes six equal characters in eleven frames.
  assert making.frames(config) >= 2 * config.data.max_length - 1


@pytest.mark.parametrize('name', SCALES)
def test_smoke_is_small(name):
  config = _config(name, 'smoke')
  assert sum(config.data.counts.values()) <= 2000
  assert config.data.charset == 'digits'


def test_laptop_is_what_the_readme_says():
  config = _config('simclr_ocr', 'laptop')
  assert config.data.charset == 'digits'
  assert config.data.counts.test >= 2000
  assert tuple(config.data.layouts) == ('arcs', 'colors', 'textured', 'hollow')
  for stage in ('head', 'finetune', 'supervised'):
    assert config[stage].data.count == 100
    assert not config[stage].data.layouts
  # What all stages before it cost.
  assert config.supervised.match_compute == config.recipe[:-1]
  assert config.recipe[:-1] == ('pretrain', 'head', 'finetune', 'self_train')
  assert config.self_train.data.count == 100
  assert config.self_train.views == config.finetune.views
  assert config.supervised.views == config.finetune.views == config.head.views


def test_configs_name_the_layouts_that_there_are():
  """They import nothing of ssljax, so they say them again."""
  assert common.SEEN_LAYOUTS == layouts.SEEN_LAYOUTS
  assert common.UNSEEN_LAYOUTS == layouts.UNSEEN_LAYOUTS


def test_the_article_table_compares_like_with_like():
  config = _config('article_table', 'laptop,seeds=2')
  assert len(config.recipe) == 2 * (2 * 2 * 3 + 2)
  labelled = [s for s in config.recipe if not s.startswith('pretrain')]
  for key in ('views', 'data', 'batch_size'):
    assert len({str(config[stage][key]) for stage in labelled}) == 1, key
  for seed in (0, 1):
    steps = {
      stage: config[stage].steps
      for stage in config.recipe
      if stage.endswith(f'_{seed}')
    }
    for method in ('simclr', 'simsiam', 'simclr_all', 'simsiam_all'):
      head, finetune, pretrain = (
        steps[f'{stage}_{method}_{seed}']
        for stage in ('head', 'finetune', 'pretrain')
      )
      assert head + finetune == steps[f'supervised_{seed}']
      assert pretrain == steps[f'pretrain_simclr_{seed}']
      pool = config[f'pretrain_{method}_{seed}'].data.split.split('+')
      # No row learns from a label of a held-out layout; `_all` sees them.
      assert ('unlabeled_unseen' in pool) is method.endswith('_all')
    assert {config[stage].seed for stage in steps} == {seed}
    spent = config[f'equal_{seed}'].match_compute
    assert spent == tuple(
      f'{s}_simclr_{seed}' for s in ('pretrain', 'head', 'finetune')
    )
  assert dict(config.published) == {
    'supervised': 0.9081,
    'SimSiam + finetune': 0.9541,
    'SimCLR + finetune': 0.957,
  }


def test_simsiam_to_the_letter():
  config = _config('simsiam_ocr', 'article')
  simclr = _config('simclr_ocr', 'article')
  assert config.pretrain.method.to_dict() == {
    'name': 'simsiam',
    'l2': 1e-3,
    'predict': True,
    'stop_gradient': True,
    'projector': {'batch_norm': True},
    'instances': {'name': 'frames', 'pool': 5, 'matched': False},
  }
  assert 'rates' not in config.pretrain.optimizer
  for key in ('optimizer', 'views', 'batch_size', 'epochs'):
    assert config.pretrain[key] == simclr.pretrain[key]
  assert config.finetune == simclr.finetune


@pytest.mark.parametrize('scale', SCALES['moco_ocr'])
def test_mocos_keys_are_never_inverted(scale):
  """Rule 44; the rest of its views are those of the other methods."""
  pretrain = _config('moco_ocr', scale).pretrain
  views = pretrain.views.to_dict()
  other = _config('simclr_ocr', scale).pretrain.views.to_dict()
  shares = views.pop('inversion')
  if scale == 'article':
    assert shares == other.pop('inversion') == 0
  else:
    # The second view is that of the keys, in one direction.
    assert not pretrain.method.symmetric
    assert shares == (other.pop('inversion'), 0.0) == (0.5, 0.0)
  assert views == other


def test_each_warning_changes_one_thing():
  config = _config('simsiam_warnings', 'laptop')
  methods = [
    config[stage].method.to_dict()
    for stage in config.recipe
    if stage.startswith('pretrain')
  ]
  assert len(methods) == 5
  for other in methods[1:]:
    changed = {
      key
      for key in {*other, *methods[0]}
      if other.get(key) != methods[0].get(key)
    }
    assert len(changed) == 1, changed


def test_own_images_and_the_encoder_of_another_run(tmp_path):
  (tmp_path / 'labels.csv').write_text('file,text\n')
  config = _config('simclr_ocr', f'data={tmp_path},charset=digits')
  assert config.data.directory == str(tmp_path)
  assert config.data.charset == 'digits'
  assert config.finetune.data.count is config.self_train.data.count is None
  chain = ('pretrain', 'head', 'finetune', 'self_train')
  assert config.recipe == (*chain, 'supervised')
  alone = _config('simclr_ocr', f'data={tmp_path},compare=False')
  assert alone.recipe == chain and 'supervised' not in alone
  assert [row for _, row, _ in alone.rows] == [
    row for _, row, _ in config.rows[:-1]
  ]
  config = _config('simclr_ocr', f'laptop,data={tmp_path},take=/runs/other')
  assert config.recipe == (*chain[1:], 'supervised')
  assert config.supervised.match_compute == chain[1:]
  assert dict(config.head.take) == {'encoder': '/runs/other'}
  assert dict(config.finetune.take) == {'encoder': 'head', 'head': 'head'}
  only = _config('supervised_ocr', f'data={tmp_path}')
  assert only.recipe == ('supervised',) and only.product == 'supervised'


def test_own_images_without_labels_are_read_by_rendered_text(tmp_path):
  config = _config('simclr_ocr', f'data={tmp_path},charset=digits')
  assert config.recipe == ('rendered', 'self_train')
  data = config.self_train.data
  assert (data.split, data.unlabelled) == ('rendered', 'unlabeled')
  taken = {'encoder': 'rendered', 'head': 'rendered'}
  assert config.self_train.take.to_dict() == taken
  # Of characters that nobody names, nothing can be rendered.
  assert _config('simclr_ocr', f'data={tmp_path}').recipe == ('pretrain',)


def test_labels_by_other_names_are_labels(tmp_path):
  chain = ('pretrain', 'head', 'finetune', 'self_train', 'supervised')
  config = _config('simclr_ocr', f'data={tmp_path},labels=names')
  assert config.recipe == chain and config.data.labels == 'names'
  (tmp_path / 'Labels.TSV').write_text('file\ttext\n')
  config = _config('simclr_ocr', f'data={tmp_path}')
  assert config.recipe == chain and 'labels' not in config.data
  with pytest.raises(ValueError, match='labels=names without data=DIR'):
    _config('simclr_ocr', 'labels=names')


def test_article_to_the_letter():
  config = _config('simclr_ocr', 'article')
  assert dict(config.data.counts) == {
    'unlabeled': 800_000,
    'train': 40_000,
    'validation': config.data.counts.validation,  # the article has none
    'test': 20_000,
  }
  figures = {
    'pretrain': ('sgd', 3e-4, 96, 10),
    'head': ('adamw', 3e-4, 8, 10),
    'finetune': ('adamw', 3e-5, 8, 40),
    'supervised': ('adamw', 3e-4, 8, 0),  # 50 epochs; see below
  }
  # And one that the article has not.
  assert config.recipe == (*list(figures)[:3], 'self_train', 'supervised')
  for name, expected in figures.items():
    stage = config[name]
    rule = stage.optimizer
    found = (rule.name, rule.learning_rate, stage.batch_size, stage.epochs)
    assert found == expected, name
    assert stage.steps is None
    assert stage.data.count is None and not stage.data.layouts
    # What the article does not name is not there.
    assert (rule.decay, rule.warmup_share, rule.clip) == ('constant', 0.0, None)
  assert config.pretrain.optimizer.momentum == 0.8
  assert config.pretrain.optimizer.weight_decay == 0.0
  assert config.pretrain.data.split == 'unlabeled'

  assert config.pretrain.method.to_dict() == {
    'name': 'simclr',
    'temperature': 0.1,
    'negatives': 'batch',
    'instances': {'name': 'frames', 'pool': 5, 'matched': False},
  }
  assert not config.projector.batch_norm
  for stage in figures:
    views = config[stage].views
    # Frame by frame aligned, and nothing that the article does not list.
    for added in ('shift', 'strokes', 'inversion', 'ramp'):
      assert not views[added]
    assert views.get('count', 2) == (2 if stage == 'pretrain' else 1)

  assert config.head.take.to_dict() == {'encoder': 'pretrain'}
  assert config.head.freeze == ('encoder',)
  assert config.finetune.take.to_dict() == {'encoder': 'head', 'head': 'head'}
  assert config.finetune.freeze == ()
  assert not config.supervised.take


@pytest.mark.parametrize('scale', SCALES['labels_ocr'])
def test_the_comparison_of_labels_is_fair(scale):
  """Rule 33: the same labels, views and settings, and equal compute."""
  config, rows = _config('labels_ocr', f'{scale},draws=2'), {}
  for label, name, stages in config.rows:
    rows.setdefault(label, {})[name] = stages
  assert len(rows) == 5
  for each in rows.values():
    assert tuple(each) == tuple(tables.ROWS.values())
    for draw in range(2):
      last = {row: each[title][draw] for row, title in tables.ROWS.items()}
      taken = {
        row: dict(config[stage].take).get('encoder')
        for row, stage in last.items()
      }
      begun, head = taken['random'], taken['finetune']
      pretrain = config[head].take.encoder
      assert taken['whole'] == last['finetune']
      start = (pretrain, head, last['finetune'])
      spent = (*start, last['whole'])
      compute = {
        begun: start,
        last['once']: spent,
        last['twice']: spent * 2,
        last['alone']: spent,
      }
      first = config[last['finetune']]
      for stage in {*last.values(), begun, head}:
        options = config[stage]
        assert options.match_compute == compute.get(stage, ()), stage
        for key in ('split', 'count', 'layouts', 'draw'):
          assert options.data[key] == first.data[key], (stage, key)
        assert options.data.draw == options.seed == draw
        assert options.views == first.views
        assert options.optimizer == first.optimizer
        assert options.freeze == (('encoder',) if stage == head else ())
      assert not any(
        config[stage].take
        for stage in (begun, last['once'], last['twice'], last['alone'])
      )
      trains = [config[last[row]] for row in ('whole', 'alone', 'random')]
      assert len({str((x.method, x.data, x.batch_size)) for x in trains}) == 1
      assert trains[0].steps == trains[2].steps


def test_draws_and_rows_of_the_comparison():
  one = _config('labels_ocr', 'smoke,draws=1')
  assert {len(stages) for _, _, stages in one.rows} == {1}
  assert not any(stage.endswith('_1') for stage in one.recipe)


@pytest.mark.parametrize('name', SCALES)
def test_reading_a_config_starts_nothing(name):
  """A config is read before any flag could choose a device."""
  program = (
    'import sys; sys.path.insert(0, "")\n'
    f'from configs import {name}\n'
    f'{name}.get_config("smoke")\n'
    'heavy = ("ssljax", "jax", "flax", "optax", "numpy", "grain")\n'
    'print([module for module in heavy if module in sys.modules])'
  )
  output = subprocess.check_output(
    [sys.executable, '-c', program], text=True, cwd=ROOT
  )
  assert output == '[]\n'


def test_overrides_keep_their_types():
  """Locked, with a type for every value, so that a mistake is noticed."""
  config = _config('simclr_ocr', 'smoke').lock()
  assert isinstance(config, ml_collections.ConfigDict)
  with pytest.raises(TypeError):
    config.pretrain.epochs = 'abc'
  with pytest.raises(AttributeError, match='epochs'):
    config.pretrain.epoch = 3


def test_methods_on_text_are_compared_after_self_training_too():
  config = _config(
    'text_methods', 'laptop,seeds=2,labels=40,methods=SimCLR+MoCo v2'
  )
  rows = {row: stages for _, row, stages in config.rows}
  assert rows['MoCo v2 + finetune + self-training'] == (
    'self_train_moco_v2_0',
    'self_train_moco_v2_1',
  )
  assert {name.partition(' +')[0] for name in rows} == {
    'random encoder',
    'supervised, same labelled steps',
    'SimCLR',
    'MoCo v2',
  }
  for seed in range(2):  # each has labels of its own, which its rows share
    for stage in (name for name in config.recipe if name.endswith(f'_{seed}')):
      if not stage.startswith('pretrain'):
        data = config[stage].data
        assert (data.count, data.draw) == (40, seed)
    assert config[f'self_train_simclr_{seed}'].take.to_dict() == {
      'encoder': f'finetune_simclr_{seed}',
      'head': f'finetune_simclr_{seed}',
    }
  with pytest.raises(ValueError, match=r'methods SimLR; expected some of SimC'):
    _config('text_methods', 'methods=SimLR+BYOL')
