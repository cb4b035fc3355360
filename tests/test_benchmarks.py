"""Each benchmark runs from start to end, on little data of its own making."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ssljax.records import read_json

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))
folders = importlib.import_module('_folders')
handwriting = importlib.import_module('handwriting')
reliability = importlib.import_module('reliability')
performance = importlib.import_module('performance')
rows = importlib.import_module('_rows')
# What begins with an underscore is what benchmarks share.
BENCHMARKS = sorted((ROOT / 'benchmarks').glob('[!_]*.py'))
# The rows of those that have some; each is a test.
ROWS = {
  script.__name__: [
    (name,) for name, each in rows.ROWS.items() if each.page in script.PAGES
  ]
  for script in (reliability, performance)
}
# Each with its arguments.
COMMANDS = [
  pytest.param(path, ('--smoke', *row), id='-'.join((path.stem, *row)))
  for path in BENCHMARKS
  for row in ROWS.get(path.stem, [()])
]
# A line of what each prints; of one that is not named here, a figure.
PRINTED = {
  'captcha_folder': r'^8 images: exact match \d\.\d{3} \[.*edit-distance',
  'handwriting': r'^\| +16 \| supervised \| +1 \| -?\d\.\d{3} +\|',
  'clean_then_read': r'^\| cleaned by pretrain *\| *-?\d+\.\d{3} \|',
  'decoding': r'^digits, sharpness 6: best path [\d.]+ ms, search [\d.]+ ms$',
  'domain_classifier': r'^\| the images through pretrain \| [01]\.\d{3} \[',
  'exported': r'^32x96 int8: one image [\d.]+ ms \(.*, images a second \d+ on',
  'folder_reading': r'^this: 40 pictures in [\d.]+ s\nother: 40 .*\nratio',
  'label_choice': r'^\| doubt and difference +\| +36 \| 4 +\| -?\d\.\d{3}',
  'performance': r'^[\w-]+: (\d+) of \1, .* \(\d+ s\)$',
  'reliability': r'^[\w-]+: (\d+) of \1, .* \(\d+ s\)$',
  'reading': r'^   9 images: [\d.]+ ms$',
  'rendering': r'^average +\d+ images/s$',
}


@pytest.mark.slow  # starts processes that train
@pytest.mark.parametrize(('path', 'arguments'), COMMANDS)
def test_a_benchmark_runs(path, arguments, tmp_path):
  if path.stem == 'captcha_folder':
    pytest.importorskip('captcha', reason='of the extra benchmarks')
  # On one device, as a person's run on CPU.
  flags = [
    flag
    for flag in os.environ['XLA_FLAGS'].split()
    if 'device_count' not in flag
  ]
  # The folders that it may write to. A proxy that does not exist, because
  # nothing may be downloaded.
  environment = os.environ | {
    'XLA_FLAGS': ' '.join(flags),
    'HOME': str(tmp_path),
    'TMPDIR': str(tmp_path),
    'SSLJAX_DATA_DIR': str(tmp_path / 'data'),
    'https_proxy': 'http://127.0.0.1:9',
    'http_proxy': 'http://127.0.0.1:9',
  }
  done = subprocess.run(
    [sys.executable, str(path), *arguments],
    cwd=tmp_path,  # works wherever the command is typed
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stdout + done.stderr[-2000:]
  expected = re.compile(PRINTED.get(path.stem, r'\d'), re.MULTILINE)
  assert expected.search(done.stdout), done.stdout
  assert f'{path.name} --smoke' in path.read_text()  # its docstring says so


def test_the_lines_are_those_of_benchmarks_that_exist():
  assert set(PRINTED) <= {path.stem for path in BENCHMARKS}


def _gray(split, place):
  """A picture whose only shade is its text."""
  shade = 10 * place + (split == 'new')
  return str(shade), Image.new('L', (2, 2), shade)


GRAY = folders.Kind('gray', _gray, count=20, labels=(4,), tested=3)


def _labels(folder):
  lines = (folder / 'labels.csv').read_text().splitlines()
  assert lines[0] == 'file,text'
  return dict(line.split(',') for line in lines[1:])


def test_folders_differ_in_their_labels_only(tmp_path):
  made = tmp_path / 'made'
  folders.make(GRAY, made, labels=(0, 4, 9), draws=2)
  pictures = {f'{place:05}.png' for place in range(20)}
  labels = {}
  for draw in range(2):
    for number in (0, 4, 9):
      folder = made / f'draw{draw}' / str(number)
      files = {path.name for path in folder.iterdir()}
      assert files == pictures | ({'labels.csv'} if number else set())
      for name in pictures:
        assert (folder / name).samefile(made / 'mine' / name)
      labels[draw, number] = _labels(folder) if number else {}
      assert len(labels[draw, number]) == number
    assert labels[draw, 4].items() <= labels[draw, 9].items()
  assert labels[0, 9] != labels[1, 9]
  assert labels[0, 9] == {
    name: str(10 * int(name[:5])) for name in labels[0, 9]
  }
  assert _labels(made / 'new') == {
    f'{place:05}.png': f'{10 * place + 1}' for place in range(3)
  }
  with Image.open(made / 'new' / '00002.png') as picture:
    assert picture.getpixel((0, 0)) == 21


@pytest.mark.parametrize('name', ['captcha_folder', 'handwriting'])
def test_a_picture_is_the_same_again_and_no_other(name):
  if name == 'captcha_folder':
    pytest.importorskip('captcha', reason='of the extra benchmarks')
  draw = importlib.import_module(name).draw
  places = [(split, place) for split in ('mine', 'new') for place in range(3)]
  first = [draw(*each) for each in places]
  assert first == [draw(*each) for each in places]
  assert len({picture.tobytes() for _, picture in first}) == len(places)
  for text, _ in first:
    assert text.isdigit() and 4 <= len(text) <= 6


def test_no_digit_is_in_a_folder_and_in_its_test():
  mine, new = (handwriting.written(split) for split in ('mine', 'new'))
  for ours, theirs in zip(mine, new, strict=True):
    assert 1.9 < len(ours) / len(theirs) < 2.1
    known = {digit.tobytes() for digit in ours}
    assert not known & {digit.tobytes() for digit in theirs}
  assert sum(map(len, mine)) + sum(map(len, new)) == 1797


def test_a_line_shows_its_digits_in_their_order(monkeypatch):
  """With a bar of its own height for each digit, and without noise."""
  bars = [np.zeros((1, 8, 8)) for _ in range(10)]
  for value, (bar,) in enumerate(bars):
    bar[:, : 1 + value % 3] = 1
  monkeypatch.setattr(handwriting, 'written', lambda split: bars)
  monkeypatch.setattr(handwriting, 'NOISE', 0.0)
  monkeypatch.setattr(handwriting, 'GAPS', (3, 3))
  for place in range(5):
    text, picture = handwriting.draw('mine', place)
    pixels = np.asarray(picture).astype(int)
    shades = np.unique(pixels)
    assert len(shades) == 2 and np.ptp(shades) >= handwriting.CONTRAST
    inked = (pixels != pixels[0, 0]).any(axis=0)
    starts = np.flatnonzero(np.diff(np.r_[0, inked]) == 1)
    ends = np.flatnonzero(np.diff(np.r_[inked, 0]) == -1) + 1
    heights = [
      (pixels[:, x] != pixels[0, 0]).sum() for x in (starts + ends) // 2
    ]
    # A bar of k of 8 columns is as wide as k eighths of its height.
    shares = np.rint(8 * (ends - starts) / heights)
    assert [1 + int(digit) % 3 for digit in text] == shares.tolist()


@pytest.fixture
def trained(monkeypatch):
  """The runs that a benchmark starts, of which none is started."""
  started = []

  def start(config, folder, data_dir, *flags):
    if len(started) == 2:
      raise InterruptedError
    started.append((config, *flags))

  def score(folder, new):
    draw = int(folder.name.split('-')[2])
    return [
      {
        'row': 'whole recipe',
        'stage': 'last',
        'edit_distance_accuracy': 0.5 + 0.25 * draw,
        'exact_match': 0.25,
        'tflop': 2.0,
        'seconds': 3.0,
      }
    ]

  monkeypatch.setattr(folders._smoke, 'run', start)
  monkeypatch.setattr(folders, 'score_stages', score)
  return started


def test_runs_go_on_after_an_interruption(tmp_path, trained, capsys):
  out, made = tmp_path / 'results.json', tmp_path / 'made'
  folders.make(GRAY, made, labels=(4, 9), draws=2)
  options = dict(labels=(4, 9), draws=2, start='both')
  with pytest.raises(InterruptedError):
    folders.run(GRAY, made, out, **options)
  assert [record['labels'] for record in read_json(out)] == [4, 9]
  first = trained[:]
  trained.clear()
  folders.run(GRAY, made, out, **options)
  data = [
    f'simclr_ocr.py:data={made}/draw{draw}/{number},charset=digits,start=both'
    for draw in range(2)
    for number in (4, 9)
  ]
  assert [config for config, *_ in first + trained] == data
  assert [flags for _, *flags in trained] == [['--config.seed=1']] * 2
  records = read_json(out)
  assert [(each['draw'], each['labels']) for each in records] == [
    (0, 4), (0, 9), (1, 4), (1, 9)
  ]  # fmt: skip
  assert records[3]['command'] == (
    'python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR/draw1/9,'
    'charset=digits,start=both --config.seed=1'
  )
  # 0.5 and 0.75 of the two draws.
  line = '| whole recipe |     2 | 0.625 ± 0.177          | 0.250 ± 0.000 |'
  assert f'|      4 {line}' in capsys.readouterr().out


def test_results_of_other_commands_stay(tmp_path, trained):
  out, made = tmp_path / 'results.json', tmp_path / 'made'
  folders.make(GRAY, made, labels=(4,), draws=1)
  for start in ('', 'both', 'both'):
    folders.run(GRAY, made, out, labels=(4,), draws=1, start=start)
  assert [each['start'] for each in read_json(out)] == ['default', 'both']


def test_a_row_of_reliability_is_kept_beside_the_others(tmp_path, monkeypatch):
  """A try that fails is a miss, unless the row itself says otherwise."""
  found = {
    'good': rows.Outcome(3, 3, '0.1 s'),
    'bad': rows.Outcome(3, 2, '', notes='One hung.'),
    'large': rows.Outcome(1, 1, '2 %', met=False),
    'untried': rows.Outcome(0, 0, ''),
  }
  monkeypatch.setattr(rows, 'ROWS', {})
  for name, outcome in found.items():
    rows.row(name, what='What.', goal='none')(
      lambda folder, smoke, outcome=outcome: outcome
    )
  with pytest.raises(ValueError, match='two rows'):
    rows.row('good', what='', goal='')(print)
  out = tmp_path / 'found.json'
  assert reliability.main(['--smoke', 'good'], out) == 0
  assert not out.exists()
  assert reliability.main(['good'], out) == 0
  assert reliability.main(['bad', 'large', 'untried'], out) == 1
  records = read_json(out)
  assert {name: each['met'] for name, each in records.items()} == {
    'good': True, 'bad': False, 'large': False, 'untried': False
  }  # fmt: skip
  assert records['bad']['notes'] == 'One hung.'
  assert records['good']['command'].endswith('reliability.py good')
  with pytest.raises(SystemExit, match='goood'):
    reliability.main(['goood'], out)
