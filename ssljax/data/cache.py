"""Keeps arrays that take long to make in files, for the next run."""

import contextlib
import fcntl
import os
import pathlib
import uuid
from collections.abc import Callable

import numpy as np
from absl import logging
from numpy.typing import DTypeLike

from ssljax import durable


def kept(
  path: str | pathlib.Path,
  make: Callable[[], np.ndarray],
  *,
  shape: tuple[int, ...],
  dtype: DTypeLike,
) -> np.ndarray:
  """Returns the array in the file `path`, or makes the array and the file.

  The file appears complete or not at all, after a file with its SHA-256, whose
  name ends in `.digest`. A file that is torn or damaged, or that holds an array
  of another shape or dtype, is replaced; of a damaged one a warning is logged.
  Processes that want the same file at once wait until the first of them has
  made it. If the file cannot be written, a warning is logged and every call
  makes the array.

  Args:
    path: the file. Its name must tell everything that the array depends on,
      because a file of this name is taken as it is.
    make: makes the array; called without arguments.
    shape: the array's shape.
    dtype: the array's dtype.

  Returns:
    The array: a read-only memory map if the file was there, otherwise what
    `make` returned.
  """
  path = pathlib.Path(path)
  damaged = _damaged(path)
  found = None if damaged else _read(path, shape, dtype)
  if found is not None:
    return found
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix('.lock').open('w')
  except OSError as error:
    logging.warning('Cannot keep %s: %s', path, error)
    return make()
  with lock:
    # The system releases this lock when its process dies.
    with contextlib.suppress(OSError):  # a file system without flock
      fcntl.flock(lock, fcntl.LOCK_EX)
      for left in path.parent.glob(f'{path.stem}.*.incomplete'):
        left.unlink()  # of a killed process
    damaged = _damaged(path)
    found = None if damaged else _read(path, shape, dtype)
    if found is None:
      if damaged:
        logging.warning(
          'Found %s damaged: its bytes are not those that were written. It is '
          'made again.',
          path,
        )
      found = make()
      _write(path, found)
  return found


def _digest_path(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f'{path.name}.digest')


def _damaged(path: pathlib.Path) -> bool:
  """Whether a file is not what its digest says; earlier versions have none."""
  try:
    expected = _digest_path(path).read_text(errors='replace')
    return expected.strip() != durable.digest_of_file(path)
  except OSError:
    return False


def _read(
  path: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike
) -> np.ndarray | None:
  try:
    # Unlike np.load it opens neither archives nor pickles. A damaged head
    # raises errors of many kinds.
    found = np.lib.format.open_memmap(path, mode='r')
  except Exception:
    return None
  if found.shape != tuple(shape) or found.dtype != dtype:
    return None
  return found


def _write(path: pathlib.Path, array: np.ndarray) -> None:
  part = path.with_name(f'{path.stem}.{uuid.uuid4().hex[:8]}.incomplete')
  try:
    with part.open('wb') as file:
      np.save(file, array)
      file.flush()
      # Otherwise a power cut could leave the file's name without its bytes.
      os.fsync(file.fileno())
    with durable.replacing(_digest_path(path)) as file:
      file.write(durable.digest_of_file(part) + '\n')
    part.replace(path)
  except (OSError, durable.CannotWrite) as error:
    logging.warning('Cannot keep %s: %s', path, error)
    part.unlink(missing_ok=True)
