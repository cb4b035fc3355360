"""A run folder that version 0.1.0 made and left in the middle of a stage."""

import json
import pathlib
import tarfile

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_ocr

import ssljax
from ssljax import main
from ssljax.methods import recognize

FIXTURE = pathlib.Path(__file__).parent / 'fixtures' / 'run_0.1.0.tar.gz'


@pytest.fixture
def folder(tmp_path):
  """`run`, stopped in `finetune`; beside it what 0.1.0 itself made of it."""
  # Python 3.11 has it from 3.11.4 on.
  safely = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
  with tarfile.open(FIXTURE) as archive:
    archive.extractall(tmp_path, **safely)
  return tmp_path


def _lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_loads(folder):
  reader = ssljax.load(folder / 'run', stage='head')
  ((text, confidence),) = reader.recognize(np.zeros((32, 96), np.uint8))
  assert set(text) <= set('0123456789')
  assert 0 < confidence <= 1
  assert reader.encode(np.zeros((32, 96), np.uint8)).shape == (1, 24, 16)


def _seen(learner, views, key, batch):
  """One view; 0.1.0 counts all frames of an image that is not padded."""
  ((images, columns),) = views(key, batch['image'], batch['index'])
  return images, jnp.ones(columns.shape, bool)


@pytest.mark.slow
def test_it_is_resumed_to_the_same_end(folder, tmp_path, monkeypatch):
  """Step by step what 0.1.0 would have done; another processor rounds."""
  monkeypatch.setattr(recognize, 'seen', _seen)
  config = tiny_ocr.get_config()
  config.mapping = 'jit'
  del config.standardize  # what 0.1.0 does not know
  for stage in ('head', 'finetune', 'supervised'):
    # 0.1.0 may cut a labelled view, and bends none.
    del config[stage].views.keep, config[stage].views.bend
  main.run(config, folder / 'run', str(tmp_path / 'data'), lambda: False)
  for stage in ('finetune', 'supervised'):
    found = _lines(folder / 'run' / stage / 'metrics.jsonl')
    expected = _lines(folder / f'{stage}.jsonl')
    assert [line['step'] for line in found] == [
      line['step'] for line in expected
    ]
    for name in ('loss', 'gradient_norm', 'update_norm'):
      np.testing.assert_allclose(
        [line[name] for line in found],
        [line[name] for line in expected],
        rtol=1e-3,
      )
  results, expected = (
    json.loads((folder / path).read_text())
    for path in ('run/results.json', 'results.json')
  )
  assert list(results) == list(expected)
  rows, old = (each['32 labels']['rows'] for each in (results, expected))
  assert list(rows) == list(old)
  for name, row in rows.items():
    for key in ('labels', 'learning_rates'):
      assert row[key] == old[name][key], (name, key)
    # Another version of XLA may count the same step otherwise.
    assert row['flops'] == pytest.approx(old[name]['flops'], rel=0.02)
