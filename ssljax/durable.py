"""Files that outlast a kill, a full disk and a flipped bit.

A file is written beside its place and moved there when it is whole. The
`digests.json` of a folder has the SHA-256 of files in it, by which they are
known again when they are read. Folders of earlier versions have no such list,
and their files are read unchecked.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from ssljax.errors import UserError

LISTING = 'digests.json'
JSON_LIMIT = 2**26  # the most bytes of a JSON file that is read
_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *_PERMISSION)


class Damaged(UserError):
  """A file is not what was written; the message names it."""


class CannotWrite(UserError):
  """The disk is full, a quota is used up, or a folder may not be written to."""


@contextlib.contextmanager
def writes(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns an error of writing `path` into a `CannotWrite` that names it."""
  try:
    yield
  except OSError as error:
    raise CannotWrite(cannot_write(path, error)) from None


def full(error: BaseException) -> OSError | None:
  """What an error of another library says of a disk that took no more."""
  if isinstance(error, OSError) and error.errno in _FULL:
    return error
  for number in _FULL:
    if os.strerror(number) in str(error):
      return OSError(number, os.strerror(number))
  return None


def cannot_write(path: str | os.PathLike[str], error: OSError) -> str:
  """What went wrong with writing a file, and what is needed."""
  there = pathlib.Path(path).absolute()
  there = next(each for each in (there, *there.parents) if os.path.exists(each))
  why = error.strerror or str(error) or type(error).__name__
  if error.errno == errno.EDQUOT:
    needed = 'room in your quota'
  elif error.errno in _PERMISSION:
    needed = f'a folder that may be written to, which {there} is not'
  elif error.errno == errno.EFBIG:
    needed = 'leave to write larger files (see ulimit -f)'
  elif error.errno in (errno.ENOSPC, None):
    free = shutil.disk_usage(there).free
    needed = f'room on its disk, which has {free / 2**20:,.0f} MB free'
  else:
    needed = f'a path below {there} that can be written'
  return (
    f'Found no way to write {path} ({why}); expected {needed}. What was saved '
    'before is kept; once this is put right, the same command goes on from it.'
  )


@contextlib.contextmanager
def replacing(
  path: str | os.PathLike[str], mode: str = 'w', **options: Any
) -> Iterator[IO[Any]]:
  """Opens a file that takes the place of `path` when it is whole.

  Where anything goes wrong, an old file stays as it was and nothing is left
  beside it. The folder is made if it is missing.

  Raises:
    CannotWrite: as `writes`.
  """
  path = pathlib.Path(path)
  # Processes of other hosts may have the same number.
  own = f'{os.getpid()}-{uuid.uuid4().hex[:8]}'
  part = path.with_name(f'{path.name}.{own}.tmp')
  try:
    with writes(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      with part.open(mode, **options) as file:
        yield file
        file.flush()
        # Otherwise a power cut could leave the file's name without its bytes.
        os.fsync(file.fileno())
      part.replace(path)
  finally:
    with contextlib.suppress(OSError):
      part.unlink()


def digest_of(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def digest_of_file(path: str | os.PathLike[str]) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def files_in(folder: pathlib.Path) -> list[str]:
  """The files of a folder and of the folders in it, but for the listing.

  Raises:
    Damaged: there is a link, a pipe or a device among them, which no program
      of ours makes.
  """
  found = []
  for top, folders, files in os.walk(folder):
    for name in (*folders, *files):
      path = pathlib.Path(top, name)
      mode = path.lstat().st_mode
      if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = 'a link' if stat.S_ISLNK(mode) else 'a pipe or a device'
        raise Damaged(
          f'Found {kind} at {path}; expected a file, because only files are '
          'written there. Take the folder from where it came from again.'
        )
    found += [
      pathlib.Path(top, name).relative_to(folder).as_posix() for name in files
    ]
  return sorted(each for each in found if each != LISTING)


def record(folder: pathlib.Path, digests: Mapping[str, str]) -> None:
  """Adds digests to the listing of a folder, by the files' names.

  Record a file before it is written: a kill between the two then leaves a file
  that is refused, and not one that nobody checks.
  """
  known = {}
  with contextlib.suppress(Damaged):  # a new listing takes its place
    known = listing(folder) or {}
  text = json.dumps({**known, **digests}, indent=2, ensure_ascii=False)
  with replacing(folder / LISTING, encoding='utf-8') as file:
    file.write(text + '\n')


def record_folder(folder: pathlib.Path) -> None:
  """Writes the listing of all files of a folder."""
  found = {
    name: digest_of_file(folder / name)
    for name in files_in(folder)
    if not name.endswith('.tmp')
  }
  (folder / LISTING).unlink(missing_ok=True)
  record(folder, found)


def listing(folder: pathlib.Path) -> dict[str, str] | None:
  """The digests of a folder by its files' names; None if it has no listing.

  Raises:
    Damaged: the listing is not one that `record` has written.
  """
  path = folder / LISTING
  try:
    data = _read(path, JSON_LIMIT)
    found = json.loads(data)
  except FileNotFoundError:
    return None
  except (OSError, ValueError, RecursionError) as error:
    raise _damaged(path, f'it cannot be read: {_line(error)}') from None
  known = isinstance(found, dict) and all(
    isinstance(value, str) and not _leads_out(name)
    for name, value in found.items()
  )
  if not known:
    raise _damaged(path, 'it is no list of files with their digests')
  return found


def damage(
  folder: pathlib.Path, names: Iterable[str] | None = None
) -> dict[str, str]:
  """What is wrong with the files of a folder, by their names.

  Args:
    folder: that may have a listing.
    names: looks at these of the listed files only.
  """
  try:
    known = listing(folder)
  except Damaged as error:
    return {LISTING: str(error)}
  found = {}
  for name, expected in (known or {}).items():
    if names is not None and name not in names:
      continue
    try:
      if not stat.S_ISREG((folder / name).lstat().st_mode):
        found[name] = 'it is no file'
      elif digest_of_file(folder / name) != expected:
        found[name] = 'its bytes are not those that were written'
    except FileNotFoundError:
      found[name] = 'it is missing'
    except OSError as error:
      found[name] = f'it cannot be read ({error.strerror})'
  return found


def read_bytes(path: pathlib.Path, *, limit: int = 2**40) -> bytes:
  """The content of a file, checked against the listing of its folder.

  Raises:
    Damaged: the content is not what was written, or larger than `limit`.
    FileNotFoundError: there is no such file.
  """
  data = _read(path, limit)
  expected = (listing(path.parent) or {}).get(path.name)
  if expected is not None and digest_of(data) != expected:
    raise _damaged(path, 'its bytes are not those that were written')
  return data


def _read(path: pathlib.Path, limit: int) -> bytes:
  found = path.stat()
  if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
    what = f'{found.st_size:,} bytes' if found.st_size > limit else 'no file'
    raise _damaged(path, f'there is {what}')
  return path.read_bytes()


def _damaged(path: pathlib.Path, why: str) -> Damaged:
  return Damaged(
    f'Found {path} damaged: {why}; expected the file as ssljax wrote it. Put a '
    'copy of it back, or start the command of its run again, which computes '
    'again what it can.'
  )


def _leads_out(name: str) -> bool:
  path = pathlib.PurePosixPath(name)
  return path.is_absolute() or '..' in path.parts or '\0' in name


def _line(error: BaseException) -> str:
  return (str(error) or type(error).__name__).splitlines()[0]
