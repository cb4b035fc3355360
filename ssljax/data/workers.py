"""Worker processes that run a function over tasks and keep the order.

Not `multiprocessing`: its workers import the program that started them, here
all of JAX, once a core, and a pool waits for ever for a worker that was killed.
These are plain `python -c` processes that import what the function needs.
"""

import collections
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tqdm

CHUNK = 250  # examples that a worker renders at a time


def available_cores() -> int:
  """The cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def serve() -> None:
  """Answers pickled (function, task) on stdin until stdin is closed."""
  # An interrupt reaches the whole process group; the parent alone acts on it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # a stray print must not get between the answers
  while True:
    try:
      function, task = pickle.load(sys.stdin.buffer)
    except EOFError:
      return  # the parent is done, or dead
    try:
      answer = True, function(task)
    except Exception as error:
      answer = False, error
    pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()


class _Worker:
  """One worker process."""

  def __init__(self):
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    self._process = subprocess.Popen(
      [sys.executable, '-c', f'from {__name__} import serve; serve()'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={**os.environ, 'PYTHONPATH': path},
    )

  def __call__(self, function, task):
    process = self._process
    try:
      pickle.dump((function, task), process.stdin, pickle.HIGHEST_PROTOCOL)
      process.stdin.flush()
      done, answer = pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
      raise RuntimeError(
        f'A worker process ended with status {process.wait()} and no answer. '
        'Status -9 mostly means that memory ran out: free some, or ask for '
        'fewer processes, and run the same command again.'
      ) from error
    if not done:
      raise answer
    return answer

  def stop(self):
    self._process.kill()
    self._process.stdout.close()
    # Half a task may be in the buffer, and nobody is left to read it.
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.wait()


def ordered_map(
  function: Callable, tasks: Iterable, *, processes: int
) -> Iterator:
  """Yields function(task) for each task, in order, worked on in parallel.

  Args:
    function: importable by name, its tasks and results picklable.
    tasks: read only a little ahead of what has been yielded, so results do not
      pile up in memory.
    processes: worker processes; with 1, this process does the work.

  Raises:
    RuntimeError: a worker died; and whatever `function` raises.
  """
  if processes <= 1:
    yield from map(function, tasks)
    return
  idle = queue.SimpleQueue()
  workers = [_Worker() for _ in range(processes)]
  for worker in workers:
    idle.put(worker)

  def run(task):
    worker = idle.get()
    try:
      return worker(function, task)
    finally:
      idle.put(worker)

  threads = ThreadPoolExecutor(processes)
  pending = collections.deque()
  try:
    for task in tasks:
      pending.append(threads.submit(run, task))
      if len(pending) > 2 * processes:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    for future in pending:
      future.cancel()
    for worker in workers:
      worker.stop()
    threads.shutdown()


def rendered(render: Callable, count: int, *arguments, what: str) -> np.ndarray:
  """Arrays 0 to `count` of what `render` draws, by all cores, with a bar.

  Args:
    render: importable by name; of a task `(*arguments, start, stop)`, the array
      of a chunk.
    count: of examples.
    *arguments: what a task begins with.
    what: is rendered, for the bar.
  """
  tasks = [
    (*arguments, start, min(start + CHUNK, count))
    for start in range(0, count, CHUNK)
  ]
  # Fewer take less time than workers take to start.
  processes = available_cores() if count > 4 * CHUNK else 1
  parts = []
  bar = tqdm.tqdm(
    total=count,
    desc=f'rendering {what}',
    unit=' images',
    mininterval=0.1 if sys.stderr.isatty() else 10,
  )
  chunks = ordered_map(render, tasks, processes=processes)
  with bar, contextlib.closing(chunks):
    for part in chunks:
      parts.append(part)
      bar.update(len(part))
  return np.concatenate(parts)
