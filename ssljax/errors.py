"""What a person can put right: reported in a line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
  """Names what was found, what was expected, and the remedy."""


def suggest(word: str, known: Iterable[str]) -> str:
  """' Did you mean ...?' for the nearest known word, or nothing."""
  close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
  return f' Did you mean {close[0]!r}?' if close else ''


def check_known(kind: str, found: str, known: Iterable[str]) -> None:
  """UserError unless `found` is one of the known words."""
  known = list(known)
  if found not in known:
    raise UserError(
      f'Found {kind} {found!r}; expected one of {", ".join(known)}.'
      + suggest(found, known)
    )
