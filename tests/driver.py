"""Runs `python -m ssljax.main FLAGS`, watched or stopped at a chosen step.

  python tests/driver.py \
    '{"stage": "pretrain", "step": 5, "signal": "SIGKILL"}' --config=...

The process sends the signal to itself, right after it has started the step (or,
for step 0, while it compiles it), so that a test is no race. What was compiled
and donated is written to the path of {"record": PATH}.
"""

import json
import os
import pathlib
import runpy
import signal
import sys

import jax

sys.path.insert(0, os.getcwd())  # as `python -m` does

from ssljax import parallel, train

WANTED = json.loads(sys.argv[1])
RECORD = {}  # stage -> what happened in its steps
run_stage, compile_step = train.run_stage, parallel.compile_step


def fire(name, step):
  if (WANTED.get('stage'), WANTED.get('step')) == (name, step):
    os.kill(os.getpid(), getattr(signal, WANTED['signal']))


def watched_stage(stage, **options):
  RECORD[stage.name] = {'traces': 0, 'compilations': 0, 'donated': []}
  return run_stage(stage, **options)


def watched_step(step, **options):
  name, seen = list(RECORD.items())[-1]

  def traced(state, batch, *, axis_name):
    seen['traces'] += 1
    fire(name, 0)
    return step(state, batch, axis_name=axis_name)

  call = compile_step(traced, **options)

  def watched(state, batch):
    done, before = int(state.step), list(COMPILED)
    result = jax.block_until_ready(call(state, batch))
    seen['compilations'] += len(COMPILED) - len(before)
    leaves = jax.tree.leaves(state)
    seen['donated'].append(all(leaf.is_deleted() for leaf in leaves))
    fire(name, done + 1)
    return result

  return watched


COMPILED = []


def listen(event, duration, **_):
  if event.endswith('backend_compile_duration'):
    COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(listen)
train.run_stage, parallel.compile_step = watched_stage, watched_step
sys.argv = ['ssljax.main', *sys.argv[2:]]
try:
  runpy.run_module('ssljax.main', run_name='__main__')
finally:
  if 'record' in WANTED:
    pathlib.Path(WANTED['record']).write_text(json.dumps(RECORD))
