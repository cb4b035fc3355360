import os
import time

import pytest

from ssljax.data.workers import ordered_map, started


def test_results_come_in_order():
  # Later tasks finish first.
  waits = [0.2, 0.0, 0.1, 0.0, 0.0]
  assert list(ordered_map(time.sleep, waits, processes=2)) == [None] * 5
  assert list(ordered_map(abs, range(-20, 0), processes=2)) == list(
    range(20, 0, -1)
  )


def test_one_process_works_here():
  assert list(ordered_map(os.getpid.__call__, [], processes=1)) == []
  assert list(ordered_map(abs, [-1, 2], processes=1)) == [1, 2]


def test_an_error_reaches_the_caller():
  with pytest.raises(ValueError, match='invalid literal'):
    list(ordered_map(int, ['1', 'x', '2'], processes=2))


def test_a_dead_worker_is_an_error_and_not_a_wait():
  with pytest.raises(RuntimeError, match='status 3'):
    list(ordered_map(os._exit, [3], processes=2))


def test_tasks_are_not_read_far_ahead():
  # Red where all results pile up in memory while the reader is slow.
  read = []

  def tasks():
    for number in range(100):
      read.append(number)
      yield number

  results = ordered_map(abs, tasks(), processes=2)
  assert next(results) == 0
  assert len(read) <= 6
  results.close()


def test_workers_that_are_started_serve_again():
  with started(2) as workers:
    for tasks in (range(-9, 0), range(-3, 0)):
      found = ordered_map(abs, tasks, processes=2, workers=workers)
      assert list(found) == [-task for task in tasks]
  assert all(worker._process.returncode is not None for worker in workers)


def test_stopping_early_ends_the_workers():
  results = ordered_map(time.sleep, [0.0] + [60.0] * 9, processes=2)
  next(results)
  start = time.monotonic()
  results.close()
  assert time.monotonic() - start < 10
