import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from ssljax.data import cache

KIND = {'shape': (2, 3), 'dtype': np.int32}


def make():
  return np.arange(6, dtype=np.int32).reshape(2, 3)


def never():
  raise AssertionError('made again')


def test_what_is_made_is_kept(tmp_path):
  path = tmp_path / 'deep' / 'array.npy'
  for maker in (make, never):
    np.testing.assert_array_equal(cache.kept(path, maker, **KIND), make())
  assert not list(tmp_path.rglob('*.incomplete'))


@pytest.mark.parametrize('length', [0, 5, 100, 135, 151])
def test_a_torn_file_is_not_read(tmp_path, length):
  path = tmp_path / 'array.npy'
  cache.kept(path, make, **KIND)
  assert path.stat().st_size == 152
  path.write_bytes(path.read_bytes()[:length])
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())
  np.testing.assert_array_equal(np.load(path), make())


@pytest.mark.parametrize('bit', [0, 700, 1100, 1215])
def test_a_flipped_bit_is_named_and_the_array_made_again(tmp_path, bit, caplog):
  path = tmp_path / 'array.npy'
  cache.kept(path, make, **KIND)
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())
  assert str(path) in caplog.text
  np.testing.assert_array_equal(cache.kept(path, never, **KIND), make())


def test_a_file_of_an_earlier_version_has_no_digest(tmp_path):
  path = tmp_path / 'array.npy'
  np.save(path, make())
  np.testing.assert_array_equal(cache.kept(path, never, **KIND), make())


class Bomb:
  """Ends the tests if it is unpickled."""

  def __reduce__(self):
    return os._exit, (1,)


@pytest.mark.parametrize(
  'other', [np.full((2, 3), Bomb()), pickle.dumps(Bomb()), b'PK\x03\x04']
)
def test_no_pickle_is_loaded(tmp_path, other):
  path = tmp_path / 'array.npy'
  if isinstance(other, bytes):
    path.write_bytes(other)
  else:
    np.save(path, other, allow_pickle=True)
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())


def test_an_array_of_an_absurd_size_takes_no_memory(tmp_path):
  path = tmp_path / 'array.npy'
  np.save(path, make())
  head = path.read_bytes()
  path.write_bytes(head.replace(b'(2, 3), }     ', b'(999999999,), ', 1))
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())


@pytest.mark.parametrize(
  'other', [np.zeros((3, 2), np.int32), np.zeros((2, 3), np.int64)]
)
def test_a_file_of_another_kind_is_not_read(tmp_path, other):
  path = tmp_path / 'array.npy'
  np.save(path, other)
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())


def test_an_interrupted_maker_leaves_nothing_to_read(tmp_path, monkeypatch):
  path = tmp_path / 'array.npy'

  def interrupted(file, array):
    file.write(b'\x93NUMPY')
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(cache.np, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
      cache.kept(path, make, **KIND)
  assert not path.exists()
  np.testing.assert_array_equal(cache.kept(path, make, **KIND), make())
  assert not list(tmp_path.glob('*.incomplete'))


def test_where_nothing_can_be_written_it_is_made_each_time(tmp_path):
  (tmp_path / 'file').touch()  # where a folder would have to be
  found = cache.kept(tmp_path / 'file' / 'array.npy', make, **KIND)
  np.testing.assert_array_equal(found, make())


def test_a_full_disk_does_not_stop_a_run(tmp_path, monkeypatch):
  def full(file, array):
    raise OSError('No space left on device')

  monkeypatch.setattr(cache.np, 'save', full)
  found = cache.kept(tmp_path / 'array.npy', make, **KIND)
  np.testing.assert_array_equal(found, make())
  assert not list(tmp_path.glob('*.incomplete'))


PROGRAM = """
import sys, time
import numpy as np
from ssljax.data import cache
def make():
  print('made')
  time.sleep(0.5)
  return np.zeros((2, 3), np.int32)
cache.kept(sys.argv[1], make, shape=(2, 3), dtype=np.int32)
"""


def test_processes_that_want_the_same_make_it_once(tmp_path):
  command = [sys.executable, '-c', PROGRAM, str(tmp_path / 'array.npy')]
  processes = [
    subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  assert sorted(each.communicate()[0] for each in processes) == ['', 'made\n']
