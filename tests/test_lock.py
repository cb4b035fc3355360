"""One process at a time in a run folder."""

import os
import pathlib
import signal
import subprocess
import sys

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


def test_a_second_process_is_refused_and_the_first_named(holder):
  folder, process = holder
  with pytest.raises(lock.InUse) as caught, lock.held(folder):
    pass
  message = str(caught.value)
  assert f'{folder} in use by process {process.pid} on ' in message
  assert ', which started at 20' in message
  assert '--workdir' in message
  assert (folder / lock.NAME).exists()  # the first one's


def test_the_lock_of_a_killed_process_is_taken_over(holder):
  folder, process = holder
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert f'process {process.pid}' in (folder / lock.NAME).read_text()
  with lock.held(folder):
    assert f'process {os.getpid()} ' in (folder / lock.NAME).read_text()


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
