"""However batches reach the step, they are the same, and so are their dues."""

import types

import numpy as np
import pytest

from ssljax import feed

COUNT = 26


class _Numbers:
  def __len__(self):
    return COUNT

  def gather(self, positions):
    return {'number': 10 * np.asarray(positions)}


def _stage(**options):
  defaults = {
    'mixture': None,
    'source': _Numbers(),
    'arrays': lambda batch: {'number': batch['number'] + 1},
    'batch_size': 2,
    'seed': 3,
    'steps': 20,
    'epoch': 13,
    'steps_per_call': 1,
    'resident': False,
    'log_every': 4,
    'checkpoint_every': 6,
    'mapping': 'jit',
    'axis_name': None,
  }
  return types.SimpleNamespace(**(defaults | options))


def _all(stage, start=0, key='number'):
  """Every batch from `start` on, one row a step, and where the calls end."""
  found, ends, done = [], [], start
  for batch, count in feed.chunks(stage, start=start):
    found.append(batch[key].reshape(count, 2))
    done += count
    ends.append(done)
  return np.concatenate(found), ends


ONE, ENDS = _all(_stage())


def test_one_step_a_call():
  assert list(range(1, 21)) == ENDS
  assert (ONE % 10 == 1).all()  # transformed


@pytest.mark.parametrize('size', [2, 4, 7])
def test_several_steps_a_call_are_the_same_batches(size):
  found, ends = _all(_stage(steps_per_call=size))
  np.testing.assert_array_equal(found, ONE)
  if size < 7:
    assert len(ends) < 20
  # Nothing that is due falls inside a call.
  dues = {4, 8, 12, 16, 20, 6, 18, 13}
  assert dues <= set(ends)


def test_calls_have_two_shapes_at_most():
  counts = np.diff([0, *_all(_stage(steps_per_call=4))[1]])
  assert set(counts) == {1, 4}


def test_a_restart_goes_on_with_the_same_batches():
  found, _ = _all(_stage(steps_per_call=4), start=7)
  np.testing.assert_array_equal(found, ONE[7:])


def test_positions_stand_for_the_same_examples():
  found, _ = _all(_stage(resident=True), key='position')
  np.testing.assert_array_equal(10 * found + 1, ONE)


def test_the_default_is_one_step_on_cpu():
  assert feed.steps_per_call(_stage(steps_per_call=0)) == 1
  assert feed.steps_per_call(_stage(steps_per_call=5)) == 5


@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('resident', [False, True])
def test_a_run_is_the_same_however_it_is_fed(size, resident):
  stage = _stage(steps_per_call=size, resident=resident)

  def step(state, batch, *, axis_name):
    del axis_name
    value = batch['number'].sum()
    return {'last': state['last'] * 3 % 1000 + value}, {'value': value}

  call = feed.compile_call(step, stage)
  state = {'last': np.int32(0)}
  values = []
  for batch, _ in feed.chunks(stage, start=0):
    state, metrics = call(state, batch)
    values.append(np.asarray(metrics['value']).reshape(-1))
  np.testing.assert_array_equal(np.concatenate(values), ONE.sum(axis=1))
  expected = 0
  for row in ONE:
    expected = expected * 3 % 1000 + row.sum()
  assert int(state['last']) == expected
