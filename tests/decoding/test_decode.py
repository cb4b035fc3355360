"""Decoding against the definition of CTC: every path of small logits."""

import copy
import itertools
import pickle
import re

import numpy as np
import pytest

from ssljax.decoding import Constraint, Reading, decode
from ssljax.errors import UserError
from ssljax.text import Charset

CHARSET = Charset('ab1')
ROWS = 20


def _texts(logits, valid):
  """{text: probability} of one row, from all of its paths in float64."""
  odds = np.exp(np.float64(logits))
  odds /= odds.sum(axis=1, keepdims=True)
  found = {}
  for path in itertools.product(range(odds.shape[1]), repeat=valid.sum()):
    text = CHARSET.decode([k for k, _ in itertools.groupby(path)])
    odds_of_path = np.prod(odds[valid][np.arange(len(path)), path])
    found[text] = found.get(text, 0) + odds_of_path
  return found


@pytest.fixture(scope='module')
def small():
  """Logits of five frames, how many of them count, and all texts of each."""
  rng = np.random.default_rng(0)
  logits = rng.normal(scale=2, size=(ROWS, 5, 4)).astype(np.float32)
  valid = np.arange(5) < rng.integers(1, 6, size=ROWS)[:, None]
  return (
    logits,
    valid,
    [_texts(*row) for row in zip(logits, valid, strict=True)],
  )


def test_a_confidence_is_the_sum_over_all_paths(small):
  logits, valid, texts = small
  readings = decode(logits, valid, CHARSET)
  greedy = CHARSET.greedy(logits, valid)
  for reading, every, (text, path) in zip(readings, texts, greedy, strict=True):
    assert reading.text == text
    assert reading.confidence == pytest.approx(every[text], rel=1e-9)
    assert reading.confidence >= path * (1 - 1e-9)
    assert reading.alternatives == ()
  assert any(
    r.confidence > 1.5 * p for r, (_, p) in zip(readings, greedy, strict=True)
  )


def test_a_temperature_divides_the_logits(small):
  logits, valid, _ = small
  cold = decode(logits, valid, CHARSET, temperature=2.0)
  assert cold == decode(logits / 2, valid, CHARSET)
  assert cold != decode(logits, valid, CHARSET)


CONSTRAINTS = [
  (None, r'.*'),
  (Constraint(charset='ab'), '[ab]*'),
  (Constraint(charset='digits'), '1*'),
  (Constraint(lengths=(2, 3)), '.{2,3}'),
  (Constraint(pattern='LD'), '[ab]1'),
  (Constraint(pattern='A?\\a'), '..a'),
  (Constraint(lexicon=('aab', 'bb', '1a', 'x')), 'aab|bb|1a'),
  (Constraint(lexicon=('aab', 'bb', '1a'), lengths=(2, 2)), 'bb|1a'),
  (Constraint(charset='ab', lengths=(3, 9)), '[ab]{3,9}'),
]


@pytest.mark.parametrize(('constraint', 'allowed'), CONSTRAINTS)
def test_the_best_texts_are_those_of_all_paths(small, constraint, allowed):
  logits, valid, texts = small
  found = decode(logits, valid, CHARSET, top=4, constraint=constraint, beam=128)
  for reading, every in zip(found, texts, strict=True):
    best = sorted(
      ((p, text) for text, p in every.items() if re.fullmatch(allowed, text)),
      reverse=True,
    )[:4]
    assert [t for t, _ in reading.alternatives] == [t for _, t in best]
    np.testing.assert_allclose(
      [p for _, p in reading.alternatives], [p for p, _ in best], rtol=1e-9
    )
    # With fewer frames than any allowed text needs nothing can be read.
    assert reading == (*reading.alternatives, ('', 0.0))[0]


@pytest.mark.parametrize(('constraint', 'allowed'), CONSTRAINTS[1:])
def test_a_narrow_beam_keeps_to_a_constraint(small, constraint, allowed):
  """Texts that cannot be completed any more must not crowd out the others."""
  logits, valid, texts = small
  found = decode(logits, valid, CHARSET, constraint=constraint, beam=1)
  for reading, every in zip(found, texts, strict=True):
    possible = any(re.fullmatch(allowed, text) for text in every)
    assert bool(re.fullmatch(allowed, reading.text)) == possible or not possible
    assert (reading.confidence > 0) == possible


def test_a_character_is_judged_against_others_in_its_place(small):
  logits, valid, texts = small
  lengths = set()
  for reading, every in zip(decode(logits, valid, CHARSET), texts, strict=True):
    lengths.add(len(reading.text))
    assert len(reading.characters) == len(reading.text)
    for place, confidence in enumerate(reading.characters):
      start, end = reading.text[:place], reading.text[place + 1 :]
      others = {start + other + end for other in ('', *CHARSET.characters)}
      expected = every[reading.text] / sum(every.get(o, 0) for o in others)
      assert confidence == pytest.approx(expected, rel=1e-9)
  assert lengths >= {1, 2, 3}


def _logits(text):
  """Frames that show a path of '-' for the blank and of characters."""
  return 9.0 * np.eye(4)[[['-', *CHARSET.characters].index(c) for c in text]]


@pytest.mark.parametrize('top', [1, 3])
@pytest.mark.parametrize(
  ('path', 'text'),
  [('aa-a--', 'aa'), ('aaaaaa', 'a'), ('-a-a-a', 'aaa'), ('1--1bb', '11b')],
)
def test_doubled_characters_survive(path, text, top):
  (reading,) = decode(_logits(path)[None], None, CHARSET, top=top)
  assert reading.text == text and reading.confidence > 0.99


def test_paths_are_merged_where_the_best_path_misleads():
  """'a' is written in three ways, the empty text in one, which is the best."""
  logits = np.log([[[0.55, 0.45, 1e-9, 1e-9]] * 2])
  (greedy,) = decode(logits, None, CHARSET)
  assert greedy.text == '' and greedy.confidence == pytest.approx(0.3025)
  (reading,) = decode(logits, None, CHARSET, top=2, beam=2)
  assert reading.alternatives == (
    ('a', pytest.approx(0.6975)), ('', pytest.approx(0.3025))
  )  # fmt: skip
  assert reading == reading.alternatives[0]


def test_sums_hold_over_many_frames():
  """The probability of one in 400 frames is 0.55^400 or less: no underflow."""
  logits = np.log(np.full((1, 2000, 4), 0.15)) + np.log(4) * np.eye(4)[0]
  (reading,) = decode(logits, None, CHARSET, constraint=Constraint(pattern='L'))
  assert reading.text in 'ab'
  assert 0 <= reading.confidence <= 1
  (nothing,) = decode(_logits('-' * 2000)[None], None, CHARSET)
  assert nothing.text == '' and nothing.characters == ()
  assert nothing.confidence == pytest.approx((1 + 3 * np.exp(-9)) ** -2000)


def test_any_number_of_rows(small):
  logits, valid, _ = small
  assert decode(np.zeros((0, 5, 4)), None, CHARSET, top=2) == []
  every = decode(logits, valid, CHARSET, top=3)
  for count in (1, 3):
    part = decode(logits[:count], valid[:count], CHARSET, top=3)
    assert part == every[:count]
    assert part[0].alternatives == every[0].alternatives


def test_alternatives_are_in_the_order_of_their_whole_probability(small):
  """A narrow beam loses paths, so that its own order may be another one."""
  logits, valid, texts = small
  found = decode(logits, valid, CHARSET, top=3, beam=3)
  for reading, every in zip(found, texts, strict=True):
    odds = [probability for _, probability in reading.alternatives]
    assert odds == sorted(odds, reverse=True)
    assert reading.confidence == pytest.approx(every[reading.text], rel=1e-9)


def test_the_second_best_stands_beside_the_best_path(small):
  logits, valid, texts = small
  plain = decode(logits, valid, CHARSET)
  found = decode(logits, valid, CHARSET, second=True)
  overtaken = 0
  for reading, first, every in zip(found, plain, texts, strict=True):
    assert reading == first
    assert reading.characters == pytest.approx(first.characters)
    others = sorted(set(every) - {reading.text}, key=every.get)
    best = sorted([reading.text, others[-1]], key=every.get)[::-1]
    assert [text for text, _ in reading.alternatives] == best
    for text, odds in reading.alternatives:
      assert odds == pytest.approx(every[text], rel=1e-9)
    overtaken += best[0] != reading.text
  assert overtaken  # another text may be more probable than the best path's


def test_a_beam_is_as_wide_as_what_is_asked_for(small):
  logits, _, _ = small
  assert len(decode(logits, None, CHARSET, top=6, beam=2)[0].alternatives) == 6
  for wrong in ({'top': 0}, {'beam': 0}, {'temperature': 0.0}):
    with pytest.raises(UserError, match=r'expected numbers above 0'):
      decode(logits, None, CHARSET, **wrong)


def test_a_reading_is_a_pair_with_more():
  reading = Reading(
    'ab', np.float32(0.5), [0.75, 1], [('ab', 0.5), ('b', 0.25)]
  )
  text, confidence = reading
  assert (text, confidence) == ('ab', 0.5) == reading
  assert repr(reading) == "('ab', 0.5)"
  assert reading.text == 'ab' and reading.confidence == 0.5
  for again in (pickle.loads(pickle.dumps(reading)), copy.deepcopy(reading)):
    assert again == reading and isinstance(again, Reading)
    assert again.characters == (0.75, 1.0)
    assert again.alternatives == (('ab', 0.5), ('b', 0.25))
