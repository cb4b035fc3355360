"""What the command asks of its process: signals, memory, caches, quiet."""

import ctypes
import logging
import os
import pathlib
import signal
import sys
import warnings

import jax
from absl import logging as absl_logging


class Stop:
  """True once a signal came; a second interrupt ends the process at once."""

  def __init__(self):
    self._asked = False
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._ask)

  def _ask(self, number, frame):
    del frame
    if self._asked:
      signal.signal(number, signal.SIG_DFL)
      os.kill(os.getpid(), number)
    self._asked = True
    print('\nStopping: saving the state after this step.', file=sys.stderr)

  def __call__(self) -> bool:
    return self._asked


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


def quiet() -> None:
  """Keeps other libraries' notes off the console."""
  absl_logging.set_verbosity(absl_logging.WARNING)
  logging.getLogger('jax').setLevel(logging.ERROR)
  warnings.filterwarnings('ignore', module='tensorflow_datasets')
  warnings.filterwarnings('ignore', module='PIL')  # which names no file
