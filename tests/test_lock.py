"""One process at a time in a run folder."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from ssljax import lock
from ssljax.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent
HOLD = """
import pathlib, sys, time
from ssljax import lock
with lock.held(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
  """A folder, and a process that holds its lock."""
  folder = tmp_path / 'run'
  command = [sys.executable, '-c', HOLD, str(folder)]
  process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
  assert process.stdout is not None
  assert process.stdout.readline() == b'held\n'
  yield folder, process
  process.kill()
  process.communicate()


def _process(folder):
  return json.loads((folder / lock.NAME).read_text())['process']


def test_a_second_process_is_refused_and_the_first_named(holder):
  folder, process = holder
  with pytest.raises(lock.InUse) as caught, lock.held(folder):
    pass
  message = str(caught.value)
  assert f'{folder} in use by process {process.pid} on ' in message
  assert ', which started at 20' in message
  assert ' seconds ago; ' in message
  assert '--workdir' in message
  assert (folder / lock.NAME).exists()  # the first one's


def test_the_lock_of_a_killed_process_is_taken_over(holder):
  folder, process = holder
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert _process(folder) == process.pid
  with lock.held(folder):
    assert _process(folder) == os.getpid()


def test_what_another_boot_left_is_no_lock(tmp_path):
  """The process that it names may exist again, as another program."""
  (tmp_path / lock.NAME).write_text(f'process {os.getpid()} on here, a while')
  with lock.held(tmp_path):
    pass
  assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_no_folder_and_no_file(tmp_path):
  with lock.held(tmp_path / 'runs' / 'a'):
    pass
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(KeyError), lock.held(tmp_path / 'runs' / 'a'):
    (tmp_path / 'runs' / 'a' / 'config.json').write_text('{}')
    raise KeyError
  assert [path.name for path in (tmp_path / 'runs' / 'a').iterdir()] == [
    'config.json'
  ]


def test_a_lock_that_is_given_back_is_not_taken_for_held(tmp_path, monkeypatch):
  """The holder removes the file after another process has opened it."""
  path, opened = tmp_path / lock.NAME, []
  real = os.open

  def opening(*arguments):
    file = real(*arguments)
    if not opened:
      path.unlink()
    opened.append(file)
    return file

  monkeypatch.setattr(os, 'open', opening)
  with lock.held(tmp_path):
    assert len(opened) == 2
    assert path.exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
  (tmp_path / 'file').write_text('')
  for place in (tmp_path / 'file', tmp_path / 'file' / 'run'):
    with (
      pytest.raises(UserError, match=r'no way to write.*--workdir'),
      lock.held(place),
    ):
      pass
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_the_age_is_told_in_what_a_person_counts_in():
  ages = {0.4: '0 seconds', 119: '119 seconds', 121: '2 minutes'}
  ages |= {7200: '2 hours', 3e5: '3 days'}
  assert {seconds: lock._age(seconds) for seconds in ages} == ages


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """A folder that a process of another machine holds; seconds are short."""
  holder = {'process': 7, 'host': 'elsewhere', 'token': 'a'}
  holder['started'] = '2026-01-01 00:00:00+00:00'
  path = tmp_path / lock.NAME
  path.write_text(json.dumps(holder))
  monkeypatch.setattr(lock, 'BEAT', 0.05)
  monkeypatch.setattr(lock, 'DEAD', 1.0)
  monkeypatch.setattr(lock, '_PATIENCE', 0.1)
  return path


def test_a_holder_elsewhere_that_gives_signs_of_life(elsewhere, capsys):
  """The kernel's lock is free, as where it does not reach that machine."""
  over = threading.Event()
  beat = threading.Thread(target=lock._beat, args=(elsewhere, 'a', over))
  beat.start()
  with (
    pytest.raises(lock.InUse, match=r'process 7 on elsewhere.* days ago'),
    lock.held(elsewhere.parent),
  ):
    pass
  over.set()
  beat.join()
  assert 'Waiting up to 1 s for a sign of life' in capsys.readouterr().err
  assert _process(elsewhere.parent) == 7
  assert list(elsewhere.parent.iterdir()) == [elsewhere]


def test_a_holder_elsewhere_that_has_died(elsewhere):
  start = time.monotonic()
  with lock.held(elsewhere.parent):
    assert _process(elsewhere.parent) == os.getpid()
  assert time.monotonic() - start >= 1


def test_of_two_that_wait_for_a_dead_one_only_one_goes_on(
  elsewhere, monkeypatch
):
  signed = lock._sign

  def sign(file):
    token = signed(file)
    elsewhere.write_text(json.dumps({'process': 8, 'token': 'b'}))
    return token

  monkeypatch.setattr(lock, '_sign', sign)
  with (
    pytest.raises(lock.InUse, match='process 8'),
    lock.held(elsewhere.parent),
  ):
    pass


def test_without_flock_a_live_process_here_is_left_alone(
  elsewhere, monkeypatch
):
  """Its process exists; whether it holds the lock, its signs of life tell."""
  monkeypatch.setattr(lock, 'fcntl', None)
  holder = {'process': os.getpid(), 'host': socket.gethostname(), 'token': 'a'}
  elsewhere.write_text(json.dumps(holder))
  over = threading.Event()
  beat = threading.Thread(target=lock._beat, args=(elsewhere, 'a', over))
  beat.start()
  with (
    pytest.raises(lock.InUse, match=f'{os.getpid()}'),
    lock.held(elsewhere.parent),
  ):
    pass
  over.set()
  beat.join()
  elsewhere.write_text(json.dumps(holder | {'process': 2**22 + 1}))
  with lock.held(elsewhere.parent):
    pass


def test_a_holder_that_was_taken_over_ends(elsewhere, monkeypatch, capsys):
  ended = []

  def end(status):
    ended.append(status)
    raise SystemExit

  monkeypatch.setattr(os, '_exit', end)
  with pytest.raises(SystemExit):
    lock._beat(elsewhere, 'mine', threading.Event())
  assert ended == [1]
  assert 'taken over by process 7 on elsewhere' in capsys.readouterr().err
