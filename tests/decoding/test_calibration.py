"""Temperatures and calibration figures, against known truths."""

import numpy as np
import pytest

from ssljax.decoding import calibration, decode
from ssljax.text import Charset

CHARSET = Charset('abc')


def _images(count, *, overconfident, seed=0):
  """Logits whose labels are drawn from them, and then sharpened."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(scale=2.5, size=(count, 4, 4))
  odds = np.exp(logits)
  odds /= odds.sum(axis=2, keepdims=True)
  drawn = (rng.random((count, 4, 1)) > odds.cumsum(axis=2)).sum(axis=2)
  labels = [
    CHARSET.decode(path[np.diff(path, prepend=0) != 0]) for path in drawn
  ]
  return overconfident * logits, labels


def _error(logits, labels, temperature):
  readings = decode(logits, None, CHARSET, temperature=temperature)
  right = np.array([r.text for r in readings]) == np.array(labels)
  confidence = np.array([r.confidence for r in readings])
  return calibration.expected_calibration_error(confidence, right)


@pytest.mark.parametrize('truth', [0.5, 1.0, 2.0])
def test_the_temperature_of_a_network_is_found(truth):
  logits, labels = _images(2000, overconfident=truth)
  found = calibration.fit_temperature(logits, None, labels, CHARSET)
  assert found == pytest.approx(truth, rel=0.12)
  assert _error(logits, labels, found) < 0.03
  if truth != 1:
    assert _error(logits, labels, 1.0) > 0.06


def test_few_labels_move_the_temperature_little():
  logits, _ = _images(3, overconfident=1.0)
  readings = [r.text for r in decode(logits, None, CHARSET)]
  right = calibration.fit_temperature(logits, None, readings, CHARSET)
  wrong = calibration.fit_temperature(logits, None, ['cba'] * 3, CHARSET)
  assert 0.4 < right < 1 < wrong < 3


def test_a_temperature_keeps_to_its_least_value():
  logits, labels = _images(200, overconfident=0.5)
  found = calibration.fit_temperature(logits, None, labels, CHARSET, least=1.0)
  assert found == pytest.approx(1.0, abs=0.01)


def test_padding_does_not_count():
  logits, labels = _images(200, overconfident=2.0)
  wide = np.concatenate([logits, np.full((200, 3, 4), 7.0)], axis=1)
  shown = np.arange(7) < np.full((200, 1), 4)
  assert calibration.fit_temperature(
    wide, shown, labels, CHARSET
  ) == pytest.approx(
    calibration.fit_temperature(logits, None, labels, CHARSET), rel=1e-6
  )


def test_calibration_errors_by_hand():
  error = calibration.expected_calibration_error
  # Two bins of two: |0.1 + 0.3 - 0| / 2 and |0.8 + 1.0 - 1| / 2, equal sizes.
  confidence = np.array([0.8, 0.1, 1.0, 0.3])
  right = np.array([True, False, False, False])
  assert error(confidence, right, bins=2) == pytest.approx((0.2 + 0.4) / 2)
  assert error(confidence, right, bins=1) == pytest.approx((2.2 - 1) / 4)
  # No more bins than samples: each its own.
  assert error(confidence, right) == pytest.approx((0.1 + 0.3 + 0.2 + 1) / 4)


def test_coverage_is_the_accuracy_of_the_surest():
  right = np.array([True, False, True, True, False])
  confidence = np.array([0.9, 0.1, 0.8, 0.3, 0.7])
  shares = (1.0, 0.8, 0.4, 0.01)
  found = calibration.coverage(confidence, right, shares=shares)
  assert found == [3 / 5, 3 / 4, 1.0, 1.0]
