"""The figures for text, by hand and against a slow Levenshtein."""

import functools
import json

import numpy as np
import pytest

from ssljax import evals

FIGURES = (
  evals.edit_distance_accuracy,
  evals.exact_match,
  evals.character_error_rate,
)


@functools.cache
def _distance(a, b):
  """The recurrence as it is taught."""
  if not a or not b:
    return len(a) + len(b)
  return min(
    _distance(a[1:], b) + 1,
    _distance(a, b[1:]) + 1,
    _distance(a[1:], b[1:]) + (a[0] != b[0]),
  )


def _texts(count, seed=0, shortest=0):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(shortest, 6, size=count)
  return [''.join(rng.choice(list('abc'), size=n)) for n in lengths]


def test_by_hand():
  #              d = 0,  1 of 3,  1 of 2,  4 of 4
  predictions = ['1234', '13', '1x2', '']
  labels = ['1234', '123', '12', '9999']
  found = [figure(predictions, labels) for figure in FIGURES]
  mean = (1 + 2 / 3 + 1 / 2 + 0) / 4
  np.testing.assert_allclose(found, [mean, 1 / 4, 6 / 13])
  assert all(type(value) is float for value in found)


def test_a_long_guess_is_worse_than_none():
  """Not cut off at 0: that would reward babbling (rule 32)."""
  assert evals.edit_distance_accuracy(['zzzz'], ['a']) == -3
  assert evals.edit_distance_accuracy([''], ['a']) == 0
  assert evals.character_error_rate(['zzzz'], ['a']) == 4


def test_case_and_characters_beyond_ascii_count():
  assert evals.exact_match(['aB', 'ß字'], ['ab', 'ß字']) == 0.5
  assert evals.edit_distance_accuracy(['ß'], ['ß字']) == 0.5


def test_against_the_recurrence():
  predictions, labels = _texts(200), _texts(200, seed=1, shortest=1)
  expected = np.array(
    [_distance(*pair) for pair in zip(predictions, labels, strict=True)]
  )
  lengths = np.array([len(label) for label in labels])
  samples = evals.per_sample(predictions, labels)
  np.testing.assert_array_equal(samples.distances, expected)
  np.testing.assert_array_equal(samples.lengths, lengths)
  np.testing.assert_array_equal(samples.exact, expected == 0)
  np.testing.assert_allclose(
    [figure(predictions, labels) for figure in FIGURES],
    [
      np.mean(1 - expected / lengths),
      np.mean(expected == 0),
      expected.sum() / lengths.sum(),
    ],
  )


@pytest.mark.parametrize('figure', FIGURES)
def test_refuses_what_has_no_figure(figure):
  with pytest.raises(ValueError, match='label at index 1 is empty'):
    figure(['a', 'b'], ['a', ''])
  with pytest.raises(ValueError, match='Found 1 predictions and 2 labels'):
    figure(['a'], ['a', 'b'])
  with pytest.raises(ValueError, match='at least one'):
    figure([], [])
  with pytest.raises(ValueError, match='expected two strings; decode bytes'):
    figure(['a'], [b'a'])
  with pytest.raises(ValueError, match='leave confidences out'):
    figure([('a', 0.9)], ['a'])


def test_bootstrap_matches_the_normal_interval():
  rng = np.random.default_rng(0)
  values = rng.normal(size=2000)
  low, high = evals.bootstrap(values, resamples=4000)
  mean, half = values.mean(), 1.96 * values.std() / np.sqrt(2000)
  np.testing.assert_allclose(
    [low, high], [mean - half, mean + half], atol=0.1 * half
  )


def test_bootstrap_of_a_ratio_draws_pairs():
  """Mistakes in proportion to length: every resample has the same ratio."""
  sizes = np.random.default_rng(1).integers(1, 7, size=300)
  low, high = evals.bootstrap(2 * sizes, sizes)
  np.testing.assert_allclose([low, high], 2)
  mistakes = np.random.default_rng(2).permutation(2 * sizes)
  low, high = evals.bootstrap(mistakes, sizes)
  assert low < 1.99 and high > 2.01


def test_bootstrap_against_a_loop():
  """In blocks or one by one, the same draws and the same interval."""
  values = np.random.default_rng(3).random(30_000)
  rng = np.random.default_rng(7)
  means = [
    values[rng.integers(len(values), size=len(values))].mean()
    for _ in range(150)
  ]
  np.testing.assert_allclose(
    evals.bootstrap(values, seed=7, resamples=150),
    np.percentile(means, [2.5, 97.5]),
  )


def test_bootstrap_edges():
  values = np.random.default_rng(4).random(50)
  assert evals.bootstrap(values, seed=1) == evals.bootstrap(values, seed=1)
  assert evals.bootstrap(values, seed=1) != evals.bootstrap(values, seed=2)
  assert evals.bootstrap([0.5]) == (0.5, 0.5)
  assert evals.bootstrap(np.ones(9, bool)) == (1, 1)
  for values, sizes in (([], None), ([1.0], [1, 2]), ([[1.0]], None)):
    with pytest.raises(ValueError, match='two vectors of one length'):
      evals.bootstrap(values, sizes)


def test_report():
  predictions = _texts(300)
  labels = _texts(300, seed=1, shortest=1)
  layouts = np.arange(300) % 2 * 2  # None of layout 1.
  names = ('plain', 'unseen', 'wavy')
  found = evals.report(predictions, labels, layouts, names)
  assert list(found) == ['all', 'plain', 'wavy']
  assert [part['count'] for part in found.values()] == [300, 150, 150]
  json.dumps(found)
  parts = {'all': slice(None), 'plain': slice(0, None, 2)}
  parts['wavy'] = slice(1, None, 2)
  for name, part in parts.items():
    for figure in FIGURES:
      entry = found[name][figure.__name__]
      assert entry['value'] == pytest.approx(
        figure(predictions[part], labels[part])
      )
      assert entry['low'] < entry['value'] < entry['high']
  wide, narrow = (
    found[name]['edit_distance_accuracy'] for name in ('plain', 'all')
  )
  assert wide['high'] - wide['low'] > narrow['high'] - narrow['low']


def test_report_refuses_layouts_without_a_name():
  for layouts, names in (
    ([0, 2], ['plain', 'wavy']),
    ([-1, 0], ['plain']),
    ([0, 1], ['plain', 'all']),
  ):
    with pytest.raises(ValueError, match="none of them 'all'"):
      evals.report(['a', 'b'], ['a', 'b'], layouts, names)
  with pytest.raises(ValueError, match='each of the 2 samples'):
    evals.report(['a', 'b'], ['a', 'b'], [0], ['plain'])
