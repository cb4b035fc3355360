"""A run folder is used by one process at a time.

The lock is `flock` on a file in the folder. The kernel drops the lock when the
process ends, however it ends, so a killed run bars nobody. The file says whose
the lock is. A network file system may not pass flock on to other machines, so
the holder also gives a sign of life: it touches the file every few seconds. A
process on another machine takes the folder once the file has not been touched
for a minute by the clock of the file system, and waits that long for it.
"""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ssljax.errors import UserError

try:
  import fcntl
except ImportError:  # Windows has none
  fcntl = None

NAME = 'run.lock'
BEAT = 5.0  # seconds between two signs of life
DEAD = 60.0  # seconds without one, after which a holder elsewhere is gone
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
  above = (folder, *folder.parents)
  missing = [each for each in above if not os.path.exists(each)]
  path = folder / NAME
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file, token = _taken(path)
  except InUse:
    raise
  except OSError as error:
    raise UserError(
      f'Found no way to write to the run folder {folder} '
      f'({error.strerror or error}); expected a folder, or a place where one '
      'can be made. Choose another --workdir.'
    ) from None
  over = threading.Event()
  beat = threading.Thread(target=_beat, args=(path, token, over), daemon=True)
  beat.start()
  try:
    yield
  finally:
    over.set()
    beat.join()
    # The file goes before the lock, so nobody finds a file whose lock is free.
    with contextlib.suppress(OSError):
      path.unlink()
    os.close(file)
    with contextlib.suppress(OSError):
      for each in missing:
        each.rmdir()


def _taken(path: pathlib.Path) -> tuple[int, str]:
  """The open file, and the token of this holder that stands in it."""
  file, locked = _locked(path)
  try:
    alone = _check_others(path, locked)
    token = _sign(file)
    if not alone:  # another process may have waited for the same holder
      time.sleep(_PATIENCE)
      if _read(path).get('token') != token:
        raise _in_use(path)
  except BaseException:
    os.close(file)
    raise
  return file, token


def _locked(path: pathlib.Path) -> tuple[int, bool]:
  """The open file, and whether the kernel has locked it."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    locked = fcntl is not None
    try:
      if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(file)
      raise _in_use(path) from None
    except OSError:
      locked = False  # a file system without flock
    # The process before may have removed this file between the two lines above.
    with contextlib.suppress(OSError):
      if os.path.samestat(os.fstat(file), os.stat(path)):
        return file, locked
    os.close(file)


def _sign(file: int) -> str:
  """Writes whose the lock is; returns what tells this holder from others."""
  now = datetime.datetime.now().astimezone().isoformat(' ', 'seconds')
  holder = {
    'process': os.getpid(),
    'host': socket.gethostname(),
    'started': now,
    'token': uuid.uuid4().hex,
  }
  os.ftruncate(file, 0)
  os.write(file, f'{json.dumps(holder)}\n'.encode())
  return holder['token']


def _check_others(path: pathlib.Path, locked: bool) -> bool:
  """Refuses a folder whose holder is alive where the kernel's lock ends.

  Returns:
    Whether there was no such holder, not even a dead one.
  """
  holder = _read(path)
  here = holder.get('host') == socket.gethostname()
  if not holder or (here and (locked or not _exists(holder.get('process')))):
    return True
  seen = _touched(path)
  if _now(path) - seen < DEAD:
    print(
      f'Waiting up to {DEAD:.0f} s for a sign of life of {_named(holder)}, '
      f'which has not ended its use of {path.parent}.',
      file=sys.stderr,
    )
  while _now(path) - seen < DEAD:
    time.sleep(min(1.0, BEAT))
    if _touched(path) != seen:
      raise _in_use(path)
  return False


def _exists(process: Any) -> bool:
  """Whether a process of this machine lives, which need not be that one."""
  try:
    os.kill(int(process), 0)
  except (TypeError, ValueError, ProcessLookupError, OverflowError):
    return False
  except OSError:
    return True
  return True


def _beat(path: pathlib.Path, token: str, over: threading.Event) -> None:
  """Touches the file until `over`, as long as it is this process's."""
  while not over.wait(BEAT):
    with contextlib.suppress(OSError):
      if _read(path).get('token', token) == token:
        os.utime(path)  # now, by the clock of the file system
        continue
      print(
        f'Found {path.parent} taken over by {_named(_read(path))}, because '
        f'this process gave no sign of life for {DEAD:.0f} s; it ends, and '
        'saves nothing more.',
        file=sys.stderr,
      )
      os._exit(1)


def _touched(path: pathlib.Path) -> float:
  # Opened anew: a network file system then asks its server.
  with path.open('rb') as file:
    return os.fstat(file.fileno()).st_mtime


def _now(path: pathlib.Path) -> float:
  """The time by the clock of the file system, which is nobody's here."""
  own = path.with_name(f'{path.name}.{uuid.uuid4().hex}')
  try:
    own.touch()
    return own.stat().st_mtime
  finally:
    own.unlink(missing_ok=True)


def _read(path: pathlib.Path) -> dict[str, Any]:
  """What a holder has written of itself; {} if it has not, or not yet."""
  with contextlib.suppress(OSError, ValueError):
    found = json.loads(path.read_text(encoding='utf-8'))
    if isinstance(found, dict):
      return found
  return {}


def _named(holder: dict[str, Any]) -> str:
  if not holder:
    return 'another process'
  found = f'process {holder.get("process")} on {holder.get("host")}'
  try:
    started = datetime.datetime.fromisoformat(str(holder.get('started')))
    age = (datetime.datetime.now().astimezone() - started).total_seconds()
  except (TypeError, ValueError):
    return found
  return f'{found}, which started at {holder["started"]}, {_age(age)} ago'


def _age(seconds: float) -> str:
  for size, unit in ((86400, 'days'), (3600, 'hours'), (60, 'minutes')):
    if seconds >= 2 * size:
      return f'{seconds // size:.0f} {unit}'
  return f'{max(0, seconds):.0f} seconds'


def _in_use(path: pathlib.Path) -> InUse:
  until = time.monotonic() + _PATIENCE
  while not (holder := _read(path)) and time.monotonic() < until:
    time.sleep(0.05)
  return InUse(
    f'Found {path.parent} in use by {_named(holder)}; expected a run folder '
    'in which no other process runs. Wait for its end, stop it, or choose '
    'another --workdir.'
  )
