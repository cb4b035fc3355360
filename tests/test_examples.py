"""Every program of examples/, at a small size, as a person starts it."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # starts processes
ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / 'examples').glob('*.py'))
SMALL = {'simclr.py': ('--steps=20', '--batch_size=64')}


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


@pytest.mark.parametrize('name', EXAMPLES)
def test_the_loss_of_an_example_falls(outputs, name):
  found, _ = outputs
  first, *_, last = _figures(found[name], r'loss (\d+\.\d+)')
  assert last < first - 0.3


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


def test_simclr_refuses_other_arrays(tmp_path):
  np.save(tmp_path / 'images.npy', np.zeros((20, 12, 12, 3)))
  run = _run('simclr.py', f'--images={tmp_path / "images.npy"}')
  assert run.returncode == 1
  assert 'Found float64 (20, 12, 12, 3)' in run.stderr
  assert 'expected uint8 (count, height, width, 3)' in run.stderr
