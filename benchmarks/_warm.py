"""Runs of the command in forks of a process that has imported all it needs.

An import takes seconds. `Warm` starts such a process; each of its runs may ask
for a signal at a moment: so many seconds after a part of the run begins.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


class Moment(NamedTuple):
  """When a run gets a signal.

  Attributes:
    part: 'rendering', 'compiling', 'step', 'save', 'evaluation' or 'report'.
    count: the how manieth time that the part begins.
    delay: seconds after that; below 0, right there.
    signal: its number.
  """

  part: str
  count: int
  delay: float
  signal: int


class Ended(NamedTuple):
  """How a run ended: `seconds` after the signal, or after its start."""

  status: int
  seconds: float
  said: str


class Warm:
  """A process that runs commands one after the other; a context manager."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._environment = os.environ | {
      'PYTHONPATH': str(ROOT),
      'JAX_COMPILATION_CACHE_DIR': str(folder / 'compiled'),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_DISABLE_MOST_OPTIMIZATIONS': 'true',
    }
    self._process = subprocess.Popen(
      [sys.executable, str(pathlib.Path(__file__).absolute())],
      cwd=ROOT,
      env=self._environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def run(self, *flags: str, moment: Moment | None = None, **env: str) -> Ended:
    """Runs `python -m ssljax.main FLAGS`, its output in a file."""
    assert self._process.stdin and self._process.stdout
    log = self._folder / 'said.log'
    stamp = self._folder / 'stamp'
    stamp.unlink(missing_ok=True)
    asked = {'flags': flags, 'moment': moment, 'env': env}
    asked |= {'log': str(log), 'stamp': str(stamp)}
    start = time.time()
    self._process.stdin.write(json.dumps(asked) + '\n')
    self._process.stdin.flush()
    status = int(self._process.stdout.readline())
    end = time.time()
    if stamp.exists() and stamp.read_text():
      start = float(stamp.read_text())
    return Ended(status, end - start, log.read_text(errors='replace'))

  def __enter__(self):
    return self

  def __exit__(self, *error: object) -> None:
    self._process.communicate()


def _watch(moment: Moment, stamp: str) -> None:
  """Sends the signal from another process, whatever this one does then."""
  import atexit

  from ssljax import checkpoint, feed, parallel, train
  from ssljax.data import datasets
  from ssljax.reports import telemetry

  seen = {'count': 0}

  def fire():
    seen['count'] += 1
    if seen['count'] != moment.count:
      return
    if moment.delay < 0:
      os.kill(os.getpid(), moment.signal)
      return
    sender = subprocess.Popen(
      [
        *('sh', '-c', 'sleep $0; date +%s.%N > $1; kill -$2 $3'),
        *(f'{moment.delay:.3f}', stamp, str(moment.signal), str(os.getpid())),
      ]
    )
    atexit.register(sender.kill)

  def firing(holder: Any, name: str, *, after: bool = False) -> None:
    original = getattr(holder, name)

    def wrapped(*arguments, **options):
      if after:
        found = original(*arguments, **options)
        fire()
        return found
      fire()
      return original(*arguments, **options)

    setattr(holder, name, wrapped)

  def stepping(compile_step):
    def made(step, **options):
      def traced(*arguments, **more):
        fire()
        return step(*arguments, **more)

      return compile_step(traced, **options)

    return made

  def calling(compile_call):
    def made(*arguments):
      call = compile_call(*arguments)

      def called(*given):
        fire()
        return call(*given)

      return called

    return made

  if moment.part == 'compiling':
    parallel.compile_step = stepping(parallel.compile_step)
  elif moment.part == 'step':
    feed.compile_call = calling(feed.compile_call)
  else:
    firing(
      *{
        'rendering': (datasets, 'open_dataset'),
        'save': (checkpoint.Checkpoints, 'save'),
        'evaluation': (train, 'evaluate'),
        'report': (telemetry, 'telemetry'),
      }[moment.part]
    )


def _serve() -> None:
  import importlib
  import runpy
  import signal

  import jax

  importlib.import_module('ssljax.train')

  sys.path.insert(0, str(ROOT / 'benchmarks'))
  for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child:
      status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
      print(status, flush=True)
      continue
    file = os.open(asked['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(asked['env'])
    if 'JAX_COMPILATION_CACHE_DIR' in asked['env']:
      folder = asked['env']['JAX_COMPILATION_CACHE_DIR']
      jax.config.update('jax_compilation_cache_dir', folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked['moment']:
      _watch(Moment(*asked['moment']), asked['stamp'])
    sys.argv = ['ssljax.main', *asked['flags']]
    runpy.run_module('ssljax.main', run_name='__main__', alter_sys=True)
    sys.exit(0)


if __name__ == '__main__':
  _serve()
