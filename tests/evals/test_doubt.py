"""Which labels are contradicted, and which images are chosen."""

import itertools

import numpy as np
import pytest

from ssljax.evals import doubt, reading
from ssljax.text import Charset, shown_frames

CHARSET = Charset('ab')


def _outputs(shape=(3, 4), shown=None, seed=0):
  logits = np.random.default_rng(seed).normal(0, 2, (*shape, 3))
  return reading.Outputs(logits.astype(np.float32), shown, [], [])


def _collapsed(path):
  kept = [a for a, _ in itertools.groupby(path)]
  return ''.join('_ab'[each] for each in kept if each)


def _exhaustive(logits, text, temperature):
  """The probability of a text as a sum over all paths, in float64."""
  odds = np.exp(logits.astype(np.float64) / temperature)
  odds /= odds.sum(axis=1, keepdims=True)
  return sum(
    np.prod([odds[time, each] for time, each in enumerate(path)])
    for path in itertools.product(range(3), repeat=len(logits))
    if _collapsed(path) == text
  )


@pytest.mark.parametrize('temperature', [1.0, 2.5])
def test_the_probability_of_a_text_is_that_of_all_its_paths(temperature):
  found = _outputs()
  texts = ['ab', 'aa', '']
  logs = doubt.log_probabilities(found, texts, CHARSET, temperature=temperature)
  expected = [
    _exhaustive(logits, text, temperature)
    for logits, text in zip(found.logits, texts, strict=True)
  ]
  np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-9)


def test_a_text_that_cannot_be_read_is_improbable_and_stops_nothing():
  shown = shown_frames([4, 4, 1], frames=4, width=4)
  found = _outputs(shown=shown)
  logs = doubt.log_probabilities(found, ['aXb', 'aaa', 'ab'], CHARSET)
  # An unknown character, too few frames, and too few that show the image.
  assert logs.tolist() == [doubt.FLOOR] * 3


def test_labels_that_are_much_less_probable_come_first():
  reading = np.log([0.9, 0.5, 0.9, 0.99, 0.6])
  label = np.log([0.9, 0.4, 0.008, 1e-9, 0.003])
  assert doubt.contradicted(reading, label, times=100) == [3, 4, 2]
  assert doubt.contradicted(reading, label, times=150) == [3, 4]
  assert doubt.contradicted(reading, label, times=1e12) == []
  assert doubt.contradicted(np.array([]), np.array([])) == []


def test_means_leave_out_padding():
  features = np.arange(12.0).reshape(2, 3, 2)
  shown = np.array([[True, True, False], [False, False, False]])
  found = doubt.means(features, shown)
  np.testing.assert_array_equal(found, [[1, 2], [0, 0]])
  np.testing.assert_array_equal(doubt.means(features), features.mean(axis=1))


def test_directions_do_not_depend_on_what_all_images_share():
  rows = np.random.default_rng(0).normal(size=(20, 5))
  found = doubt.directions(rows)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
  scaled = 100 + rows * [1, 10, 0.1, 3, 7]
  np.testing.assert_allclose(doubt.directions(scaled), found, atol=1e-9)
  # A feature that is the same everywhere tells nothing.
  constant = np.insert(rows, 2, 4.0, axis=1)
  np.testing.assert_allclose(
    np.delete(doubt.directions(constant), 2, axis=1), found, atol=1e-9
  )


def _at(*degrees):
  angles = np.radians(degrees)
  return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_doubtful_images_are_chosen_and_none_twice_from_a_group():
  rows = _at(0, 1, 2, 180, 181, 90)
  values = np.array([0.9, 0.95, 0.8, 0.6, 0.5, 0.1])
  nothing = np.zeros(6, bool)
  assert doubt.to_label(values, rows, nothing, count=3) == [1, 3, 5]
  # Where a labelled image is like a doubtful one, another comes first.
  known = np.array([True, False, False, False, False, False])
  assert doubt.to_label(values, rows, known, count=1) == [3]
  # Of all, each once, and no labelled one.
  every = doubt.to_label(values, rows, known, count=9)
  assert sorted(every) == [1, 2, 3, 4, 5]


def test_copies_are_chosen_last_by_doubt_and_equals_by_their_order():
  rows = _at(0, 0, 0, 0)
  known = np.array([False, True, False, False])
  values = np.array([0.2, 1.0, 0.7, 0.7])
  assert doubt.to_label(values, rows, known, count=4) == [2, 3, 0]
  assert doubt.to_label(values, rows, known, count=0) == []


def test_many_labelled_images_are_all_compared_with():
  """More than are compared at once."""
  rows = _at(*np.linspace(0, 90, 600), 0, 200)
  known = np.arange(602) < 600
  values = np.full(602, 0.5)
  values[600] = 0.9
  assert doubt.to_label(values, rows, known, count=1) == [601]


def _seen(labels):
  count = len(labels)
  return doubt.Seen(
    [str(i) for i in range(count)],
    np.log(np.linspace(0.9, 0.1, count)),
    np.log(np.array([1e-6 if label == 'x' else 0.3 for label in labels])),
    _at(*range(0, 10 * count, 10)),
  )


def test_each_image_is_in_one_part_and_parts_are_in_their_order():
  labels = ['x', 'right', '', '', 'x', '', '', 'right']
  found = doubt.chosen(_seen(labels), labels, most=8, count=2)
  # Surer readings contradict more.
  assert found['wrong'] == [0, 4]
  assert len(found['next']) == 2 and all(not labels[i] for i in found['next'])
  assert sorted(itertools.chain(*found.values())) == list(range(8))
  left = [i for i in (2, 3, 5, 6) if i not in found['next']]
  odds = {1: 0.3, 7: 0.3, **{i: 0.9 - 0.8 * i / 7 for i in left}}
  assert found['rest'] == sorted(odds, key=lambda i: odds[i])


@pytest.mark.parametrize(('most', 'sizes'), [(1, (1, 0, 0)), (3, (2, 1, 0))])
def test_no_more_are_chosen_than_the_page_holds(most, sizes):
  labels = ['x', 'right', '', '', 'x', '', '', 'right']
  found = doubt.chosen(_seen(labels), labels, most=most, count=2)
  assert tuple(map(len, found.values())) == sizes
