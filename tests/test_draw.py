"""The scripts that draw the pictures of the docs."""

import os
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ssljax.records import read_json, write_json

ROOT = pathlib.Path(__file__).parent.parent
DOCS, SCRIPTS = ROOT / 'docs', ROOT / 'docs' / 'draw'
sys.path.insert(0, str(SCRIPTS))  # as if one of them was started


def _draw(name, *arguments):
  run = subprocess.run(
    [sys.executable, f'docs/draw/{name}.py', *map(str, arguments)],
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  return run.stdout


def _pixels(path):
  with Image.open(path) as image:
    return np.asarray(image.convert('RGB'), int)


def _share_that_differs(path, expected, *, by):
  found, expected = _pixels(path), _pixels(expected)
  assert found.shape == expected.shape
  return np.mean(np.abs(found - expected).max(axis=2) > by)


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize('name', ['layouts', 'glyphs', 'policies'])
def test_docs_show_what_the_code_draws(name, tmp_path):
  """A picture of the docs is drawn anew when what it shows has changed."""
  out = tmp_path / 'out.png'
  _draw(name, out)
  # Another processor rounds views differently; a changed policy or layout
  # changes a row or a tile, of which there are at most thirteen.
  assert _share_that_differs(out, DOCS / f'{name}.png', by=2) < 0.01


@pytest.mark.slow  # trains
def test_clusters(tmp_path):
  out = tmp_path / 'out.png'
  lines = _draw('clusters', out, 'smoke').splitlines()
  assert _pixels(out).shape == _pixels(DOCS / 'clusters.png').shape
  names = ('SwAV', 'DeepCluster v1', 'DeepCluster v2')
  for line, name in zip(lines, names, strict=True):
    assert line.startswith(f'{name} epoch 0 ')
    purity, entropy, used = map(float, line.split()[-3:])
    assert 0.1 < purity < 1 and 0 < entropy < 1 and 1 < used < 128


def test_figures_of_clusters():
  """Two images of one class; one image of the other class among four."""
  figures = runpy.run_path(str(SCRIPTS / 'clusters.py'))['figures']
  clusters, labels = np.array([0, 0, 2, 2, 2, 2]), np.array([0, 0, 0, 0, 0, 1])
  purity, entropy, used = figures(clusters, labels)

  def of(share):
    return -share * np.log(share) - (1 - share) * np.log(1 - share)

  assert purity == 5 / 6
  np.testing.assert_allclose(entropy, 4 / 6 * of(1 / 4) / of(1 / 6))
  np.testing.assert_allclose(used, np.exp(of(1 / 3)))


def test_pretext_shows_the_last_pictures(tmp_path):
  """Of each stage its last grid: the first five rows of eight, enlarged."""
  main = runpy.run_path(str(SCRIPTS / 'pretext.py'))['main']
  for value, stage in ((50, 'pretrain_pix2pix_0'), (90, 'autoencoder')):
    folder = tmp_path / stage / 'pictures'
    folder.mkdir(parents=True)
    rows = np.repeat(np.arange(8) + value, 10)[:, None, None]
    grid = np.broadcast_to(rows, (80, 30, 3)).astype(np.uint8)
    Image.fromarray(grid).save(folder / '0000200.png')
    Image.fromarray(grid + 100).save(folder / '0000020.png')
  out = tmp_path / 'out.png'
  main(str(out), str(tmp_path), 'pretrain_pix2pix_0', 'autoencoder')
  pixels = _pixels(out)
  # Below a title of 20 pixels, at twice the size.
  shown = [pixels[20:120, left : left + 60, 0] for left in (0, 72)]
  for found, value in zip(shown, (50, 90), strict=True):
    expected = np.repeat(np.arange(5) + value, 20)
    np.testing.assert_array_equal(found, np.tile(expected[:, None], 60))


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize('name', ['labels', 'folders', 'exported'])
def test_a_page_is_of_its_results(name):
  _draw(name, '--check')


def test_the_page_of_folders_has_the_means_over_draws(tmp_path):
  """Of each number of labels and start, in the order of the stages."""
  folders = runpy.run_path(str(SCRIPTS / 'folders.py'))['main']

  def record(labels, start, row, accuracy, exact):
    return {
      'labels': labels,
      'start': start,
      'row': row,
      'edit_distance_accuracy': accuracy,
      'exact_match': exact,
      'tflop': 2.04,
    }

  found = [
    record(30, 'rendered', 'finetune', 0.7, 0.2),
    record(30, 'rendered', 'finetune', 0.9, 0.4),
    record(0, 'both', 'self-training', 0.8, 0.3),
    record(30, 'pretrain', 'finetune', 0.6, 0.1),
  ]
  for name in ('captcha', 'handwriting'):
    write_json(tmp_path / 'results' / f'{name}.json', found)
  with pytest.raises(SystemExit, match=r'Found folders.md of other'):
    folders(['--check'], tmp_path)
  folders([], tmp_path)
  folders(['--check'], tmp_path)
  lines = (tmp_path / 'folders.md').read_text().splitlines()
  cells = [
    tuple(cell.strip() for cell in line.strip('|').split('|'))
    for line in lines
    if line.startswith(('|      0', '|     30'))
  ]
  kind = [
    ('0', 'pretraining, then rendered text', 'self-training'),
    ('30', 'pretraining', 'finetune'),
    ('30', 'rendered text', 'finetune'),
  ]
  figures = [
    ('0.800', '0.300', '2.0', '1'),
    ('0.600', '0.100', '2.0', '1'),
    ('0.800 ± 0.141', '0.300 ± 0.141', '2.0', '2'),
  ]
  expected = [(*a, *b) for a, b in zip(kind, figures, strict=True)]
  assert cells == expected * 2


@pytest.mark.slow  # starts a process
def test_the_pages_of_reliability_are_of_their_results():
  if not (DOCS / 'results' / 'reliability.json').exists():
    pytest.skip('what a run survives has no results yet')
  _draw('reliability', '--check')


def test_the_page_of_reliability_says_what_was_missed(tmp_path):
  main = runpy.run_path(str(SCRIPTS / 'reliability.py'))['main']
  made = {'what': 'Killed.', 'goal': 'equal', 'machine': '2 cores', 'notes': ''}
  made['page'] = 'reliability'
  records = {
    'local': {**made, 'tries': 1, 'passed': 1, 'figure': '', 'met': True},
    'kill': {**made, 'tries': 9, 'passed': 9, 'figure': '', 'met': True},
    'full': {**made, 'tries': 9, 'passed': 7, 'figure': '4 s', 'met': False},
  }
  records['local']['page'] = 'devices'
  records['full']['notes'] = 'Two wrote too much.'
  write_json(tmp_path / 'results' / 'reliability.json', records)
  main([], tmp_path)
  text = (tmp_path / 'reliability.md').read_text()
  lines = [line.split('|') for line in text.splitlines() if '`full`' in line]
  assert [cell.strip() for cell in lines[0][4:6]] == ['7 of 9: 4 s', '**no**']
  assert lines[1] == ['- `full`: Two wrote too much.']
  assert '| 9 of 9 ' in text and 'local' not in text
  assert '`local`' in (tmp_path / 'devices.md').read_text()
  main(['--check'], tmp_path)
  records['full']['passed'] = 8
  write_json(tmp_path / 'results' / 'reliability.json', records)
  with pytest.raises(SystemExit, match='other results'):
    main(['--check'], tmp_path)


def _record(labels, row, accuracy, *, layouts='all', sd=0.015):
  return {
    'label_set': f'{labels} labels',
    'labels': labels,
    'layouts': layouts,
    'row': row,
    'edit_distance_accuracy': accuracy,
    'exact_match': accuracy / 2,
    'sd': sd,
    'low': sd and accuracy - 0.1,
    'high': sd and accuracy + 0.05,
    'by_draw': [accuracy] * 3 if sd else [accuracy],
    'exact_match_sd': sd and 2 * sd,
    'tflop': 7.25,
  }


@pytest.fixture
def labels(tmp_path):
  """`main` of the script, with a folder of made-up results."""
  made = [
    _record(30, 'supervised', 0.5, sd=None),
    _record(30, 'whole recipe', 0.85),
    _record(100, 'supervised', 0.9),
    _record(100, 'whole recipe', 0.95),
    _record(500, 'whole recipe', 0.75, layouts='unlabelled'),
  ]
  write_json(tmp_path / 'results' / 'labels.json', made)
  script = runpy.run_path(str(SCRIPTS / 'labels.py'))
  return lambda *arguments: script['main'](arguments, docs=tmp_path)


def test_the_page_of_labels_shows_every_record(labels, tmp_path):
  labels()
  text = (tmp_path / 'labels.md').read_text()
  few, many, part = text.split('\n## ')[1:]
  assert few.startswith('30 labels\n') and many.startswith('100 labels\n')
  assert part.startswith('500 labels, tested on the layouts without labels\n')
  cells = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in few.splitlines()
    if line.startswith('|')
  ]
  assert cells[2:] == [
    ['supervised', '0.500', '0.250', '7.2', '1'],
    ['whole recipe', '0.850 ± 0.015', '0.425 ± 0.030', '7.2', '3'],
  ]
  assert '0.900 ± 0.015' in many and '0.950' in many and '0.750' in part
  assert '{' not in text


def test_the_picture_of_labels_has_a_line_for_each_row(labels, tmp_path):
  script = runpy.run_path(str(SCRIPTS / 'labels.py'))
  found = read_json(tmp_path / 'results' / 'labels.json')
  assert script['curves'](found) == {
    # One draw has no band.
    'supervised': [[30, 0.5, 0.5, 0.5], [100, 0.9, 0.8, 0.9 + 0.05]],
    'whole recipe': [
      [30, 0.85, 0.85 - 0.1, 0.85 + 0.05], [100, 0.95, 0.95 - 0.1, 0.95 + 0.05]
    ],
  }  # fmt: skip
  labels()
  pixels = _pixels(tmp_path / 'labels.png').reshape(-1, 3)
  for color in ([0, 0, 0], [0xE6, 0x9F, 0]):
    assert (pixels == color).all(axis=1).sum() > 100


def _image_run(folder, values):
  """A run on images whose one row has these accuracies, a draw each."""
  rows = [
    ['5 labels a class: the whole recipe', list(values)],
    ['10 labels a class: the whole recipe', ['unfinished']],
  ]
  config = {'data': {'name': 'digits'}, 'seed': 4, 'rows': rows}
  for seed, (name, value) in enumerate(values.items()):
    data = {'per_class': 5}
    config[name] = {'seed': seed, 'take': {}, 'data': data}
    protocol = {'evaluation': 'classifier', 'labels': 50, 'test': 9}
    figure = {'value': value, 'low': 0, 'high': 1, 'protocol': protocol}
    done = {'flops': (seed + 1) * 1e12, 'evaluation': {'classifier': figure}}
    write_json(folder / name / 'stage.json', done)
  write_json(folder / 'config.json', config | {'recipe': list(values)})


def test_a_run_on_images_gives_a_table_of_the_page(labels, tmp_path):
  run, results = tmp_path / 'run', tmp_path / 'results'
  _image_run(run, {'a': 0.7, 'b': 0.8, 'c': 0.9})
  before = (results / 'labels.json').read_text()
  labels()
  page = (tmp_path / 'labels.md').read_text()
  labels(run)
  assert (results / 'labels.json').read_text() == before
  (record,) = read_json(results / 'labels_images.json')
  half = 4.302653 * 0.1 / np.sqrt(3)  # Student's t of two degrees of freedom
  assert record.pop('low') == pytest.approx(0.8 - half)
  assert record.pop('high') == 1  # no accuracy is above
  assert record.pop('accuracy') == pytest.approx(0.8)
  assert record.pop('sd') == pytest.approx(0.1)
  assert record == {
    'dataset': 'digits',
    'labels_per_class': 5,
    'row': 'the whole recipe',
    'by_draw': [0.7, 0.8, 0.9],
    'seeds': [4, 5, 6],
    'images': 9,
    'tflop': 2.0,
  }
  longer = (tmp_path / 'labels.md').read_text()
  assert longer.startswith(page)
  cells = longer.splitlines()[-1].strip('| ').split('|')
  assert [cell.strip() for cell in cells] == [
    *('5', 'the whole recipe', '0.800 ± 0.100', '0.552 to 1.000', '2.0', '3')
  ]
  labels('--check')
  _image_run(run, {'a': 0.0, 'b': 0.1, 'c': 0.2})
  labels(run)
  assert read_json(results / 'labels_images.json')[0]['low'] == 0
  (tmp_path / 'labels.md').write_text(longer)
  with pytest.raises(SystemExit, match=r'Found labels.md of other'):
    labels('--check')


def test_the_check_of_labels_tells_other_results(labels, tmp_path):
  path = tmp_path / 'results' / 'labels.json'
  with pytest.raises(SystemExit, match=r'labels.md and labels.png of other'):
    labels('--check')  # before they are made
  labels()
  labels('--check')
  made = read_json(path)
  page = (tmp_path / 'labels.md').read_text()
  (tmp_path / 'labels.md').write_text(page.replace('0.850', '0.950'))
  with pytest.raises(SystemExit, match=r'Found labels.md of other'):
    labels('--check')
  labels()
  # On the page a thousandth is the least; the picture has every digit.
  made[1]['high'] -= 1e-6
  write_json(path, made)
  with pytest.raises(SystemExit, match=r'Found labels.png of other'):
    labels('--check')
  path.unlink()
  labels('--check')  # nothing was measured yet
  with pytest.raises(SystemExit, match='expected results'):
    labels()
