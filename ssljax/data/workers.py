"""Worker processes that run a function on tasks; results keep their order.

The workers are plain `python -c` processes that import only what the function
needs. `multiprocessing` would not do: each of its workers imports the program
that started it, here with all of JAX, and its pool waits for ever for a worker
that was killed.
"""

import collections
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ssljax import bars

CHUNK = 250  # the examples that a worker renders at a time


def available_cores() -> int:
  """The number of cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def serve() -> None:
  """Runs in a worker: answers pickled (function, task) pairs from stdin.

  Each answer, pickled to stdout, is (True, the result) or (False, the error).
  The worker ends when stdin is closed.
  """
  # An interrupt reaches the whole process group, but only the parent acts.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # prints go to stderr, otherwise they would mix with answers
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


class Worker:
  """A worker process, as seen by the process that started it."""

  def __init__(self):
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    self._process = subprocess.Popen(
      [sys.executable, '-c', f'from {__name__} import serve; serve()'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={**os.environ, 'PYTHONPATH': path},
    )
    assert self._process.stdin and self._process.stdout  # both are pipes
    self._stdin, self._stdout = self._process.stdin, self._process.stdout

  def __call__(self, function: Callable[[Any], Any], task: Any) -> Any:
    try:
      pickle.dump((function, task), self._stdin, pickle.HIGHEST_PROTOCOL)
      self._stdin.flush()
      done, answer = pickle.load(self._stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
      raise RuntimeError(
        f'Found a worker process that ended with status {self._process.wait()} '
        'and gave no answer; expected its result. Status -9 mostly means that '
        'the memory is full: free some, or use fewer processes, and run the '
        'same command again.'
      ) from error
    if not done:
      raise answer
    return answer

  def stop(self) -> None:
    self._process.kill()
    self._stdout.close()
    # Closing flushes, and nobody is left to read a half-sent task.
    with contextlib.suppress(BrokenPipeError):
      self._stdin.close()
    self._process.wait()


@contextlib.contextmanager
def started(processes: int) -> Generator[list[Worker], None, None]:
  """Worker processes for `ordered_map`, which start while others work."""
  workers = []
  try:
    for _ in range(processes):
      workers.append(Worker())
    yield workers
  finally:
    for worker in workers:
      worker.stop()


def ordered_map(
  function: Callable[[Any], Any],
  tasks: Iterable[Any],
  *,
  processes: int,
  workers: Sequence[Worker] = (),
) -> Generator[Any, None, None]:
  """Yields function(task) for each task, in order; several run in parallel.

  Args:
    function: a function that workers can import by its name; tasks and results
      must be picklable.
    tasks: the arguments. They are read only a little ahead of the results, so
      that results do not pile up in memory.
    processes: the number of worker processes; with 1, this process does the
      work.
    workers: that are `started` already, in place of new ones.

  Raises:
    RuntimeError: a worker died. Errors that `function` raises are raised, too.
  """
  if not workers and processes <= 1:
    yield from map(function, tasks)
    return
  if not workers:
    with started(processes) as workers:
      yield from ordered_map(function, tasks, processes=0, workers=workers)
    return
  idle = queue.SimpleQueue()
  for worker in workers:
    idle.put(worker)

  def run(task: Any) -> Any:
    worker = idle.get()
    try:
      return worker(function, task)
    finally:
      idle.put(worker)

  threads = ThreadPoolExecutor(len(workers))
  pending = collections.deque()
  try:
    for task in tasks:
      pending.append(threads.submit(run, task))
      if len(pending) > 2 * len(workers):
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    for future in pending:
      future.cancel()
    if pending:  # or the threads would wait for the tasks that run
      for worker in workers:
        worker.stop()
    threads.shutdown()


def rendered(
  render: Callable[[Any], np.ndarray], count: int, *arguments: Any, what: str
) -> np.ndarray:
  """Renders examples 0 to `count` - 1 on all cores, with a progress bar.

  Args:
    render: a function that workers can import by its name. Its task is
      `(*arguments, start, stop)`, its result the array of these examples.
    count: the number of examples.
    *arguments: the first entries of every task.
    what: names the examples on the progress bar.

  Returns:
    The arrays of all examples, concatenated.
  """
  tasks = [
    (*arguments, start, min(start + CHUNK, count))
    for start in range(0, count, CHUNK)
  ]
  # A few chunks take less time than workers need to start.
  processes = available_cores() if count > 4 * CHUNK else 1
  parts = []
  bar = bars.bar(f'rendering {what}', count, unit='image')
  chunks = ordered_map(render, tasks, processes=processes)
  with bar, contextlib.closing(chunks):
    for part in chunks:
      parts.append(part)
      bar.update(len(part))
  return np.concatenate(parts)
