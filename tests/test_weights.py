"""Files of weights: written, read, refused, and taken by a stage."""

import hashlib
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import simclr_images
from ssljax import main, workdir
from ssljax.checkpoint import read
from ssljax.errors import UserError
from ssljax.weights import (
  encoder_weights,
  read_encoder,
  read_weights,
  write_weights,
)

TINY = {'name': 'resnet', 'blocks': (1,), 'width': 8, 'stem': 'cifar'}


def test_a_file_has_what_was_written(tmp_path):
  path = tmp_path / 'a.safetensors'
  tensors = {
    'turned': np.arange(6, dtype='f').reshape(2, 3).T,
    'count': np.zeros((), np.int64),
  }
  write_weights(path, tensors, {'mean': '[0, 0, 0]'})
  found, metadata = read_weights(path)
  assert metadata == {'mean': '[0, 0, 0]'}
  assert found['count'].shape == () and found['count'].dtype == np.int64
  np.testing.assert_array_equal(found['turned'], tensors['turned'])


@pytest.mark.parametrize('content', [None, b'', b'\x80\x04pickled', b'PK\3\4'])
def test_other_files_are_refused(tmp_path, content):
  path = tmp_path / 'a.safetensors'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match='cannot be read as safetensors'):
    read_weights(path)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  """The file of a tiny ResNet, with a last layer, and its variables."""
  rng = np.random.default_rng(0)
  params, statistics = {}, {}
  for place, (side, channels) in enumerate([(3, 3), (3, 8), (3, 8)]):
    kernel = rng.normal(0, 0.2, (side, side, channels, 8))
    params[f'Conv_{place}'] = {'kernel': kernel.astype('f')}
    norm = rng.uniform(0.5, 1.5, (4, 8)).astype('f')
    params[f'BatchNorm_{place}'] = {'scale': norm[0], 'bias': norm[1]}
    statistics[f'BatchNorm_{place}'] = {'mean': norm[2], 'var': norm[3]}
  tensors, metadata = encoder_weights(params, statistics, height=8, width=8)
  path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
  write_weights(path, tensors | {'fc.weight': np.ones((10, 8), 'f')}, metadata)
  return path, params, statistics


@pytest.mark.parametrize('std', ['[1, 1]', '[1, 1, 0]', '[1, 1, NaN]', 'red'])
def test_pixels_that_are_none(weights, tmp_path, std):
  path, params, statistics = weights
  write_weights(tmp_path / 'a.safetensors', read_weights(path)[0], {'std': std})
  with pytest.raises(UserError, match='expected mean and std as JSON'):
    read_encoder(tmp_path / 'a.safetensors', params, statistics)


def test_a_file_that_says_nothing_is_of_imagenets_pixels(weights, tmp_path):
  path, params, statistics = weights
  write_weights(tmp_path / 'a.safetensors', read_weights(path)[0])
  found = read_encoder(tmp_path / 'a.safetensors', params, statistics)
  assert found.facts['std'] == [0.229, 0.224, 0.225]
  kernel = found.params['Conv_0']['kernel'] / params['Conv_0']['kernel']
  expected = np.broadcast_to(
    0.5 / np.array([[0.229], [0.224], [0.225]]), kernel.shape
  )
  np.testing.assert_allclose(kernel, expected, rtol=1e-5)


def _config(path):
  config = simclr_images.get_config(f'smoke,dataset=digits,size=8,take={path}')
  config.mapping, config.encoder = 'jit', ConfigDict(TINY)
  config.recipe, config.evaluation = ('pretrain',), {}
  return config


def _run(config, folder):
  return main.run(config, folder, 'unused', lambda: False)


def test_a_stage_takes_an_encoder_from_a_file(weights, tmp_path, capsys):
  path, params, statistics = weights
  config, folder = _config(path), tmp_path / 'run'
  _run(config, folder)
  state = read(folder / 'pretrain' / 'checkpoints').state
  batch_stats = state['method_state']['batch_stats']
  jax.tree.map(
    np.testing.assert_array_equal,
    (state['params']['encoder'], batch_stats['encoder']),
    (params, statistics),
  )
  assert 'left out: fc.weight' in capsys.readouterr().err
  taken = json.loads((folder / 'pretrain' / 'taken.json').read_text())
  assert taken['encoder']['file'] == str(path)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  assert taken['encoder']['sha256'] == digest
  # What the file cost is not known; the stage itself has no step.
  assert workdir.lineage(folder / 'pretrain') == {folder / 'pretrain'}
  # The same command finds all of it done, and takes nothing again.
  written = (folder / 'pretrain' / 'taken.json').stat().st_mtime_ns
  _run(_config(path), folder)
  assert (folder / 'pretrain' / 'taken.json').stat().st_mtime_ns == written


def test_a_file_of_another_encoder_is_told_before_the_first_step(
  weights, tmp_path
):
  config = _config(weights[0])
  config.encoder.width = 16
  with pytest.raises(UserError, match=r'tiny.*a tensor conv1.weight of shape'):
    _run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_only_an_encoder_comes_from_a_file(weights, tmp_path):
  config = _config(weights[0])
  config.recipe = ('finetune',)
  config.finetune.take = {'head': str(weights[0])}
  with pytest.raises(UserError, match="to take 'head' of stage 'finetune'"):
    _run(config, tmp_path / 'run')


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match=r'or a file of weights, which ends'):
    workdir.locate(tmp_path, ('a',), str(tmp_path / 'b.safetensors'))
