"""What a run tells of its stages before they run."""

import pytest

from ssljax import bars
from ssljax.reports import plans
from ssljax.reports.plans import Machine, Plan

PLAN = Plan(
  name='pretrain',
  method='simclr',
  steps=400,
  done=0,
  batch_size=48,
  asked=48,
  examples=79,
  labels=0,
  flops=6e12,
  saved=2 * 10**6,
  state=10**6,
)
MACHINE = Machine(speed=20e9, free=10**9, memory=16 * 10**9)


def _stages(*several, machine=MACHINE, **options):
  return '\n'.join(plans.stage_lines(several, machine, **options))


def test_a_stage_has_its_steps_and_minutes():
  told = _stages(PLAN, PLAN._replace(name='head', labels=30, flops=6e11))
  assert 'pretrain  simclr: 400 steps of 48, 79 examples, about 5 min' in told
  assert 'head      simclr: 400 steps of 48, 79 examples, 30 labels' in told
  assert 'in all about 6 min' in told
  assert 'about' not in _stages(PLAN, machine=MACHINE._replace(speed=None))


def test_a_batch_that_is_smaller_than_asked_is_told():
  told = _stages(PLAN._replace(batch_size=42))
  assert '400 steps of 42 (not 48, as the examples are fewer)' in told


def test_what_is_done_is_told():
  told = _stages(PLAN._replace(done=100), finished=['a', 'b'])
  assert told.startswith('Stages to run: 1; done: a, b\n')
  assert '400 steps (100 done)' in told
  assert _stages(finished=['a']) == 'Stages: none is left to run; done: a'


def test_memory_and_disk():
  told = _stages(PLAN, PLAN, decoded=3 * 10**6)
  assert 'memory: 3 MB of images, 1 MB of network and optimizer' in told
  assert 'disk: 4 MB of checkpoints; 1 GB are free' in told
  assert 'NOT ENOUGH' not in told
  assert 'NOT ENOUGH' in _stages(PLAN, machine=MACHINE._replace(free=10**6))


@pytest.mark.parametrize(
  ('seconds', 'told'),
  [
    (0.2, '1 s'),
    (59, '59 s'),
    (61, '1 min'),
    (5399, '90 min'),
    (9000, '2.5 h'),
  ],
)
def test_a_time_as_a_person_says_it(seconds, told):
  assert bars.minutes(seconds) == told
