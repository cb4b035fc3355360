"""Examples of a stage, and every program of examples/ as a person starts it."""

import os
import pathlib
import re
import subprocess
import sys
import types

import making
import numpy as np
import pytest

from ssljax import examples
from ssljax.data import sources

slow = pytest.mark.slow  # starts processes
ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / 'examples').glob('*.py'))
SMALL = {'simclr.py': ('--steps=20', '--batch_size=64')}


def _source(count, first=0):
  """Examples whose pixels and texts tell them apart."""
  source = making.text_source([str(first + n) for n in range(count)], width=8)
  columns = source.gather(range(count))
  columns['image'][:] = (first + np.arange(count))[:, None, None, None]
  # As in a subset: indices that are no positions.
  columns['index'] = columns['index'] * 7 + 5
  return sources.MemorySource(columns, source.layouts)


def _alike(source, count):
  """What `gather` gives is what one by one gives."""
  batch = source.gather(np.arange(count)[::-1])
  singles = [source[place] for place in reversed(range(count))]
  assert set(batch) == set(singles[0])
  for name, column in batch.items():
    np.testing.assert_array_equal(column, [each[name] for each in singles])
  return {name: column[::-1] for name, column in batch.items()}


def test_a_repeated_source_shows_the_same_pixels_under_other_indices():
  source = _source(3)
  repeated = examples.enough(source, 8)
  assert len(repeated) == 9
  batch = _alike(repeated, 9)
  assert batch['index'].tolist() == list(range(9))
  assert batch['index'].dtype == np.int32
  assert batch['image'][:, 0, 0, 0].tolist() == [0, 1, 2] * 3
  assert batch['text'].tolist() == ['0', '1', '2'] * 3
  texts = [repeated.describe(place).text for place in range(9)]
  assert texts == batch['text'].tolist()
  for position in (-1, 9):
    with pytest.raises(IndexError):
      repeated[position]
  assert len(list(repeated)) == 9
  # Enough already: the source itself.
  assert examples.enough(source, 3) is source


def test_a_mixed_source_flags_its_labelled_examples():
  repeated = examples.enough(_source(3), 6)
  mixed = examples.Mixed(repeated, _source(5, first=100), 2)
  batch = _alike(mixed, 11)
  assert batch['labelled'].tolist() == [True] * 6 + [False] * 5
  assert batch['labelled'].dtype == bool
  assert batch['index'].tolist() == list(range(11))
  assert batch['text'].tolist() == ['0', '1', '2'] * 2 + [
    str(number) for number in range(100, 105)
  ]
  # In any order.
  places = [7, 0, 10, 3]
  found = mixed.gather(places)
  for name, column in found.items():
    np.testing.assert_array_equal(column, batch[name][places])


@pytest.mark.parametrize(
  ('labels', 'wanted', 'expected'),
  [(3, 0, 4), (199, 0, 4), (200, 0, 8), (200, 3, 3), (3, 5, 5)],
)
def test_a_batch_has_more_labelled_examples_where_there_are_more(
  labels, wanted, expected
):
  data = types.SimpleNamespace(open=lambda split: _source(40, first=500))
  options = {'unlabelled': 'unlabeled', 'labelled': wanted}
  stage = {'data': options, 'batch_size': 16}
  mixed = examples.mixed(stage, data, _source(labels))
  mixture = examples.mixture_of(mixed)
  assert mixture.batch == expected
  # Fewer labels than their part of a batch are repeated.
  assert mixture.examples == (labels if labels >= expected else 2 * labels)


def test_labels_are_counted_once():
  source, others = _source(3), _source(5, first=100)
  repeated = examples.enough(source, 8)
  for each in (
    source,
    repeated,
    examples.Mixed(source, others, 1),
    examples.Mixed(repeated, others, 2),
  ):
    assert examples.labelled_of(each) is source


def _run(name, *arguments):
  return subprocess.run(
    [sys.executable, f'examples/{name}', *arguments],
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )


def _figures(output, pattern):
  return [float(found) for found in re.findall(pattern, output)]


@pytest.fixture(scope='module')
def outputs(tmp_path_factory):
  """What each example prints, and the folder where it writes its features."""
  folder = tmp_path_factory.mktemp('examples')
  found = {}
  for name in EXAMPLES:
    run = _run(name, *SMALL[name], f'--out={folder / name}.npy')
    assert run.returncode == 0, run.stderr
    found[name] = run.stdout
  return found, folder


@slow
@pytest.mark.parametrize('name', EXAMPLES)
def test_the_loss_of_an_example_falls(outputs, name):
  found, _ = outputs
  first, *_, last = _figures(found[name], r'loss (\d+\.\d+)')
  assert last < first - 0.3


@slow
def test_simclr_beside_chance_and_raw_pixels(outputs):
  found, folder = outputs
  output = found['simclr.py']
  losses = _figures(output, r'loss (\d+\.\d+)')
  (chance,) = set(_figures(output, r'ln 127 = (\d+\.\d+)'))
  assert chance == pytest.approx(np.log(127), abs=1e-3)
  assert losses[-1] < chance - 0.3
  pixels, before, after = _figures(output, r'kNN accuracy (\d\.\d+)')
  assert pixels == pytest.approx(0.935, abs=0.01)  # as in docs/images.md
  # Features of the same digits, by two networks; chance is 0.1.
  assert before != after and min(before, after) > 0.6
  features = np.load(folder / 'simclr.py.npy')
  assert features.shape == (1200, 128) and features.std(axis=0).min() > 0


@slow
def test_simclr_learns_from_an_array(tmp_path):
  """Of one's own images, which have no labels."""
  images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), np.uint8)
  np.save(tmp_path / 'images.npy', images)
  run = _run(
    'simclr.py',
    f'--images={tmp_path / "images.npy"}',
    f'--out={tmp_path / "features.npy"}',
    '--views=cifar',
    '--steps=2',
    '--batch_size=8',
  )
  assert run.returncode == 0, run.stderr
  assert len(_figures(run.stdout, r'loss (\d+\.\d+);')) == 2
  assert 'kNN' not in run.stdout
  assert np.load(tmp_path / 'features.npy').shape == (20, 128)


@slow
def test_simclr_refuses_other_arrays(tmp_path):
  np.save(tmp_path / 'images.npy', np.zeros((20, 12, 12, 3)))
  run = _run('simclr.py', f'--images={tmp_path / "images.npy"}')
  assert run.returncode == 1
  assert 'Found float64 (20, 12, 12, 3)' in run.stderr
  assert 'expected uint8 (count, height, width, 3)' in run.stderr
