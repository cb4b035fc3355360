"""What constraints allow, and what is said of those that allow nothing."""

import itertools

import numpy as np
import pytest

from ssljax.decoding import Constraint, check, decode
from ssljax.decoding.constraints import automaton
from ssljax.errors import UserError
from ssljax.text import CHARSETS, Charset

CHARSET = Charset('ab12-')


def _allows(constraint, text, charset=CHARSET):
  found, state = automaton(constraint, charset), 0
  for character in text:
    state = found.follow[state, charset.characters.index(character) + 1]
    if state < 0:
      return False
  return bool(found.accepts[state])


@pytest.mark.parametrize(
  ('constraint', 'allowed', 'refused'),
  [
    (Constraint(pattern='DL-?'), ['1a-b', '2b--'], ['aa-b', '1a-', '1a-bb']),
    (Constraint(pattern='AA'), ['1a', 'b2'], ['-a', '']),
    (Constraint(charset='digits'), ['', '1221'], ['1a']),
    (Constraint(charset='1a'), ['a1a'], ['2', 'b']),
    (Constraint(charset='digits', lengths=(2, 3)), ['12', '111'], ['1', 'ab']),
    (Constraint(charset='ab', pattern='A?'), ['ab'], ['a1', 'a-']),
    (Constraint(lexicon=('ab', 'aba')), ['ab', 'aba'], ['a', 'abab', '']),
    (Constraint(lexicon=('ab', '1-'), pattern='D?'), ['1-'], ['ab']),
    (Constraint(lexicon=('ab', '12'), charset='digits'), ['12'], ['ab']),
    (Constraint(lengths=(0, 1)), ['', 'a'], ['aa']),
  ],
)
def test_what_a_constraint_allows(constraint, allowed, refused):
  assert check(constraint, CHARSET) == []
  assert all(_allows(constraint, text) for text in allowed)
  assert not any(_allows(constraint, text) for text in refused)


def test_a_backslash_takes_a_sign_as_it_is():
  charset = Charset('D?\\L4')
  assert _allows(Constraint(pattern='\\D\\?\\\\D'), 'D?\\4', charset)
  assert not _allows(Constraint(pattern='\\D\\?\\\\D'), 'L?\\4', charset)


def _shortest(found, charset):
  """The fewest frames to an end from each state and class, path by path."""
  fewest = {}
  for state, last in np.ndindex(found.follow.shape):
    for frames in range(6):
      for path in itertools.product(range(charset.classes), repeat=frames):
        at, before = state, last
        for frame in path:
          if frame and frame != before:
            at = found.follow[at, frame] if at >= 0 else -1
          before = frame
        if at >= 0 and found.accepts[at]:
          fewest.setdefault((state, last), frames)
  return fewest


def test_the_frames_that_are_needed_count_blanks_between_equals():
  charset = Charset('ab')
  for constraint in (
    Constraint(lexicon=('aab', 'ba', 'bbb')),
    Constraint(charset='a', lengths=(2, 3)),
    Constraint(charset='b'),
  ):
    found = automaton(constraint, charset)
    for place, frames in _shortest(found, charset).items():
      assert found.needs[place] == frames


REFUSED = [
  (Constraint(pattern='DDx'), r"'x' at position 2.*expected one of 'ab12-'"),
  (Constraint(pattern='D\\'), 'ends in a backslash'),
  (Constraint(pattern='LL', charset='digits'), 'no character of .* position 0'),
  (Constraint(pattern='DD', lengths=(3, 4)), 'has 2 characters.*3 to 4'),
  (Constraint(lengths=(4, 3)), 'lengths 4 to 3'),
  (Constraint(lengths=(0, 0)), 'lengths 0 to 0'),
  (Constraint(charset='xyz'), "'xyz', of which the model reads no"),
  (Constraint(charset='alnum63'), "Did you mean 'alnum62'"),
  (Constraint(charset='digit'), "Did you mean 'digits'"),
  (Constraint(lexicon=()), 'Found 0 words in the lexicon'),
  (Constraint(lexicon=('xy',)), "such as 'xy'.* none that the model"),
  (Constraint(lexicon=('ab',), lengths=(3, 3)), 'satisfy the other'),
]


@pytest.mark.parametrize(('constraint', 'message'), REFUSED)
def test_constraints_that_allow_nothing_are_refused(constraint, message):
  with pytest.raises(UserError, match=message):
    check(constraint, CHARSET)
  with pytest.raises(UserError, match=message):
    decode(np.zeros((1, 4, 6)), None, CHARSET, constraint=constraint)


def test_a_letter_for_a_model_of_digits_is_explained():
  with pytest.raises(UserError, match=r'has a letter at position 1.*D is a di'):
    check(Constraint(pattern='DL'), CHARSETS['digits'])


def test_words_that_cannot_be_read_are_told():
  constraint = Constraint(lexicon=('ab', 'öl', 'xx', 'a1'))
  (note,) = check(constraint, CHARSET)
  assert note.startswith('2 of 4 words') and "'öl', 'xx'." in note


def test_a_constraint_that_says_nothing_is_none():
  assert not Constraint()
  assert Constraint(lexicon=()) and Constraint(charset='a')
  logits = np.random.default_rng(0).normal(size=(3, 5, 6))
  free = decode(logits, None, CHARSET)
  assert decode(logits, None, CHARSET, constraint=Constraint()) == free
