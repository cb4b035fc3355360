"""What the command asks of its process: memory, caches, quiet."""

import contextlib
import ctypes
import logging
import os
import pathlib
import threading
import warnings
from collections.abc import Iterator

import jax
from absl import logging as absl_logging
from jax.experimental.compilation_cache import compilation_cache

from ssljax.errors import UserError

# The process in which this package first used JAX; None before it did.
_first_process: int | None = None
_keeping = threading.RLock()


def trim_heap() -> None:
  """Returns to the system what is free, such as what compilation used.

  Otherwise a run keeps half a gigabyte for ever, and grows, because what stays
  is spread over what is free. The pages that a step asks for are mapped again,
  so this is for moments that come once in many steps.
  """
  try:
    trim = ctypes.CDLL(None).malloc_trim
  except (AttributeError, OSError, TypeError):
    return  # not glibc
  trim(0)


def keep_heap() -> None:
  """Lets glibc keep freed memory, which each CPU step asks for again.

  By default every large temporary of a step is mapped and unmapped, and its
  pages faulted in anew: a third of a laptop-scale step was spent there.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return  # not glibc
  trim_threshold, mmap_max = -1, -4
  mallopt(mmap_max, 0)
  mallopt(trim_threshold, 2**31 - 1)


def keep_compiled(data_dir: str) -> None:
  """Reuses compiled steps across stages and restarts."""
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  folder = pathlib.Path(data_dir).absolute() / 'compiled'
  jax.config.update('jax_compilation_cache_dir', str(folder))


def default_data_dir() -> pathlib.Path:
  """Where rendered data and compiled programs are kept, if nobody says."""
  given = os.environ.get('SSLJAX_DATA_DIR') or '~/.cache/ssljax'
  return pathlib.Path(given).expanduser().absolute()


@contextlib.contextmanager
def compiled_kept() -> Iterator[None]:
  """Keeps what is compiled inside on the disk, for processes that come later.

  It is kept where the command keeps its programs. Whoever has chosen a cache of
  JAX, by its environment variable or its config, gets that one; JAX's config is
  as before when this is left, because the rest of the process is the user's.
  """
  named = 'JAX_COMPILATION_CACHE_DIR' in os.environ
  folder = default_data_dir() / 'compiled'
  chosen = getattr(jax.config, 'jax_compilation_cache_dir', None)
  if named or chosen or not _writable(folder):
    yield
    return
  options = {
    'jax_compilation_cache_dir': str(folder),
    # The default, a second, is what the program of a small network takes.
    'jax_persistent_cache_min_compile_time_secs': 0.0,
  }
  with _keeping:
    before = {name: getattr(jax.config, name) for name in options}
    try:
      _configure(options)
      yield
    finally:
      _configure(before)


def _configure(options: dict[str, object]) -> None:
  for name, value in options.items():
    jax.config.update(name, value)
  # JAX otherwise stays with the folder that it has opened.
  compilation_cache.reset_cache()


def _writable(folder: pathlib.Path) -> bool:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return os.access(folder, os.W_OK)


def check_not_forked() -> None:
  """Refuses a process that was forked from one that has used JAX.

  JAX's threads do not exist there, so that what waits for them waits for ever.
  """
  global _first_process
  if _first_process is None:
    _first_process = os.getpid()
  if _first_process != os.getpid():
    raise UserError(
      'Found a process that was forked after a trained run was loaded, in '
      'which JAX would hang; expected a new one. Start processes by '
      "multiprocessing.get_context('spawn'), to which a loaded run can be "
      'passed, or use threads.'
    )


def quiet() -> None:
  """Keeps other libraries' notes off the console."""
  absl_logging.set_verbosity(absl_logging.WARNING)
  logging.getLogger('jax').setLevel(logging.ERROR)
  warnings.filterwarnings('ignore', module='tensorflow_datasets')
  warnings.filterwarnings('ignore', module='PIL')  # which names no file
