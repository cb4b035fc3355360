"""What a method carries from step to step survives a stop: bit by bit."""

import jax
import numpy as np
import pytest
import tiny_ocr

from configs import (
  byol_ocr,
  deepcluster_ocr,
  metric_ocr,
  moco_ocr,
  simsiam_ocr,
  swav_ocr,
)
from ssljax import main, train
from ssljax.checkpoint import read

# Epochs are of 8 steps: a stop inside the first, at its end, and in the second.
STOPS, STEPS = (3, 8, 13), 16
RECIPES = {
  'moco': moco_ocr.get_config,
  'byol': byol_ocr.get_config,
  'simsiam': simsiam_ocr.get_config,
  'swav': swav_ocr.get_config,
  'deepcluster': lambda arg: deepcluster_ocr.get_config(f'{arg},version=1'),
  'deepcluster_v2': deepcluster_ocr.get_config,
  'metric': metric_ocr.get_config,
}


@pytest.fixture(scope='module', autouse=True)
def quick_compilation():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def _config(name):
  config = tiny_ocr.get_config()
  made = RECIPES[name]('smoke')
  config.pretrain = made.pretrain
  config.projector, config.predictor = made.projector, made.predictor
  config.projector.width = 16
  config.pretrain.steps, config.pretrain.batch_size = STEPS, 8
  config.pretrain.views.strokes = 0
  config.mapping = 'jit'
  method = config.pretrain.method
  for option, value in (
    ('queue_steps', 3), ('clusters', 6), ('prototypes', 6)
  ):  # fmt: skip
    if option in method:
      method[option] = value
  # Neither a stop nor an epoch falls on a checkpoint of its own.
  config.checkpoint_every, config.log_every = 5, 4
  config.recipe, config.rows, config.differences = ('pretrain',), (), ()
  for stage in ('head', 'finetune', 'supervised'):
    del config[stage]
  return config


def _stopper(after):
  """Asks for a stop in the step `after` of this start; None for never."""
  calls = []

  def stop():
    calls.append(None)
    # The first question is before the stage.
    return after is not None and len(calls) > after

  return stop


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_stopped_and_resumed_is_bit_equal(name, tmp_path, data_dir):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  main.run(_config(name), whole, str(data_dir), _stopper(None))
  done = 0
  for place in STOPS:
    with pytest.raises(train.Stopped):
      main.run(_config(name), parts, str(data_dir), _stopper(place - done))
    done = read(parts / 'pretrain' / 'checkpoints').step
    assert done == place
  main.run(_config(name), parts, str(data_dir), _stopper(None))
  a, b = (read(run / 'pretrain' / 'checkpoints') for run in (whole, parts))
  assert a.step == b.step == STEPS
  jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
  moved = jax.tree.leaves(a.state['params']['encoder'])
  assert all(np.isfinite(leaf).all() for leaf in moved)
