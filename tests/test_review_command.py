"""`python -m ssljax.review`: the page of a run, from its folder."""

import csv
import re
import shutil

import making
import numpy as np
import pytest
import tiny_ocr
from PIL import Image, ImageDraw

import ssljax
from configs import common
from ssljax import review, workdir
from ssljax.data import datasets
from ssljax.errors import UserError
from ssljax.records import write_json
from ssljax.text import BLANK

pytestmark = pytest.mark.slow  # compiles a reader five times
ALL, LABELLED = 12, 6


def _folder(path):
  path.mkdir()
  rng = np.random.default_rng(0)
  for place in range(ALL):
    text = ''.join(rng.choice(list('ab4'), 3))
    noise = rng.integers(0, 256, (24, 60 + place, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    ImageDraw.Draw(image).text((8, 4), text, fill=0)
    image.save(path / f'{place:02}.png')
  _label(path, {f'{place:02}.png': 'ab4' for place in range(LABELLED)})
  return path


def _label(path, labels):
  with (path / 'labels.csv').open('w', newline='') as file:
    csv.writer(file).writerows([('file', 'text'), *labels.items()])


def _config(directory):
  config = tiny_ocr.get_config()
  config.data = common.own_data(str(directory))
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='unused')
  config.data.update(dataset.resolved)
  return config


def _save(folder, config, stage):
  """A stage of random arrays."""
  method = making.method(config, stage)
  batch = {
    'image': np.zeros((8, config.data.height, config.data.width, 3), np.uint8),
    'index': np.arange(8, dtype=np.int32),
    'label': np.ones((8, 3), np.int32),
    'width': np.full(8, config.data.width, np.int32),
  }
  params, method_state = making.arrays(method, batch)
  if 'head' in params:
    params['head']['Dense_1']['bias'][BLANK] = 2
  making.save(folder, config, stage, params, method_state)


@pytest.fixture(scope='module')
def own(tmp_path_factory):
  return _folder(tmp_path_factory.mktemp('own') / 'images')


@pytest.fixture(scope='module')
def run(own, tmp_path_factory):
  folder, config = tmp_path_factory.mktemp('run'), _config(own)
  write_json(folder / 'config.json', config.to_dict())
  for stage in ('pretrain', 'finetune'):
    _save(folder, config, stage)
  return folder


def _shown(path):
  """(label, reading) by file, in the order of the page."""
  text = path.read_text(encoding='utf-8')
  found = re.findall(
    r'data-file="([^"]*)" data-label="([^"]*)" data-reading="([^"]*)"', text
  )
  assert len(found) == text.count('<li class="item')
  return {file: (label, reading) for file, label, reading in found}


def test_a_page_has_all_images_with_what_the_run_reads(own, run):
  path, counts = review.write(run, count=2)
  assert path == run / 'review.html'
  shown = _shown(path)
  files = sorted(shown)
  assert files == [f'{place:02}.png' for place in range(ALL)]
  assert sum(counts.values()) == ALL and counts['next'] == 2
  expected = ssljax.load(run).recognize([own / file for file in files])
  assert [shown[file][1] for file in files] == [text for text, _ in expected]
  # An untrained network does not read the same everywhere, or all would pass.
  assert len({text for text, _ in expected}) > 3
  labels = ['ab4'] * LABELLED + [''] * (ALL - LABELLED)
  assert [shown[file][0] for file in files] == labels
  following = [*shown][counts['wrong'] : counts['wrong'] + 2]
  assert all(shown[file][0] == '' for file in following)
  assert all(shown[file][0] for file in [*shown][: counts['wrong']])


def test_labels_are_those_that_the_folder_has_now(own, run, tmp_path):
  """With characters that the run cannot read, and no reading of the rest."""
  before = (own / 'labels.csv').read_text()
  _label(own, {'03.png': 'ä x', '11.png': 'ab'})
  try:
    path, counts = review.write(run, most=5, count=1, out=tmp_path / 'a.html')
  finally:
    (own / 'labels.csv').write_text(before)
  shown = _shown(path)
  assert len(shown) == 5 and counts['next'] == 1
  assert next(iter(shown)) == '03.png' and shown['03.png'][0] == 'ä x'


def test_the_folder_is_found_from_elsewhere(own, tmp_path, monkeypatch):
  monkeypatch.chdir(own.parent)
  data = common.own_data('images').to_dict()
  facts = datasets.open_dataset(data, data_dir='unused').survey().facts()
  monkeypatch.chdir(tmp_path)
  # A run from before there was such a file.
  assert workdir.found_data(data, tmp_path) == data
  write_json(tmp_path / 'data.json', facts)
  assert workdir.found_data(data, tmp_path) == data | {'directory': str(own)}
  facts['directory']['path'] += 'gone'
  write_json(tmp_path / 'data.json', facts)
  assert workdir.found_data(data, tmp_path) == data


def test_confidences_have_the_temperature_of_the_stage(own, run, tmp_path):
  copy = shutil.copytree(run, tmp_path / 'copy')
  write_json(
    copy / 'finetune' / 'stage.json', {'calibration': {'temperature': 9}}
  )
  plain, soft = (review.opened(folder) for folder in (run, copy))
  found = review.images_of(plain.run)
  seen = [each.see(found.source, found.labels) for each in (plain, soft)]
  assert seen[0].texts == seen[1].texts
  assert (seen[1].reading < seen[0].reading - 1).all()


def test_what_is_not_reviewed(own, run, tmp_path, monkeypatch, capsys):
  with pytest.raises(UserError, match=r"'pretrain', which does not read"):
    review.write(run, stage='pretrain')
  for options in ({'most': 0}, {'count': -1}):
    with pytest.raises(UserError, match=r'Change --most or --next'):
      review.write(run, **options)
  with pytest.raises(UserError, match=r'rendered images.*data=DIR'):
    review.images_of(tiny_ocr.get_config().to_dict())
  with pytest.raises(SystemExit, match=r'UserError: Found no config\.json'):
    review.main([str(tmp_path)])


def test_the_command_says_what_it_found_and_where_it_is(run, capsys, tmp_path):
  out = tmp_path / 'my page.html'
  review.main([str(run / 'finetune'), '--next=3', f'--out={out}'])
  said = capsys.readouterr().out
  assert re.search(r'^\d labels that may be wrong, 3 images to label', said)
  assert out.as_uri() in said and out.exists()
