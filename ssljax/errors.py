"""Errors that the user can correct; they are shown without a traceback."""

import difflib
import traceback
from collections.abc import Iterable


class UserError(ValueError):
  """An error whose message names what was found, expected, and the remedy."""


DEBUG = 'prints where in the code an error was found, too'


def told(error: BaseException, *, debug: bool = False) -> str:
  """What a command says of an error that ends it.

  Args:
    error: that the user can correct.
    debug: tells where in the code it was found, and what led to it.
  """
  trace = ''.join(traceback.format_exception(error)) if debug else ''
  return f'{trace}{type(error).__name__}: {error}'


def suggest(word: str, known: Iterable[str]) -> str:
  """' Did you mean ...?' for the nearest known word, or '' if none is near."""
  close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
  return f' Did you mean {close[0]!r}?' if close else ''


def check_known(kind: str, found: str, known: Iterable[str]) -> None:
  """Raises a UserError unless `found` is one of the known words.

  Args:
    kind: what the word names, for the message.
    found: the word to check.
    known: all the known words.
  """
  known = list(known)
  if found not in known:
    raise UserError(
      f'Found {kind} {found!r}; expected one of {", ".join(known)}.'
      + suggest(found, known)
    )
