"""Charsets and greedy CTC, against a reading that goes frame by frame."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from ssljax import text

DIGITS = text.Charset('0123456789')


def test_round_trip():
  rng = np.random.default_rng(0)
  for charset in text.CHARSETS.values():
    for length in range(1, 9):
      letters = rng.choice(list(charset.characters), size=length)
      label = ''.join(letters)
      ids = charset.encode(label, 8)
      assert ids.shape == (8,) and ids.dtype == np.int32
      assert np.all(ids[:length] > 0) and not np.any(ids[length:])
      assert charset.decode(ids) == label


def test_ids_are_positions_from_one():
  np.testing.assert_array_equal(DIGITS.encode('0019', 5), [1, 1, 2, 10, 0])
  assert DIGITS.classes == 11
  assert DIGITS.decode([]) == ''


def test_charsets_by_name():
  sizes = {name: len(c.characters) for name, c in text.CHARSETS.items()}
  assert sizes == {'digits': 10, 'alnum36': 36, 'alnum62': 62}


def test_a_charset_is_a_value():
  assert text.Charset('ab') == text.Charset('ab') != text.Charset('ba')
  assert len({text.Charset('ab'), text.Charset('ab')}) == 1
  with pytest.raises(AttributeError):
    DIGITS.characters = 'abc'


def test_encode_refuses_what_it_cannot_write():
  with pytest.raises(ValueError, match=r"'12x4' has 'x' .U\+0078. at position"):
    DIGITS.encode('12x4', 6)
  with pytest.raises(ValueError, match=r'0123456789.*choose a charset'):
    DIGITS.encode('12x4', 6)
  with pytest.raises(ValueError, match=r"'12345' has 5 char.* at most 4"):
    DIGITS.encode('12345', 4)
  with pytest.raises(ValueError, match='empty label'):
    DIGITS.encode('', 4)


def test_charset_refuses_repeats_and_nothing():
  with pytest.raises(ValueError, match=r"'abca' names \['a'\] more than once"):
    text.Charset('abca')
  with pytest.raises(ValueError, match='at least one character'):
    text.Charset('')


def test_decode_refuses_another_charsets_classes():
  with pytest.raises(ValueError, match='Found class 11, expected 0 to 10'):
    DIGITS.decode([1, 11])
  with pytest.raises(ValueError, match='Found class -1'):
    DIGITS.decode([-1])


@pytest.mark.parametrize(
  'label, frames',
  [('', 0), ('1', 1), ('1234', 4), ('1134', 5), ('1111', 7), ('1212', 4)],
)
def test_frames_needed(label, frames):
  assert text.frames_needed(label) == frames


def _merge(path):
  """CTC's collapse, as the definition has it."""
  return [k for k, _ in itertools.groupby(path) if k != text.BLANK]


def test_frames_needed_is_the_shortest_path():
  """Over every path of a small alphabet."""
  charset = text.Charset('ab')
  shortest = {}
  for length in range(1, 7):
    for path in itertools.product(range(3), repeat=length):
      shortest.setdefault(charset.decode(_merge(path)), length)
  assert len(shortest) > 20
  for label, length in shortest.items():
    if label:
      assert text.frames_needed(label) == length


def _slow_greedy(charset, logits, valid):
  """One row: softmax, best class and product, frame by frame."""
  path, confidence = [], 1.0
  for frame, shown in zip(logits.astype(np.float64), valid, strict=True):
    if not shown:
      path.append(text.BLANK)
      continue
    probabilities = np.exp(frame) / np.exp(frame).sum()
    path.append(int(probabilities.argmax()))
    confidence *= probabilities.max()
  return ''.join(charset.characters[i - 1] for i in _merge(path)), confidence


@pytest.mark.parametrize('seed', range(5))
def test_greedy_against_the_definition(seed):
  rng = np.random.default_rng(seed)
  charset = text.Charset('abc')
  logits = rng.normal(scale=3, size=(40, 9, 4)).astype(np.float32)
  valid = rng.random((40, 9)) < 0.8
  before = logits.copy()
  for mask in (None, valid):
    found = charset.greedy(logits, mask)
    shown = np.ones((40, 9), bool) if mask is None else mask
    expected = [
      _slow_greedy(charset, *row) for row in zip(logits, shown, strict=True)
    ]
    assert [t for t, _ in found] == [t for t, _ in expected]
    np.testing.assert_allclose(
      [c for _, c in found], [c for _, c in expected], rtol=1e-9
    )
  np.testing.assert_array_equal(logits, before)
  assert any(a == b for t, _ in found for a, b in itertools.pairwise(t))


def _logits(path, classes=11, scale=50.0):
  return scale * np.eye(classes, dtype=np.float32)[path]


def test_greedy_merges_and_keeps_doubles():
  paths = [[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [10, 1, 1, 1, 0, 10]]
  found = DIGITS.greedy(_logits(np.array(paths)))
  assert [t for t, _ in found] == ['001', '', '909']
  np.testing.assert_allclose([c for _, c in found], 1)


def test_greedy_confidence():
  """Three frames, each sure to 1/2, between two classes out of three."""
  logits = np.log([[[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.4, 0.5]]])
  [(found, confidence)] = text.Charset('ab').greedy(logits)
  assert found == 'ab'
  assert confidence == pytest.approx(1 / 8)
  [(found, confidence)] = text.Charset('ab').greedy(
    logits, np.array([[True, True, False]])
  )
  assert found == 'a'
  assert confidence == pytest.approx(1 / 4)
  [nothing] = text.Charset('ab').greedy(logits, np.zeros((1, 3)))
  assert nothing == ('', 1.0)


def test_greedy_survives_large_and_small_floats():
  path = np.array([[3, 3, 0, 4]])
  for dtype in (np.float16, ml_dtypes.bfloat16, np.float32):
    logits = _logits(path, scale=60000).astype(dtype)
    assert DIGITS.greedy(logits) == [('23', 1.0)]
  assert DIGITS.greedy(np.zeros((0, 4, 11))) == []


def test_greedy_refuses_shapes_that_do_not_fit():
  with pytest.raises(ValueError, match=r'expected \(batch, time, 11\)'):
    DIGITS.greedy(np.zeros((2, 4, 37)))
  with pytest.raises(ValueError, match=r'expected \(batch, time, 11\)'):
    DIGITS.greedy(np.zeros((4, 11)))
  with pytest.raises(ValueError, match=r'valid has shape \(2,\)'):
    DIGITS.greedy(np.zeros((2, 4, 11)), np.ones(2, bool))
