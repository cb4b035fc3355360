"""A person's own images, from the folder to what is read of them."""

import csv
import functools
import itertools
import json
import types

import jax
import making
import numpy as np
import pytest
import tiny_ocr
from PIL import Image, ImageDraw

import ssljax
from configs import common
from ssljax import build, core, main, workdir
from ssljax.augment.text import text_views
from ssljax.checkpoint import read
from ssljax.errors import UserError
from ssljax.stage import taken

pytestmark = pytest.mark.slow  # trains four stages
LABELLED, ALL = 24, 40


def _draw(path, text, size):
  image = Image.new('L' if len(text) % 2 else 'RGB', size, 'white')
  ImageDraw.Draw(image).text((2, size[1] // 4), text, fill=0)
  image.save(path)


def _folder(path, labelled=LABELLED):
  path.mkdir(parents=True)
  rng = np.random.default_rng(0)
  suffixes = itertools.cycle(('.png', '.jpg', '.bmp', '.gif', '.webp'))
  rows = []
  for i, suffix in zip(range(ALL), suffixes, strict=False):
    text = ''.join(rng.choice(list('abc47'), rng.integers(3, 5)))
    name = f'{i:02}{suffix}'
    _draw(path / name, text, (30 + 2 * i, 24))
    rows.append((name, text))
  if labelled:
    with (path / 'labels.csv').open('w', newline='') as file:
      csv.writer(file).writerows([('file', 'text'), *rows[:labelled]])
  return path


def _config(directory, *, take='', charset=''):
  config = tiny_ocr.get_config()
  config.data = common.own_data(str(directory), charset)
  for stage in config.recipe:
    config[stage].steps, config[stage].data.count = 2, None
  config.rows = (('own', 'finetuned', ('finetune',)),)
  config.differences = ()
  if take:
    config.recipe = ('head', 'finetune')
    config.head.take.encoder = str(take)
  return config


def _run(config, workdir):
  return main.run(config, workdir, 'unused', lambda: False)


@pytest.fixture(scope='module')
def own(tmp_path_factory):
  return _folder(tmp_path_factory.mktemp('own') / 'images')


@pytest.fixture(scope='module')
def finished(own, tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / 'one'
  _run(_config(own), path)
  return path


def test_a_folder_is_pretrained_on_adapted_to_and_read(own, finished):
  config = json.loads((finished / 'config.json').read_text())
  assert config['data']['charset'] == '47abc'
  assert config['data']['max_length'] == 4
  # The 38th of the 40 pictures by width is 104x24, or 139x32.
  assert (config['data']['height'], config['data']['width']) == (32, 144)
  with (finished / 'finetune' / 'predictions.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  with (own / 'labels.csv').open(newline='') as file:
    labels = dict(list(csv.reader(file))[1:])
  tested = [row['label'] for row in rows]
  assert tested == [labels[row['file']] for row in rows]
  assert 1 <= len(tested) < LABELLED
  assert set(tested) <= set(labels.values())
  done = json.loads((finished / 'finetune' / 'stage.json').read_text())
  assert done['labels'] + len(tested) == LABELLED
  assert (finished / 'results.md').read_text().startswith('### own')


def test_a_trained_run_reads_files_of_the_folder(own, finished):
  reader = ssljax.load(finished)
  paths = sorted(own.glob('*.*g'))[:5]
  found = reader.recognize(paths)
  assert len(found) == len(paths)
  assert set(''.join(text for text, _ in found)) <= set('47abc')


def test_the_same_command_goes_on_unless_the_folder_has_changed(own, finished):
  before = (finished / 'results.json').read_bytes()
  _run(_config(own), finished)
  assert (finished / 'results.json').read_bytes() == before
  added = own / '99.png'
  _draw(added, '4', (30, 24))
  try:
    with pytest.raises(UserError, match=r'config\.data\.contents'):
      _run(_config(own), finished)
  finally:
    added.unlink()


@pytest.mark.parametrize('origin', ['', 'pretrain'])
def test_a_part_of_another_run_is_taken(own, finished, tmp_path, origin):
  config = _config(own, take=finished / origin)
  config.data.charset, config.data.max_length = '47abc', 4
  folder = workdir.locate(tmp_path, config.recipe, str(finished / origin))
  found = taken(types.SimpleNamespace(take={'encoder': folder}))
  saved = read(finished / 'pretrain' / 'checkpoints', 'params').state['params']
  jax.tree.map(
    np.testing.assert_array_equal, found['params']['encoder'], saved['encoder']
  )
  assert set(found['params']) == {'encoder'}


def test_the_cost_of_a_taken_part_counts(own, finished, tmp_path):
  path = tmp_path / 'two'
  _run(_config(own, take=finished), path)
  spent = [
    json.loads((folder / 'stage.json').read_text())['flops']
    for folder in (finished / 'pretrain', path / 'head', path / 'finetune')
  ]
  found = json.loads((path / 'results.json').read_text())
  assert found['own']['rows']['finetuned']['flops'] == pytest.approx(sum(spent))


@pytest.mark.parametrize(
  ('take', 'message'),
  [
    ('nowhere', r"Found 'nowhere' to take.*\(head, finetune\).*config\.json"),
    ('one/finetun', r"'finetun'.*Did you mean 'finetune'"),
    ('stopped', r'pretrain unfinished.*goes on'),
  ],
)
def test_what_cannot_be_taken(
  own, finished, take, message, monkeypatch, tmp_path
):
  """Known before anything is trained, by the folder's names alone."""
  monkeypatch.chdir(finished.parent)
  stopped = finished.parent / 'stopped'
  stopped.mkdir(exist_ok=True)
  text = (finished / 'config.json').read_text()
  (stopped / 'config.json').write_text(text)
  with pytest.raises(UserError, match=message):
    config = _config(own, take=take, charset='abc')
    making.check(config, tmp_path)


def test_an_encoder_of_another_size_is_refused(own, finished, tmp_path):
  config = _config(own, take=finished)
  config.encoder.width = 8
  with pytest.raises(UserError, match='in the encoder that is taken'):
    _run(config, tmp_path / 'other')
  assert not (tmp_path / 'other').exists()  # told before the first step


def test_labels_are_missed_before_anything_is_trained(tmp_path, capsys):
  bare = _folder(tmp_path / 'bare', labelled=0)
  with pytest.raises(UserError, match=r"Found 0 labelled.*'train'.*file,text"):
    _run(_config(bare, charset='abc'), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'pretrain').exists()
  # The frame is told as soon as it is chosen.
  assert 'Frame: 32 rows, because' in capsys.readouterr().err


def test_a_folder_without_labels_can_pretrain(tmp_path):
  bare = _folder(tmp_path / 'bare', labelled=0)
  config = _config(bare)
  config.recipe = ('pretrain',)
  assert 'pretrain' in _run(config, tmp_path / 'run')
  found = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert list(found) == ['pretraining']


def test_a_reader_of_rendered_text_is_shown_on_images_without_labels(tmp_path):
  bare = _folder(tmp_path / 'bare', labelled=0)
  config = _config(bare, charset='47abc')
  config.data.rendered, config.data.lengths = 16, (3, 4)
  config.recipe, config.product = ('supervised',), 'supervised'
  config.supervised.data.split = 'rendered'
  table = main.run(config, tmp_path / 'run', str(tmp_path), lambda: False)
  assert 'no labelled images to test with' in table
  assert '`supervised/sheet.png`' in table
  folder = tmp_path / 'run' / 'supervised'
  with Image.open(folder / 'sheet.png') as image:
    assert image.width == 1200
  with (folder / 'readings.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  files = {path.name for path in bare.iterdir()}
  assert {row['file'] for row in rows} == files and len(rows) == len(files)
  reader = ssljax.load(tmp_path / 'run')
  for row in rows[:3]:
    text, confidence = reader.recognize(bare / row['file'])[0]
    assert text == row['reading']
    assert confidence == pytest.approx(float(row['confidence']), rel=1e-2)
  found = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert found == {
    'sheets': {'supervised': 'supervised/sheet.png'},
    'pretraining': {},
  }


def test_a_label_too_long_for_its_image_names_the_file(tmp_path):
  folder = _folder(tmp_path / 'long')
  _draw(folder / 'thin.png', '4', (4, 24))
  with (folder / 'labels.csv').open('a', newline='') as file:
    csv.writer(file).writerow(('thin.png', '4477'))
  config = _config(folder)
  config.data.holdout = 0.0
  with pytest.raises(UserError, match=r"'4477' of thin\.png \(labels\.csv row"):
    _run(config, tmp_path / 'run')


def test_bad_files_are_listed_in_the_run_folder(tmp_path):
  skipped = [('a.png', 'found it unreadable')]
  workdir.write_skipped(tmp_path, skipped)
  said = workdir.skipped_lines(tmp_path, skipped)
  assert 'Skipped 1 files' in said and 'a.png: found it unreadable' in said
  assert (tmp_path / 'skipped.csv').read_text().split() == [
    'file,reason', 'a.png,found', 'it', 'unreadable'
  ]  # fmt: skip


def test_padding_is_no_frame_of_ctc_and_no_row_of_a_method():
  """What stands in the padding does not change a loss but by its pixels."""
  config = tiny_ocr.get_config()
  batch = {
    'image': np.full((4, 32, 96, 3), 200, np.uint8),
    'index': np.arange(4, dtype=np.int32),
    'label': np.tile(np.int32([1, 1, 2, 0, 0, 0]), (4, 1)),
  }
  method = making.method(config, 'supervised')
  params, state = jax.jit(method.init)(jax.random.key(0), batch)
  loss = jax.jit(method.loss)

  def infeasible(width):
    widths = np.array([96, 96, 96, width], np.int32)
    _, (_, metrics) = loss(
      params, state, batch | {'width': widths}, jax.random.key(0), 0
    )
    return float(metrics['infeasible'])

  # The label needs four frames, a blank between its ones included.
  assert infeasible(96) == infeasible(32) == 0
  assert infeasible(8) == 0.25


@functools.cache
def _columns(width):
  config = tiny_ocr.get_config()
  views = config.pretrain.views
  method = text_views(stride=build.encoder(config).stride, **views)
  images = np.zeros((64, 32, 96, 3), np.uint8)
  index = np.arange(64, dtype=np.int32)
  widths = np.full(64, width, np.int32)
  return [
    np.asarray(columns)
    for _, columns in jax.jit(method)(jax.random.key(0), images, index, widths)
  ]


@pytest.mark.parametrize('width', [96, 60, 20, 5])
def test_views_show_no_padding_as_a_source(width):
  for columns in _columns(width):
    shown = columns[columns >= 0]
    assert shown.size and shown.max() < width
    assert (columns >= 0).mean() < width / 96 + 0.15


def test_core_refuses_a_part_of_another_shape():
  with pytest.raises(UserError, match=r'\(2,\) of kernel in the enc.*\(3,\)'):
    core.check_part('encoder', {'kernel': np.zeros(2)}, {'kernel': np.zeros(3)})
