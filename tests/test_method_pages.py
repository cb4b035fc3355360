"""docs/methods/ and docs/which.md: of their results, and of every method."""

import importlib
import pathlib
import shutil

import pytest

from ssljax.records import read_json, write_json

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / 'docs'


@pytest.fixture
def methods(monkeypatch):
  monkeypatch.syspath_prepend(DOCS / 'draw')
  return importlib.import_module('methods')


@pytest.fixture
def boxes(monkeypatch):
  monkeypatch.syspath_prepend(DOCS / 'draw')
  return importlib.import_module('boxes')


def _cells(text, start):
  line = next(line for line in text.splitlines() if line.startswith(start))
  return [cell.strip() for cell in line.strip('| ').split('|')]


def test_the_pages_are_of_their_results(methods):
  methods.main(['--check'])


def test_the_check_tells_other_results(methods, tmp_path):
  shutil.copytree(DOCS / 'results', tmp_path / 'results')
  methods.main([], tmp_path)
  methods.main(['--check'], tmp_path)
  path = tmp_path / 'results' / 'text_methods_30_laptop.json'
  found = read_json(path)
  rows = found['30 labels']['rows']
  figure = rows['SwAV + finetune + self-training']['figures']['test']
  figure['edit_distance_accuracy'] |= {'value': 0.95, 'by_seed': [0.9, 1.0]}
  write_json(path, found)
  with pytest.raises(SystemExit, match=r'Found swav.md and which.md of other'):
    methods.main(['--check'], tmp_path)
  methods.main([], tmp_path)
  page = (tmp_path / 'methods' / 'swav.md').read_text()
  shown = _cells(page, '| [text, self-trained]')
  assert shown[1:3] == ['30', '2'] and shown[3].startswith('0.950 [')
  assert shown[3].endswith('± 0.071')
  which = (tmp_path / 'which.md').read_text()
  assert 'SwAV or BYOL on text' in which
  assert which.index('| SwAV ') < which.index('| BYOL ')


def test_every_method_and_config_has_a_page():
  text = '\n'.join(path.read_text() for path in DOCS.glob('methods/*.md'))
  files = [path.name for path in (ROOT / 'ssljax' / 'methods').glob('[!_]*.py')]
  assert len(files) > 15
  assert not [name for name in files if f'{name}`' not in text]
  configs = [
    path.name
    for kind in ('ocr', 'images')
    for path in (ROOT / 'configs').glob(f'*_{kind}.py')
    if path.stem != 'labels_images'
  ]
  assert not [name for name in configs if f'configs/{name}' not in text]


def test_an_arrow_goes_down_in_each_column_that_two_boxes_share(boxes):
  text = """
0 0 2 data image
0 1 2 network encoder
1 2 1 slow target
image > encoder
encoder | target: rows
encoder ~ target
"""
  found, arrows = boxes.parsed(text)
  assert found['image'] == (0, 0, 2, 'data', 'image')
  assert arrows[1] == ('encoder', '|', 'target', 'rows')
  assert len(boxes.columns(found['image'], found['encoder'])) == 2
  (x,) = boxes.columns(found['encoder'], found['target'])
  assert found['target'].left < x < found['target'].right
  drawn = boxes.svg(text)
  assert drawn.count('#b00020') == 4  # two bars at the arrow, two in the legend
  assert all(explained in drawn for explained in boxes.LEGEND.values())


def test_boxes_hold_their_labels(boxes):
  for path in sorted((DOCS / 'draw' / 'methods').glob('*.boxes')):
    for box in boxes.parsed(path.read_text())[0].values():
      assert 7.2 * len(box.label) < box.right - box.left, (path.name, box.label)
