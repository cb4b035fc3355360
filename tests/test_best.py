"""The best checkpoint by validation is kept apart from the newest."""

import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import checkpoint
from ssljax.best import Best
from ssljax.checkpoint import Checkpoints


def state(step):
  return {'step': jnp.int32(step), 'params': jnp.full(3, step, jnp.float32)}


def run(folder, scores, *, start=0):
  with Checkpoints(folder / 'checkpoints', keep=2) as checkpoints:
    best = Best(
      checkpoints, folder, lambda state: scores[int(state['step'])], {'a': 1}
    )
    for step in range(start, len(scores)):
      best.save(step, state(step))


def test_the_first_of_the_best_is_kept(tmp_path):
  run(tmp_path, [0.1, 0.7, 0.3, 0.7, 0.2])
  assert checkpoint.steps_in(tmp_path / 'checkpoints') == [3, 4]
  assert checkpoint.steps_in(tmp_path / 'best') == [1]
  saved = checkpoint.read(tmp_path / 'best')
  assert saved.metadata == {'a': 1, 'validation_score': 0.7}
  np.testing.assert_array_equal(saved.state['params'], np.ones(3, np.float32))


def test_a_run_that_goes_on_knows_the_best(tmp_path):
  scores = [0.1, 0.7, 0.3, 0.8, 0.2]
  run(tmp_path, scores[:3])
  run(tmp_path, [0.1, 0.7, 0.3, 0.6], start=3)
  assert checkpoint.steps_in(tmp_path / 'best') == [1]
  run(tmp_path, [0, 0, 0, 0, 0.9], start=4)
  assert checkpoint.steps_in(tmp_path / 'best') == [4]


def test_a_save_that_a_signal_asked_for_is_not_scored(tmp_path):
  """Or the best would be another than that of an undisturbed run."""
  scores = [0.1, 0.9, 0.3]
  with Checkpoints(tmp_path / 'checkpoints', keep=3) as checkpoints:
    best = Best(
      checkpoints,
      tmp_path,
      lambda state: scores[int(state['step'])],
      {},
      lambda step: step != 1,
    )
    for step in range(3):
      best.save(step, state(step))
  assert checkpoint.steps_in(tmp_path / 'checkpoints') == [0, 1, 2]
  assert checkpoint.steps_in(tmp_path / 'best') == [2]


def test_a_kill_during_the_score_repeats_it(tmp_path):
  class Killed(Exception):
    pass

  def score(state):
    raise Killed

  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    with pytest.raises(Killed):
      Best(checkpoints, tmp_path, score, {}).save(0, state(0))
    checkpoints.finish()
  assert checkpoint.steps_in(tmp_path / 'checkpoints') == []
