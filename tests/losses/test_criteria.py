"""Criteria: their losses by definition, their guesses beside the decoder's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ctc_paths import all_paths

from ssljax.losses import cross_entropy, ctc
from ssljax.text import BLANK, Charset

CHARSET = Charset('abc')
FRAMES, LENGTH = 5, 4
RNG = np.random.default_rng(0)
# Padding on either side, gaps in the middle, all frames, and none.
MASKS = np.array(
  [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
    [0, 0, 1, 1, 1],
    [1, 0, 1, 0, 1],
    [0, 1, 0, 0, 1],
    [0, 0, 1, 0, 0],
    [0, 0, 0, 0, 0],
  ],
  bool,
)


def _labels(texts):
  labels = np.zeros((len(texts), LENGTH), np.int32)
  for row, text in zip(labels, texts, strict=True):
    if text:
      row[:] = CHARSET.encode(text, LENGTH)
  return labels


@pytest.mark.parametrize('text', ['', 'a', 'ab', 'bb', 'abc', 'aab', 'abca'])
def test_ctc_sums_over_all_paths_of_the_frames_that_count(text):
  """The other frames are cut out; a label that has no path is flagged."""
  logits = RNG.normal(0, 2, (len(MASKS), FRAMES, CHARSET.classes))
  labels = _labels([text] * len(MASKS))
  values, possible = ctc.values(jnp.float32(logits), labels, MASKS)
  expected = [
    all_paths(row[shown], [c for c in label if c != BLANK])
    for row, shown, label in zip(logits, MASKS, labels, strict=True)
  ]
  np.testing.assert_array_equal(possible, np.isfinite(expected))
  for value, reference in zip(values, expected, strict=True):
    if np.isfinite(reference):
      np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)


def test_frames_that_do_not_count_have_no_gradient():
  logits = RNG.normal(0, 2, (len(MASKS), FRAMES, CHARSET.classes))
  labels = _labels(['a'] * len(MASKS))

  def loss(logits):
    values, possible = ctc.values(logits, labels, MASKS)
    return jnp.where(possible, values, 0).sum()

  moved = np.abs(jax.grad(loss)(jnp.float32(logits))).max(axis=2) > 0
  possible = MASKS.any(axis=1, keepdims=True)
  np.testing.assert_array_equal(moved, MASKS & possible)


def test_the_guess_of_ctc_is_the_decoders():
  """Text and confidence of a character, whatever frames are left out."""
  logits = RNG.normal(0, 2, (200, 9, CHARSET.classes)).astype(np.float32)
  logits[..., BLANK] += 1
  masks = RNG.random((200, 9)) < RNG.random((200, 1))
  masks[0], masks[1] = False, True
  labels, confidence = ctc.guess(logits, masks)
  texts, expected = zip(*CHARSET.greedy(logits, masks), strict=True)
  assert [CHARSET.decode(row) for row in np.asarray(labels)] == list(texts)
  # As a label has it: characters first, and nothing between them.
  blank = np.asarray(labels) == BLANK
  np.testing.assert_array_equal(blank, np.sort(blank, axis=1))
  lengths = np.array([len(text) for text in texts])
  each = np.array(expected) ** (1 / np.maximum(lengths, 1))
  np.testing.assert_allclose(
    confidence, np.where(lengths > 0, each, 0), rtol=1e-5
  )
  assert (lengths == 0).any()
  assert len(set(texts)) > 50
  assert any(2 * letter in text for text in texts for letter in 'abc')


def test_a_certain_guess_has_no_loss():
  """The blank, and the padding of a label, are those of the loss as well."""
  logits = 60 * np.eye(CHARSET.classes)[RNG.integers(0, 4, (64, FRAMES))]
  shown = np.arange(FRAMES) < RNG.integers(1, FRAMES + 1, (64, 1))
  labels, confidence = ctc.guess(jnp.float32(logits), shown)
  written = (np.asarray(labels) != BLANK).any(axis=1)
  np.testing.assert_allclose(confidence, written, atol=1e-5)
  values, possible = ctc.values(jnp.float32(logits), labels, shown)
  assert possible.all()
  np.testing.assert_allclose(values, 0, atol=1e-4)


@pytest.mark.parametrize('frames', [3, 4, 9])
def test_labels_and_guesses_of_one_width_are_the_same_labels(frames):
  """A label that has more characters than frames stays one too long to read."""
  labels = _labels(['', 'a', 'bb', 'abca'])
  guesses = np.tile(_labels(['abc'])[:, :3], (4, 1))
  guesses = np.pad(guesses, ((0, 0), (0, frames - 3)))
  wide = ctc.widened(labels, guesses)
  other = ctc.widened(guesses, wide)
  assert wide.shape == other.shape == (4, max(LENGTH, frames))
  for found, given in ((wide, labels), (other, guesses)):
    texts = [CHARSET.decode(row) for row in np.asarray(found)]
    assert texts == [CHARSET.decode(row) for row in given]
  logits = jnp.zeros((4, frames, CHARSET.classes))
  shown = np.ones((4, frames), bool)
  for each in (labels, wide):
    _, possible = ctc.values(logits, each, shown)
    assert possible.tolist() == [True, True, True, frames >= 4]


def test_strings_are_compared_whole():
  a = _labels(['a', 'ab', 'ab', ''])
  b = _labels(['a', 'ab', 'ac', 'a'])
  assert ctc.same(a, b).tolist() == [True, True, False, False]
  assert ctc.known(a).tolist() == [True, True, True, False]
  counts = ctc.counts(_labels(['a', 'bb', 'acac', '']), CHARSET.classes)
  assert counts.tolist() == [
    [0, 1, 0, 0],
    [0, 0, 2, 0],
    [0, 2, 0, 2],
    [0, 0, 0, 0],
  ]


def test_classes():
  """Softmax cross-entropy in float64, and the most probable class."""
  logits = RNG.normal(0, 2, (40, 5))
  labels = RNG.integers(-1, 5, 40).astype(np.int32)
  odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  values, possible = cross_entropy.values(jnp.float32(logits), labels)
  np.testing.assert_array_equal(possible, labels >= 0)
  known = np.flatnonzero(labels >= 0)
  expected = -np.log(odds[known, labels[known]])
  np.testing.assert_allclose(np.asarray(values)[known], expected, rtol=1e-5)
  guesses, confidence = cross_entropy.guess(jnp.float32(logits))
  np.testing.assert_array_equal(guesses, logits.argmax(axis=1))
  np.testing.assert_allclose(confidence, odds.max(axis=1), rtol=1e-5)
  np.testing.assert_array_equal(cross_entropy.widened(labels, guesses), labels)
  np.testing.assert_array_equal(cross_entropy.known(labels), labels >= 0)
  np.testing.assert_array_equal(
    cross_entropy.same(labels, guesses), labels == guesses
  )
  np.testing.assert_array_equal(
    cross_entropy.counts(labels, 5), labels[:, None] == np.arange(5)
  )
