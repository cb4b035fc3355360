"""A run of two processes, one of which ends, freezes or has less data."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from _rows import Outcome, row
from _rows_stops import flags
from _warm import ROOT

LATE = 60.0  # seconds in which the other process has to end
BEGUN = 240.0  # seconds in which both have to train
CASES = {
  'process 1 is killed': (1, signal.SIGKILL),
  'process 0 is killed': (0, signal.SIGKILL),
  'process 1 freezes': (1, signal.SIGSTOP),
  'process 0 freezes': (0, signal.SIGSTOP),
  'process 1 has less data': (1, None),
}


@row(
  'one-dies',
  what='Of two processes that train together, one is killed, freezes, or has '
  'less data than the other.',
  goal=f'the other ends with an error within {LATE:.0f} s',
)
def one_dies(folder: pathlib.Path, smoke: bool) -> Outcome:
  passed, slowest, notes = 0, 0.0, []
  cases = dict(list(CASES.items())[:1]) if smoke else CASES
  for place, (name, (which, number)) in enumerate(cases.items()):
    status, seconds = survivor(folder / str(place), which, number)
    good = status not in (0, None) and seconds <= LATE
    passed += good
    slowest = max(slowest, seconds)
    if not good:
      notes.append(f'{name}: status {status} after {seconds:.0f} s.')
  return Outcome(
    len(cases),
    passed,
    f'the slowest after {slowest:.0f} s',
    notes=' '.join(notes),
  )


def survivor(
  folder: pathlib.Path, which: int, number: int | None
) -> tuple[int | None, float]:
  """How the other process ended, and so many seconds after the signal.

  Args:
    folder: of the run, which is made.
    which: the process that gets the signal, or has less data without one.
    number: the signal. It is sent once both have trained for some steps.

  Returns:
    The status, which is None for a process that did not end in twice the time;
    and the seconds.
  """
  folder.mkdir()
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  started = [
    subprocess.Popen(
      [
        *(sys.executable, '-m', 'ssljax.main'),
        *flags('simclr', folder / 'run', folder / 'data'),
        '--config.mapping=shard_map',
        '--config.pretrain.steps=100000',
        f'--coordinator=localhost:{port}',
        '--processes=2',
        f'--process={process}',
        *(['--config.data.counts.unlabeled=48']
          if number is None and process == which else []),
      ],
      cwd=ROOT,
      stdout=subprocess.DEVNULL,
      stderr=(folder / f'{process}.log').open('w'),
    )
    for process in range(2)
  ]  # fmt: skip
  other = started[1 - which]
  try:
    log = folder / 'run' / 'pretrain' / 'metrics.jsonl'
    begun = time.monotonic()
    while number and not (log.exists() and log.stat().st_size):
      late = time.monotonic() - begun > BEGUN
      if late or any(each.poll() is not None for each in started):
        raise RuntimeError((folder / '0.log').read_text()[-2000:])
      time.sleep(0.2)
    start = time.monotonic()
    if number:
      os.kill(started[which].pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      # Without a signal the processes have still to start.
      other.wait(2 * LATE if number else 4 * LATE)
    return other.returncode, time.monotonic() - start
  finally:
    for each in started:
      each.kill()
      each.wait()
