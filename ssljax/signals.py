"""What SIGTERM and Ctrl-C do to a command.

While modules are imported they end the process, as there is nothing to tidy
up. Once `handled`, a run is ended by an exception, wherever it is; while its
steps run, `deferred` keeps the exception back until the state is saved.
"""

import _thread
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

STOPPED = 75  # the exit status: EX_TEMPFAIL of sysexits.h, 'try again'
NUMBERS = (signal.SIGINT, signal.SIGTERM)
_ONCE = 1.0  # seconds in which a second signal is taken for the same one
_PATIENCE = 8.0  # seconds in which a run that saves nothing has to end


class Stopped(BaseException):
  """A signal asked for an end; what there was to save is saved.

  Not an Exception, because the code that a signal interrupts may catch those.
  """


class _Asked:
  """Of this process: when a signal came, and how deep it is in `deferred`."""

  since: float | None = None
  depth = 0


def end_at_once() -> None:
  """Lets a signal end the process, without Python's traceback at Ctrl-C."""
  if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
  """Inside, Ctrl-C raises KeyboardInterrupt again, after `end_at_once`."""
  if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    yield
  finally:
    end_at_once()


@contextlib.contextmanager
def handled() -> Iterator[Callable[[], bool]]:
  """Ends what runs inside by `Stopped` at a signal; afterwards as at a start.

  Yields:
    A function that tells whether a signal came.
  """
  _Asked.since, _Asked.depth = None, 0
  try:
    for number in NUMBERS:
      signal.signal(number, _ask)
    yield _asked
  finally:
    for number in NUMBERS:
      signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Keeps `Stopped` back to the end of what has a state to save."""
  _Asked.depth += 1
  try:
    yield
  finally:
    _Asked.depth -= 1
  if _asked() and not _Asked.depth:
    _end()


def _asked() -> bool:
  return _Asked.since is not None


def _ask(number: int, frame: object) -> None:
  del frame
  now = time.monotonic()
  if _Asked.since is not None:
    # A terminal or a scheduler may tell a process and its group at once.
    if now - _Asked.since > _ONCE:
      signal.signal(number, signal.SIG_DFL)
      os.kill(os.getpid(), number)
    return
  _Asked.since = now
  saving = ': saving the state after this step' if _Asked.depth else ''
  # print could find stderr in the middle of another print, and raise.
  with contextlib.suppress(OSError):
    os.write(2, f'\nStopping{saving}.\n'.encode())
  if not _Asked.depth:
    _end()


def _end() -> None:
  # Not threading.Thread, whose lock this thread may hold.
  _thread.start_new_thread(_exit_later, ())
  raise Stopped('Stopped; the same command goes on from here.')


def _exit_later() -> None:
  """Ends a process whose tidying up takes too long, as of a full queue."""
  time.sleep(_PATIENCE)
  os._exit(STOPPED)
