"""`python -m ssljax.report`: the page of runs, from their folders."""

import csv
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import making
import numpy as np
import pytest
import tiny_ocr

from configs import common
from ssljax import report, tasks
from ssljax.data import datasets
from ssljax.errors import UserError
from ssljax.records import write_json
from ssljax.reports import plots
from ssljax.reports import report as sections

pytestmark = pytest.mark.slow  # compiles networks
TRAINED = ('pretrain', 'head', 'finetune')
# label, reading, confidence of the first rows of predictions.csv; the others
# are right.
WRONG = [('<b>1', '<b>7', 0.99), ('55', '5', 0.2)]


class Page(html.parser.HTMLParser):
  """Tags that stand in each other, headings, and what the page refers to."""

  VOID = frozenset({'meta', 'link', 'img', 'image', 'br'})

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.words, self.text = [], [], '', text
    self.feed(text)
    assert not self.open, self.open

  def handle_starttag(self, tag, attributes):
    self.tags.append(types.SimpleNamespace(name=tag, has=dict(attributes)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append(types.SimpleNamespace(name=tag, has=dict(attributes)))

  def handle_endtag(self, tag):
    if tag not in self.VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    self.words += data

  def all(self, name):
    return [each.has for each in self.tags if each.name == name]


def _stage(folder, config, stage):
  method = making.method(config, stage)
  shape = config.data.height, config.data.width, 3
  batch = {
    'image': np.zeros((8, *shape), np.uint8),
    'index': np.arange(8, dtype=np.int32),
    'label': np.ones((8, 3), np.int32),
    'width': np.full(8, config.data.width, np.int32),
  }
  params, method_state = making.arrays(method, batch)
  making.save(folder, config, stage, params, method_state)
  done = {'steps': 6, 'examples': 48, 'labels': 32, 'flops': 1e9}
  done |= {'learning_rate': 0.1, 'fit': {'edit_distance_accuracy': 1.0}}
  write_json(folder / stage / 'stage.json', done)
  lines = [
    {'step': step, 'seconds': step / 2, 'loss': 9 / step, 'std': None}
    for step in (2, 4, 6)
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / stage / 'metrics.jsonl').write_text(text)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def run(tmp_path_factory, data_dir):
  """The folder of a run of random arrays, with readings that are made up."""
  folder = tmp_path_factory.mktemp('runs') / 'one'
  folder.mkdir()
  config = tiny_ocr.get_config()
  config.recipe, config.product = TRAINED, 'finetune'
  config.rows = (('32 labels', 'SimCLR + finetune', ('finetune',)),)
  config.differences = ()
  write_json(folder / 'config.json', config.to_dict())
  for stage in TRAINED:
    _stage(folder, config, stage)
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir=str(data_dir))
  test = dataset.open('test')
  labels = [test.describe(place).text for place in range(len(test))]
  read = WRONG + [(label, label, 0.9) for label in labels[len(WRONG) :]]
  rows = [
    (f'example {place}', 'test', ('arcs', 'colors')[place % 2], label, text,
     str(sure), '')
    for place, (label, text, sure) in enumerate(read)
  ]  # fmt: skip
  with (folder / 'finetune' / 'predictions.csv').open('w') as file:
    head = 'file,split,layout,label,prediction,confidence,second_best'
    csv.writer(file).writerows([head.split(','), *rows])
  found, _ = tasks.make(config).report(folder)
  write_json(folder / 'results.json', found)
  return folder


@pytest.fixture(scope='module')
def page(run, data_dir):
  path = report.write([run], data_dir=data_dir)
  assert path == run / 'report.html'
  return Page(path.read_text(encoding='utf-8'))


def test_the_sections_say_what_the_files_say(page):
  headings = re.findall(r'id="\d+-0">([^<]+)<', page.text)
  for expected in (
    'Figures: 32 labels',
    'Where it reads well',
    'Confusions',
    'Confidence',
    'The most confident mistakes',
    'The least confident readings',
    'Views',
    'Neighbours',
    'Training',
    'Cost',
  ):
    assert expected in headings
  # Two of 16 are wrong: '1' as '7' once, and one of two '5' left out.
  assert '0.875' in page.words
  table = ' '.join(page.words.split())
  assert '2 mistakes' in table
  assert re.search(r'1 ?7 ?1', table) and '(left out)' in table


def test_the_page_stands_alone_and_can_be_heard(page):
  """No request leaves it; every picture has words; ids are there once."""
  for each in page.tags:
    for name in ('src', 'href', 'xlink:href'):
      link = each.has.get(name)
      assert link is None or link.startswith(('data:', '#')), link
  assert not page.all('script')
  assert all(each.get('alt') for each in page.all('img'))
  drawn = [each for each in page.tags if each.has.get('role') == 'img']
  assert drawn and all(each.has.get('aria-label') for each in drawn)
  assert page.all('html')[0]['lang'] == 'en'
  links = {each['href'][1:] for each in page.all('a')}
  ids = [each.has['id'] for each in page.tags if 'id' in each.has]
  assert links <= set(ids)
  assert all(ids.count(each) == 1 for each in links)
  levels = [each.name for each in page.tags if re.fullmatch(r'h\d', each.name)]
  assert levels[0] == 'h1' and levels.count('h1') == 1


def _browsed(*arguments):
  """What `browsing.py` says; it needs a display server's libraries as well."""
  pytest.importorskip('PySide6.QtWebEngineCore', exc_type=ImportError)
  script = pathlib.Path(__file__).with_name('browsing.py')
  return subprocess.run(
    [sys.executable, script, *arguments],
    capture_output=True,
    text=True,
    env=os.environ | {'QT_LOGGING_RULES': '*=false'},
  )


@pytest.mark.parametrize('scheme', [(), ('--dark',)], ids=['light', 'dark'])
def test_a_browser_finds_nothing_wrong(page, run, scheme):
  found = _browsed(*scheme, run / 'report.html')
  assert not found.returncode, found.stdout


def test_a_browser_finds_what_is_wrong(tmp_path):
  path = tmp_path / 'bad.html'
  path.write_text(
    '<!doctype html><title>x</title><h1>a</h1><h3>b</h3><input><svg role="img">'
    '</svg><img src="http://127.0.0.1:9/x.png"><p style="color:#999">pale'
    '<div style="width:1500px">wide</div><script>console.log("hello")</script>'
  )
  said = _browsed(path).stdout
  for each in ('asks for', 'console: hello', '1508 of 400', 'h1 to h3',
               'without alt', 'without a text', 'without a label',
               'no language', 'contrast of 2.85'):  # fmt: skip
    assert each in said, said


def test_what_is_right_is_of_images_whose_truth_is_known(monkeypatch):
  """Of a user's files few have a label, and in many steps none."""
  drawn = []
  monkeypatch.setattr(plots, 'curves', lambda panels: drawn.append(panels))
  monkeypatch.setattr(sections, 'plot', lambda *_: '')
  lines = [
    {'step': 20, 'labelled_share': 1, 'right': 0.01, 'truth_known': 0.02},
    {'step': 40, 'labelled_share': 1, 'right': 0.0, 'truth_known': 0.0},
    {'step': 60, 'labelled_share': 1, 'right': 0.03, 'truth_known': 0.04},
  ]
  assert sections.believed({'self_train': lines})
  assert drawn == [{'right': {'self_train': ((20, 60), (0.5, 0.75))}}]


def test_labels_are_text_and_not_tags(page):
  assert '<b>7' in page.words and '<b>1' in page.words
  assert not page.all('b')


def test_several_runs_stand_side_by_side(run, data_dir, tmp_path):
  out, other = tmp_path / 'both.html', tmp_path / 'one'
  shutil.copytree(run, other)  # of the same name
  report.main([str(run), str(other), f'--out={out}', f'--data_dir={data_dir}'])
  page = Page(out.read_text(encoding='utf-8'))
  assert 'Side by side' in page.words
  heads = [each.split('<')[0] for each in page.text.split('<th scope="col">')]
  assert heads[1:4] == ['run', 'row', 'labels']
  assert page.words.count('Figures: 32 labels') == 4  # a link and a heading
  assert str(other) in page.words and 'loss of pretrain' in page.text
  assert out.stat().st_size < 5e6


def test_a_run_that_has_not_ended_is_refused(run, tmp_path):
  shutil.copy(run / 'config.json', tmp_path)
  with pytest.raises(UserError, match=r'no results\.json'):
    report.write([tmp_path])
  with pytest.raises(SystemExit, match=r'Found no config\.json'):
    report.main([str(tmp_path / 'none')])


def test_without_its_images_the_page_has_the_figures(run, tmp_path, data_dir):
  copy = tmp_path / 'run'
  shutil.copytree(run, copy)
  config = json.loads((copy / 'config.json').read_text())
  config['data'] = common.own_data(str(tmp_path / 'gone')).to_dict()
  write_json(copy / 'config.json', config)
  text = report.write([copy], data_dir=data_dir).read_text(encoding='utf-8')
  assert 'No images are shown' in text and 'Figures: 32 labels' in text
