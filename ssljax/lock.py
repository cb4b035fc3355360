"""A run folder is used by one process at a time.

The lock is `flock` on a file in the folder. The kernel drops the lock when the
process ends, however it ends, so a killed run bars nobody. The file says whose
the lock is. Over NFS the lock holds between machines where NFS passes flock on,
as Linux does; where a file system has no flock, a run goes on without a lock.
"""

import contextlib
import datetime
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from ssljax.errors import UserError

try:
  import fcntl
except ImportError:  # Windows has none
  fcntl = None

NAME = 'run.lock'
_PATIENCE = 1.0  # seconds in which a process that has the lock writes its name


class InUse(UserError):
  """Another process runs in the folder."""


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
  """Holds the lock of a run folder, which is made if it is missing.

  A folder that is empty afterwards is removed again.

  Raises:
    InUse: another process holds the lock; the error names the process.
    UserError: the folder cannot be made or written to.
  """
  missing = [each for each in (folder, *folder.parents) if not each.exists()]
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file = _locked(folder / NAME)
  except InUse:
    raise
  except OSError as error:
    raise UserError(
      f'Found no way to write to the run folder {folder} '
      f'({error.strerror or error}); expected a folder, or a place where one '
      'can be made. Choose another --workdir.'
    ) from None
  try:
    yield
  finally:
    # The file goes before the lock, so nobody finds a file whose lock is free.
    with contextlib.suppress(OSError):
      (folder / NAME).unlink()
    os.close(file)
    with contextlib.suppress(OSError):
      for each in missing:
        each.rmdir()


def _locked(path: pathlib.Path) -> int:
  """An open file with the lock, in which stands whose the lock is."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(file)
      raise InUse(
        f'Found {path.parent} in use by {_holder(path)}; expected a run folder '
        'in which no other process runs. Wait for its end, stop it, or choose '
        'another --workdir.'
      ) from None
    except OSError:
      pass  # a file system without flock
    # The process before may have removed this file between the two lines above.
    with contextlib.suppress(OSError):
      if os.path.samestat(os.fstat(file), os.stat(path)):
        break
    os.close(file)
  now = datetime.datetime.now().astimezone().isoformat(' ', 'seconds')
  os.ftruncate(file, 0)
  os.write(
    file,
    f'process {os.getpid()} on {socket.gethostname()}, which started at '
    f'{now}\n'.encode(),
  )
  return file


def _holder(path: pathlib.Path) -> str:
  """What the holder of the lock has written of itself."""
  until = time.monotonic() + _PATIENCE
  while time.monotonic() < until:
    with contextlib.suppress(OSError):
      text = path.read_text(encoding='utf-8').strip()
      if text:
        return text
    time.sleep(0.05)
  return 'another process'
