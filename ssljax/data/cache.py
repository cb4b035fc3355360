"""Arrays that take long to make, kept in files between runs."""

import fcntl
import os
import pathlib
from collections.abc import Callable

import numpy as np
from absl import logging


def kept(
  path, make: Callable[[], np.ndarray], *, shape: tuple[int, ...], dtype
) -> np.ndarray:
  """What `make` returns, from a file where it has been made before.

  The file appears complete or not at all, and one of another shape or type, or
  that is torn, is made again. Processes that want the same wait for the first.
  Where nothing can be written the array is made each time, with a warning.

  Args:
    path: of the file; its name says all that the array depends on.
    make: called without arguments.
    shape: of the array.
    dtype: of the array.

  Returns:
    The array; read-only and still in its file where that was there.
  """
  path = pathlib.Path(path)
  found = _read(path, shape, dtype)
  if found is not None:
    return found
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix('.lock').open('w')
  except OSError as error:
    logging.warning('Cannot keep %s: %s', path, error)
    return make()
  with lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # a process that dies lets go of it
    found = _read(path, shape, dtype)
    if found is None:
      found = make()
      _write(path, found)
  return found


def _read(path: pathlib.Path, shape, dtype) -> np.ndarray | None:
  try:
    found = np.load(path, mmap_mode='r')
  except (OSError, ValueError, EOFError):
    return None
  if found.shape != tuple(shape) or found.dtype != dtype:
    return None
  return found


def _write(path: pathlib.Path, array: np.ndarray) -> None:
  part = path.with_suffix('.incomplete')
  try:
    with part.open('wb') as file:
      np.save(file, array)
      file.flush()
      # Or a machine that loses power keeps the name and not the bytes.
      os.fsync(file.fileno())
    part.replace(path)
  except OSError as error:
    logging.warning('Cannot keep %s: %s', path, error)
    part.unlink(missing_ok=True)
