"""Two runs in one folder."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from _rows import Outcome, row

from ssljax import lock

ROOT = pathlib.Path(__file__).parents[1]
HOLD = """
import pathlib, sys, time
from ssljax import lock
with lock.held(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  time.sleep(600)
"""


def holder(folder: pathlib.Path) -> subprocess.Popen:
  """A process that has the lock of a folder."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
  )
  assert process.stdout is not None
  assert process.stdout.readline() == b'held\n'
  return process


def refused(folder: pathlib.Path, process: subprocess.Popen) -> bool:
  """Whether a second run is refused, with who the first is and its age."""
  try:
    with lock.held(folder):
      return False
  except lock.InUse as error:
    said = (f'process {process.pid} on {socket.gethostname()}', 'ago')
    return all(part in str(error) for part in said)


@row(
  'two-runs',
  what='A second run starts in the folder of a run; the first is then killed.',
  goal="the second is refused with the first's host, process and age; a dead "
  "holder's lock is taken over",
)
def two_runs(folder: pathlib.Path, smoke: bool) -> Outcome:
  tries, passed, slowest = 2 if smoke else 20, 0, 0.0
  for _ in range(tries):
    process = holder(folder / 'run')
    start = time.perf_counter()
    good = refused(folder / 'run', process)
    slowest = max(slowest, time.perf_counter() - start)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with lock.held(folder / 'run'):
      passed += good
  return Outcome(tries, passed, f'refused within {slowest:.2f} s')
