"""The scripts that draw the pictures of the docs."""

import os
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
DOCS, SCRIPTS = ROOT / 'docs', ROOT / 'docs' / 'draw'


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
