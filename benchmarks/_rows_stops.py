"""Runs that are killed, or asked to stop, and go on."""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from _rows import Outcome, row
from _warm import ROOT, Ended, Moment, Warm

TINY = ROOT / 'benchmarks' / '_tiny.py'
METHODS = (
  *('simclr', 'moco', 'swav'),
  *('deepcluster', 'pix2pix', 'self_training'),
)
# The longest delay after a part of a run begins, about as long as the part.
PARTS = {
  'rendering': 0.4,
  'compiling': 4.0,
  'step': 0.1,
  'save': 0.3,
  'evaluation': 0.5,
  'report': 0.02,
}
COUNTS = {'step': 15, 'save': 3}  # of which one is drawn
GONE_ON = 10.0  # seconds in which a run has to end
SMOKE_GONE_ON = 60.0  # beside other tests, which take most of the processor
NUMBERS = signal.SIGTERM, signal.SIGINT
SIGNALLED = 18  # runs that a signal finds, and two that read a folder


def flags(method: str, folder: pathlib.Path, data: pathlib.Path) -> list[str]:
  return [
    f'--config={TINY}:{method}',
    f'--workdir={folder}',
    f'--data_dir={data}',
    '--noreport',
  ]


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """What differs between two runs, in state, log, figures or results."""
  import jax

  from ssljax.checkpoint import read

  found = []
  for stage in json.loads((one / 'config.json').read_text())['recipe']:
    a, b = (read(run / stage / 'checkpoints') for run in (one, other))
    states = [jax.tree.leaves(each.state) for each in (a, b)]
    if a.step != b.step or not all(map(np.array_equal, *states)):
      found.append(f'{stage}: state')
    if lines(one / stage) != lines(other / stage):
      found.append(f'{stage}: metrics.jsonl')
    for name in ('stage.json', 'predictions.csv'):
      if contents(one / stage / name) != contents(other / stage / name):
        found.append(f'{stage}: {name}')
  if contents(one / 'results.json') != contents(other / 'results.json'):
    found.append('results.json')
  return found


def contents(path: pathlib.Path) -> bytes:
  return path.read_bytes() if path.exists() else b''


def lines(stage: pathlib.Path) -> list[dict]:
  """The log without the seconds that a line took."""
  text = (stage / 'metrics.jsonl').read_text()
  return [json.loads(line) | {'seconds': 0} for line in text.splitlines()]


def drawn(random: random.Random, part: str, number: int) -> Moment:
  # The first step is that of `compiling`.
  count = random.randint(2, COUNTS[part]) if part in COUNTS else 1
  return Moment(part, count, random.uniform(0, PARTS[part]), number)


class Runs:
  """Runs of the tiny recipes, and what they are compared with."""

  def __init__(self, folder: pathlib.Path, warm: Warm):
    self._folder, self._warm, self._made = folder, warm, 0
    self.data = folder / 'data'

  def whole(self, method: str) -> pathlib.Path:
    """The folder of an undisturbed run."""
    run = self._folder / f'whole-{method}'
    if not run.exists():
      ended = self._warm.run(*flags(method, run, self.data))
      if ended.status:
        raise RuntimeError(ended.said)
    return run

  def fresh(self) -> pathlib.Path:
    self._made += 1
    return self._folder / f'run-{self._made}'

  def disturbed(self, method: str, run: pathlib.Path, moment: Moment) -> Ended:
    """A start that gets a signal. Rendering and compiling begin anew."""
    data, env = self.data, {}
    if moment.part == 'rendering':
      data = run.with_name(f'{run.name}-data')
    if moment.part == 'compiling':
      cache = run.with_name(f'{run.name}-compiled')
      env = {'JAX_COMPILATION_CACHE_DIR': str(cache)}
    return self._warm.run(*flags(method, run, data), moment=moment, **env)

  def finished(self, method: str, run: pathlib.Path) -> list[str]:
    """Ends a run; returns what differs from the undisturbed one."""
    ended = self._warm.run(*flags(method, run, self.data))
    if ended.status:
      return [f'status {ended.status}: {ended.said[-500:]}']
    return differences(self.whole(method), run)


def chains(
  random: random.Random, kills: int
) -> Iterator[tuple[str, list[str]]]:
  """Methods, and the parts in which a run of each is killed, for ever."""
  early = ['rendering', 'compiling', 'step', 'save']
  while True:
    for method in METHODS:
      parts = [random.choice(early) for _ in range(3)]
      parts += ['evaluation', 'report'][: 2 if method == 'simclr' else 1]
      yield method, parts


SMOKE = (
  ('simclr', ['rendering', 'save', 'evaluation', 'report']),
  ('moco', ['step']),
  ('swav', ['save']),
  ('deepcluster', ['step']),
  ('pix2pix', ['save']),
  ('self_training', ['compiling', 'step']),
)


@row(
  'kill',
  what='SIGKILL at random moments of SimCLR on text, MoCo, SwAV, DeepCluster, '
  'pix2pix and self-training; the same command goes on.',
  goal='state, order, metrics.jsonl and results.json are those of an '
  'undisturbed run',
)
def kill(folder: pathlib.Path, smoke: bool) -> Outcome:
  draw, tries, passed, notes = random.Random(0), 0, 0, []
  parts = dict.fromkeys(PARTS, 0)
  most = 10 if smoke else 100
  with Warm(folder) as warm:
    runs = Runs(folder, warm)
    for method, wanted in SMOKE if smoke else chains(draw, most):
      if tries >= most:
        break
      run, killed = runs.fresh(), 0
      runs.whole(method)  # whose compiled programs are used
      for part in wanted:
        ended = runs.disturbed(method, run, drawn(draw, part, signal.SIGKILL))
        if ended.status != -signal.SIGKILL:
          break  # it was over before
        killed += 1
        parts[part] += 1
      tries += killed
      if wrong := runs.finished(method, run):
        notes.append(f'{method} after {", ".join(wanted)}: {"; ".join(wrong)}.')
      else:
        passed += killed
  figure = ', '.join(f'{count} {part}' for part, count in parts.items())
  return Outcome(tries, passed, f'by what was going on: {figure}',
                 notes=' '.join(notes))  # fmt: skip


@row(
  'signals',
  what='SIGTERM or Ctrl-C while importing, rendering, reading a folder, '
  'compiling, between steps, during a save, an evaluation or the report; the '
  'same command goes on.',
  goal='the end within 10 s (but for a compilation), with status 75 or that '
  'of the signal, without a traceback; results as above',
)
def signals(folder: pathlib.Path, smoke: bool) -> Outcome:
  most = SMOKE_GONE_ON if smoke else GONE_ON
  draw, passed, notes = random.Random(0), 0, []
  tries, slowest = 0, dict.fromkeys(('importing', 'reading', *PARTS), 0.0)
  with Warm(folder) as warm:
    runs = Runs(folder, warm)
    runs.whole('simclr')
    for plan in plans(draw, smoke):
      if tries >= SIGNALLED:
        break
      run, good = runs.fresh(), 0
      for part, number in plan:
        if part == 'importing':
          ended = importing(flags('simclr', run, runs.data), number, draw)
        else:
          moment = drawn(draw, part, number)
          ended = runs.disturbed('simclr', run, moment)
        if ended.status == 0:
          continue  # it was over before
        tries += 1
        slowest[part] = max(slowest[part], ended.seconds)
        wrong = misses(part, number, ended, most)
        good += not wrong
        if wrong:
          notes.append(f'{part}, signal {number}: {", ".join(wrong)}.')
      if wrong := runs.finished('simclr', run):
        notes.append(f'After {plan}: {"; ".join(wrong)}.')
      else:
        passed += good
    if not smoke:
      pictures(folder / 'pictures')
      for number in NUMBERS:
        ended = reading(warm, folder, number, draw)
        tries += 1
        slowest['reading'] = max(slowest['reading'], ended.seconds)
        wrong = misses('reading', number, ended, most)
        passed += not wrong
        if wrong:
          notes.append(f'reading, signal {number}: {", ".join(wrong)}.')
  figure = ', '.join(
    f'{part} {seconds:.1f} s' for part, seconds in slowest.items() if seconds
  )
  return Outcome(tries, passed, f'the slowest of each: {figure}',
                 notes=' '.join(notes))  # fmt: skip


def plans(draw: random.Random, smoke: bool) -> Iterator[list[tuple[str, int]]]:
  """The parts of a run, and the signal that it gets in each."""
  term, interrupt = NUMBERS
  if smoke:
    yield [('rendering', term), ('step', interrupt), ('evaluation', term)]
    return
  for number in NUMBERS:
    yield [
      (part, draw.choice(NUMBERS) if part == 'save' else number)
      for part in ('importing', *PARTS)
    ]
  while True:  # some runs are over before their signal
    yield [
      (part, draw.choice(NUMBERS))
      for part in ('rendering', 'step', 'save', 'evaluation')
    ]


def misses(part: str, number: int, ended: Ended, most: float) -> list[str]:
  late = ended.seconds > most and part != 'compiling'
  found = {
    f'status {ended.status}': ended.status not in (75, -number),
    'a traceback': 'Traceback' in ended.said,
    f'{ended.seconds:.0f} s': late,
  }
  return [what for what, bad in found.items() if bad]


def pictures(folder: pathlib.Path, count: int = 500) -> None:
  """A folder of pictures, which takes seconds to read."""
  from PIL import Image

  folder.mkdir()
  noise = np.random.default_rng(0)
  for place in range(count):
    pixels = noise.integers(0, 255, (90, 300, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{place:05}.png')


def reading(
  warm: Warm, folder: pathlib.Path, number: int, draw: random.Random
) -> Ended:
  """A start that gets a signal while it reads a folder of pictures."""
  return warm.run(
    f'--config={ROOT}/configs/simclr_ocr.py:smoke,data={folder}/pictures',
    f'--workdir={folder}/read',
    f'--data_dir={folder}/data',
    moment=Moment('rendering', 1, draw.uniform(0, 2), number),
  )


def importing(
  command: Sequence[str], number: int, draw: random.Random
) -> Ended:
  """A start that gets a signal while it imports its modules."""
  with subprocess.Popen(
    [sys.executable, '-X', 'importtime', '-m', 'ssljax.main', *command],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stderr is not None
    for line in process.stderr:  # that of an import is printed after it
      if line.split('|')[-1].strip() == 'ssljax.signals':
        break
    time.sleep(draw.uniform(0, 1))
    process.send_signal(number)
    start = time.time()
    said = process.stderr.read()
  return Ended(process.returncode, time.time() - start, said)
