"""What a text may be: characters, lengths, a pattern, or a list of words."""

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ssljax.errors import UserError
from ssljax.text import BLANK, CHARSETS, Charset

NEVER = 1_000_000  # frames that no image has
SIGNS = {
  'D': ('a digit', str.isdigit),
  'L': ('a letter', str.isalpha),
  'A': ('a letter or a digit', str.isalnum),
  '?': ('any character', lambda character: True),
}


@dataclasses.dataclass(frozen=True)
class Constraint:
  """What every text has to satisfy; parts that are left out allow anything.

  Attributes:
    charset: the characters that may occur, or the name of a charset.
    lengths: the fewest and the most characters.
    pattern: a sign for each character: D is a digit, L a letter, A a letter or
      a digit, ? any character. Every other sign stands for itself, and so does
      a sign behind a backslash.
    lexicon: the texts themselves, one of which has to be read; None for any.
  """

  charset: str = ''
  lengths: tuple[int, int] | None = None
  pattern: str = ''
  lexicon: tuple[str, ...] | None = None

  def __bool__(self) -> bool:
    return self != Constraint()


class Automaton(NamedTuple):
  """The texts that a constraint allows, one character after the other.

  Attributes:
    follow: the state behind each state and class; -1 where no text goes on so.
    accepts: the states in which a text may end.
    needs: the fewest frames from a state to the end of a text, by the class of
      the frame before. A class that comes again needs a blank in between.
  """

  follow: Int[np.ndarray, 'states classes']
  accepts: Bool[np.ndarray, 'states']
  needs: Int[np.ndarray, 'states classes']


def check(constraint: Constraint, charset: Charset) -> list[str]:
  """Refuses what no text of the charset satisfies.

  Returns:
    What the user should know: the words of a lexicon that cannot be read.

  Raises:
    UserError: the constraint allows no text, or its parts are malformed.
  """
  automaton(constraint, charset)
  words = dict.fromkeys(constraint.lexicon or ())
  strange = [word for word in words if not set(word) <= set(charset.characters)]
  if not strange:
    return []
  shown = ', '.join(map(repr, strange[:3])) + (', ...' * (len(strange) > 3))
  return [
    f'{len(strange):,} of {len(words):,} words of the lexicon are never read, '
    f'because they have characters other than {charset.characters!r}: {shown}.'
  ]


@functools.lru_cache(maxsize=8)
def automaton(constraint: Constraint, charset: Charset) -> Automaton:
  """The automaton of a constraint; UserError as for `check`."""
  allowed = _allowed(constraint.charset, charset)
  fewest, most = _lengths(constraint.lengths)
  places = _places(constraint.pattern, charset)
  if places and not fewest <= len(places) <= most:
    raise UserError(
      f'The pattern {constraint.pattern!r} has {len(places)} characters; '
      f'expected {fewest} to {most} by the length. Change one of them.'
    )
  places = [place & allowed for place in places]
  if not all(places):
    raise UserError(
      f'The pattern {constraint.pattern!r} has no character of the charset '
      f'{constraint.charset!r} at position {places.index(set())}; expected at '
      'least one at every position. Change one of them.'
    )
  if constraint.lexicon is not None:
    found = _trie(constraint, charset, allowed, places, (fewest, most))
  elif places:
    found = _chain(places, [len(places)], charset.classes)
  elif most < NEVER:
    lengths = range(fewest, most + 1)
    found = _chain([allowed] * most, lengths, charset.classes)
  else:
    found = _any(allowed, fewest, charset.classes)
  return Automaton(*found, needs=_needs(*found))


def _allowed(named: str, charset: Charset) -> set[int]:
  """The classes of a constraint's characters."""
  everything = charset.characters
  if named in CHARSETS:
    wanted = CHARSETS[named].characters
  else:
    close = difflib.get_close_matches(named, CHARSETS, n=1, cutoff=0.8)
    if close and not set(named) <= set(everything):
      raise UserError(
        f'Found the charset {named!r}; expected a name or characters that the '
        f'model reads, {everything!r}. Did you mean {close[0]!r}?'
      )
    wanted = named or everything
  found = {i for i, c in enumerate(everything, 1) if c in wanted}
  if not found:
    raise UserError(
      f'Found the charset {named!r}, of which the model reads no character; '
      f'expected some of {everything!r}. Choose among them.'
    )
  return found


def _lengths(lengths: Sequence[int] | None) -> tuple[int, int]:
  if lengths is None:
    return 0, NEVER
  fewest, most = lengths
  if not 0 <= fewest <= most or not most:
    raise UserError(
      f'Found lengths {fewest} to {most}; expected the fewest and the most '
      'characters, such as (4, 6), or (5, 5) for exactly five.'
    )
  return fewest, most


def _places(pattern: str, charset: Charset) -> list[set[int]]:
  """The classes that a pattern allows at each position."""
  found, signs = [], iter(pattern)
  for sign in signs:
    name, fits = SIGNS.get(sign, (repr(sign), sign.__eq__))
    if sign == '\\':
      sign = next(signs, '')
      if not sign:
        raise UserError(
          f'The pattern {pattern!r} ends in a backslash; expected a character '
          'behind it, which then stands for itself. Write two for a backslash.'
        )
      name, fits = repr(sign), sign.__eq__
    classes = {i for i, c in enumerate(charset.characters, 1) if fits(c)}
    if not classes:
      raise UserError(
        f'The pattern {pattern!r} has {name} at position {len(found)}, which '
        f'the model does not read; expected one of {charset.characters!r}. '
        'In a pattern D is a digit, L a letter, A either, ? any character, and '
        'every other sign stands for itself.'
      )
    found.append(classes)
  return found


def _chain(places, ends, classes: int) -> tuple[np.ndarray, np.ndarray]:
  """Texts with the allowed classes at each place, of the lengths `ends`."""
  follow = np.full((len(places) + 1, classes), -1, np.int32)
  for state, place in enumerate(places):
    follow[state, list(place)] = state + 1
  return follow, np.isin(np.arange(len(follow)), list(ends))


def _any(allowed, fewest: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
  """Texts of the allowed classes, however long."""
  follow, accepts = _chain([allowed] * fewest, [fewest], classes)
  follow[fewest, list(allowed)] = fewest
  return follow, accepts


def _trie(constraint, charset, allowed, places, lengths):
  """The words of the lexicon that satisfy the other parts too."""
  known = {c: i for i, c in enumerate(charset.characters, 1) if i in allowed}
  words = []
  for word in dict.fromkeys(constraint.lexicon):
    classes = [known.get(character, BLANK) for character in word]
    fits = BLANK not in classes and lengths[0] <= len(word) <= lengths[1]
    if places:
      fits = fits and len(word) == len(places)
      fits = fits and all(i in p for i, p in zip(classes, places, strict=True))
    if fits and classes:
      words.append(classes)
  if not words:
    count = len(constraint.lexicon)
    first = f', such as {constraint.lexicon[0]!r},' if count else ''
    raise UserError(
      f'Found {count} words in the lexicon{first} and none that the model can '
      f'read; expected words of the characters {charset.characters!r} that '
      'satisfy the other constraints too. Correct the lexicon or leave it out.'
    )
  branches: list[dict[int, int]] = [{}]
  ends = []
  for word in words:
    state = 0
    for character in word:
      if character not in branches[state]:
        branches[state][character] = len(branches)
        branches.append({})
      state = branches[state][character]
    ends.append(state)
  follow = np.full((len(branches), charset.classes), -1, np.int32)
  for state, branch in enumerate(branches):
    follow[state, list(branch)] = list(branch.values())
  return follow, np.isin(np.arange(len(follow)), ends)


def _needs(follow: np.ndarray, accepts: np.ndarray) -> np.ndarray:
  """See `Automaton`; found by going back from the ends, frame by frame."""
  needs = np.where(accepts[:, None], 0, NEVER).astype(np.int32)
  needs = np.repeat(needs, follow.shape[1], axis=1)
  classes = np.arange(follow.shape[1])
  while True:
    onward = np.where(follow < 0, NEVER, 1 + needs[follow, classes])
    # The least over the other classes, or the same class behind a blank.
    first = onward.argmin(axis=1)
    rows = np.arange(len(onward))
    least = onward[rows, first]
    onward[rows, first] = NEVER
    second = np.minimum(onward.min(axis=1), least + 1)
    found = np.repeat(least[:, None], follow.shape[1], axis=1)
    found[rows, first] = second
    found[accepts] = 0
    found = np.minimum(found, NEVER).astype(np.int32)
    if (found == needs).all():
      return needs
    needs = found
