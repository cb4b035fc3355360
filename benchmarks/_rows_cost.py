"""What saving costs, what going on costs, and whether a long run grows."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
from _rows import Outcome, row
from _rows_stops import Runs, flags, lines
from _warm import ROOT, Moment, Warm

# Runs the command, and writes the seconds of CPU of all its threads: in saves
# and lines of the log, each finished before the next step, in the loop, and up
# to the first step. On a machine that does other work, they tell what seconds
# would not.
TIMED = """
import json, runpy, sys, time
began = time.time()
sys.path.insert(0, '')
from ssljax import checkpoint, feed, log, train
spent = {'kept': 0.0, 'loop': 0.0, 'steps': 0}

def timed(holder, name, key, then=None):
  original = getattr(holder, name)
  def wrapped(self, *arguments, **options):
    start = time.process_time()
    found = original(self, *arguments, **options)
    if then:
      then(self)
    spent[key] += time.process_time() - start
    return found
  setattr(holder, name, wrapped)

finish = checkpoint.Checkpoints.finish
timed(checkpoint.Checkpoints, 'save', 'kept', finish)
for name in ('scalars', 'advance', 'keep'):
  timed(log.Log, name, 'kept')
compile_call = feed.compile_call
def counted(*arguments):
  call = compile_call(*arguments)
  def step(state, batch):
    state, metrics = call(state, batch)
    if not spent['steps']:
      next(iter(metrics.values())).block_until_ready()
      spent['first'] = time.time() - began
      spent['first_cpu'] = spent['before'] = time.process_time()
    spent['steps'] += 1
    return state, metrics
  return step
feed.compile_call = counted
out = sys.argv.pop(1)
fit = train.fit
def timed_fit(*arguments):
  try:
    return fit(*arguments)
  finally:
    spent['loop'] = time.process_time() - spent['before']
    with open(out, 'w') as file:
      json.dump(spent, file)
train.fit = timed_fit
sys.argv[0] = 'ssljax.main'
runpy.run_module('ssljax.main', run_name='__main__')
"""


def timed(out: pathlib.Path, *command: str) -> dict[str, float]:
  """What a run of the command, which may be a resumed one, has spent."""
  subprocess.run(
    [sys.executable, '-c', TIMED, str(out), *command],
    cwd=ROOT,
    stdout=sys.stderr,
    check=True,
  )
  return json.loads(out.read_text())


@row(
  'cost',
  what='Checkpoints, the log and digests of a run at laptop scale; the same '
  'command goes on after the last but one checkpoint.',
  goal='at most 1 % of the run; at most 10 s to the first step',
)
def cost(folder: pathlib.Path, smoke: bool) -> Outcome:
  scale, every = ('smoke', 5) if smoke else ('laptop', 40)
  command = [
    f'--config={ROOT}/configs/simclr_ocr.py:{scale}',
    "--config.recipe=('pretrain',)",
    '--config.rows=()',
    '--config.differences=()',
    f'--config.pretrain.steps={2 * every}',
    '--config.pretrain.epochs=0',
    f'--config.checkpoint_every={every}',
    f'--workdir={folder}/run',
    f'--data_dir={folder}/data',
    '--noreport',
  ]
  spent = timed(folder / 'spent.json', *command)
  # A checkpoint is due every 200 steps, five times as seldom as here.
  share = spent['kept'] / (spent['loop'] * 200 / every)
  last = folder / 'run' / 'pretrain' / 'checkpoints' / str(2 * every)
  (folder / 'run' / 'pretrain' / 'stage.json').unlink()
  os.rename(last, folder / 'last')
  again = timed(folder / 'again.json', *command)
  # At a scale of seconds, only whether it goes on where it should.
  met = again['steps'] == every and (
    smoke or (share <= 0.01 and again['first'] <= 10)
  )
  return Outcome(
    1,
    int(met),
    f'{100 * share:.2f} % of the CPU time of a run; {again["first"]:.1f} s to '
    f'the first step, in {again["first_cpu"]:.1f} s of CPU time',
    notes='The log is counted as often as a checkpoint, which is more than it '
    'costs.',
  )


@row(
  'memory',
  what='The resident memory of a run of many steps.',
  goal='at most 0.5 MB more per 1,000 steps',
)
def memory(folder: pathlib.Path, smoke: bool) -> Outcome:
  steps = 300 if smoke else 12_000
  run = folder / 'run'
  command = [
    *flags('moco', run, folder / 'data'),
    f'--config.pretrain.steps={steps}',
    '--config.checkpoint_every=200',
    '--config.log_every=20',
  ]
  seen = []
  with subprocess.Popen(
    [sys.executable, '-m', 'ssljax.main', *command],
    cwd=ROOT,
    stdout=sys.stderr,
  ) as process:
    while process.poll() is None:
      time.sleep(0.2 if smoke else 1)
      log = run / 'pretrain' / 'metrics.jsonl'
      done = lines(run / 'pretrain') if log.exists() else []
      size = resident(process.pid)
      if done and size:
        seen.append((done[-1]['step'], size))
  # The first quarter fills caches.
  found = [each for each in seen if each[0] >= steps // 4]
  if process.returncode or len({step for step, _ in found}) < 2:
    return Outcome(1, 0, f'status {process.returncode}, {len(found)} sizes')
  slope = float(1000 * np.polyfit(*np.transpose(found), 1)[0])
  return Outcome(
    1,
    # Of few steps, only a large leak can be told.
    int(slope <= (300 if smoke else 0.5)),
    f'{slope:.2f} MB per 1,000 steps over {steps:,} steps of MoCo, of '
    f'{found[-1][1]:.0f} MB',
  )


def resident(process: int) -> float:
  """Megabytes of a process, 0 once it has ended."""
  try:
    text = pathlib.Path(f'/proc/{process}/status').read_text()
  except OSError:
    return 0.0
  found = [line for line in text.splitlines() if line.startswith('VmRSS')]
  return int(found[0].split()[1]) / 1024 if found else 0.0


@row(
  'devices',
  what='A run on 8 devices is stopped, goes on on 4, is stopped, and goes on '
  'on 1.',
  goal='the same order, and each loss within 1e-5 of a run on 8',
)
def devices(folder: pathlib.Path, smoke: bool) -> Outcome:
  draw, tries, passed, worst = random.Random(0), 1 if smoke else 5, 0, 0.0
  notes = []
  with Warm(folder) as warm:
    runs = Runs(folder, warm)

    def start(run, count, stop=0):
      flag = f'--xla_force_host_platform_device_count={count}'
      return warm.run(
        *flags('simclr', run, runs.data),
        '--config.mapping=shard_map',
        "--config.recipe=('pretrain',)",
        '--config.rows=()',
        moment=Moment('step', stop, -1, signal.SIGTERM) if stop else None,
        XLA_FLAGS=flag,
      )

    whole = folder / 'whole'
    if (ended := start(whole, 8)).status:
      raise RuntimeError(ended.said)
    for _ in range(tries):
      run = runs.fresh()
      statuses = [
        start(run, 8, draw.randint(1, 7)).status,
        start(run, 4, draw.randint(1, 7)).status,
        start(run, 1).status,
      ]
      one, other = (lines(each / 'pretrain') for each in (whole, run))
      steps = [[line['step'] for line in each] for each in (one, other)]
      far = max(
        abs(a['loss'] / b['loss'] - 1) for a, b in zip(one, other, strict=True)
      )
      worst = max(worst, far)
      good = statuses == [75, 75, 0] and steps[0] == steps[1] and far <= 1e-5
      passed += good
      if not good:
        notes.append(f'Statuses {statuses}, loss within {far:.1e}.')
  return Outcome(
    tries, passed, f'loss within {worst:.1e}', notes=' '.join(notes)
  )
