"""What a method carries from step to step survives a stop: bit by bit.

And what a run tells: a stop inside a window of the log changes no line.
"""

import functools

import jax
import logged
import numpy as np
import pytest
import tiny_ocr

from configs import deepcluster_ocr, moco_ocr, pretext_ocr, simclr_ocr
from ssljax import main, train
from ssljax.checkpoint import read
from ssljax.records import read_lines

STEPS = 12


def _task(task, scale):
  config = pretext_ocr.get_config(f'{scale},task={task}')
  config.pretrain.method.update(
    pool=16, decoder={'width': 4}, critic={'widths': (4, 4)}
  )
  return config


def _self_training(scale):
  config = simclr_ocr.get_config(scale)
  config.pretrain = config.self_train
  config.pretrain.take = {}
  config.pretrain.data.update(count=3, labelled=4)
  return config


# With the step to stop at: epochs are of 8 steps, a checkpoint is due every 5.
RECIPES = {
  # A queue with its pointer, and a momentum copy.
  'moco': (moco_ocr.get_config, 6),
  # A memory. At the end of an epoch: what begins the next is in no checkpoint.
  'deepcluster_v2': (deepcluster_ocr.get_config, 8),
  # Two pools of pictures, and critics with an optimizer of their own.
  'cyclegan': (functools.partial(_task, 'cyclegan'), 6),
  # A teacher, and two orders of examples that are not of one length. Three
  # labels are fewer than a batch has.
  'self_training': (_self_training, 6),
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def _config(name):
  config = tiny_ocr.get_config()
  made = RECIPES[name][0]('smoke')
  config.pretrain = made.pretrain
  config.projector, config.predictor = made.projector, made.predictor
  config.projector.width = 16
  config.pretrain.steps, config.pretrain.batch_size = STEPS, 8
  if 'strokes' in config.pretrain.views:
    config.pretrain.views.strokes = 0
  config.mapping = 'jit'
  method = config.pretrain.method
  for option, value in (
    ('queue_steps', 3), ('clusters', 6)
  ):  # fmt: skip
    if option in method:
      method[option] = value
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


def _lines(run):
  lines = read_lines(run / 'pretrain' / 'metrics.jsonl')
  return [line | {'seconds': 0} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_stopped_and_resumed_is_bit_equal(
  name, tmp_path, data_dir, monkeypatch
):
  """Whether or not a tracker is told of it, which is told each line once."""
  starts = logged.fake_wandb(monkeypatch)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  main.run(_config(name), whole, str(data_dir), _stopper(None))
  place = RECIPES[name][1]
  with pytest.raises(train.Stopped):
    main.run(
      _config(name), parts, str(data_dir), _stopper(place), track=['wandb']
    )
  assert read(parts / 'pretrain' / 'checkpoints').step == place
  main.run(_config(name), parts, str(data_dir), _stopper(None), track=['wandb'])
  a, b = (read(run / 'pretrain' / 'checkpoints') for run in (whole, parts))
  assert a.step == b.step == STEPS
  jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
  lines, others = (_lines(run) for run in (whole, parts))
  assert lines == others
  assert [line['step'] for line in lines] == [4, 5, 8, 10, 12]
  told = [line for start in starts for line in start.lines]
  figures = [line for line in told if 'pretrain/loss' in line]
  assert [line | {'pretrain/seconds': 0} for line in figures] == [
    {f'pretrain/{name}': value for name, value in line.items()}
    for line in lines
  ]
  ends = [line for line in told if 'pretrain/end/steps' in line]
  assert [line['pretrain/step'] for line in ends] == [STEPS]
  assert [start.status for start in starts] == [1, 0]
  assert len({start.id for start in starts}) == 1
  drawn = [line['pretrain/step'] for line in told if 'pretrain/task' in line]
  pictures = sorted((parts / 'pretrain' / 'pictures').glob('*.png'))
  assert drawn == [int(path.stem) for path in pictures]
  for name in ('results.json', 'pretrain/stage.json'):
    assert (whole / name).read_text() == (parts / name).read_text()
  moved = jax.tree.leaves(a.state['params']['encoder'])
  assert all(np.isfinite(leaf).all() for leaf in moved)
