"""What the results say of confidences."""

import numpy as np
import pytest

from ssljax.reports import confidence

ALL = np.ones(20, bool)


def _summary(mistakes, *, surest_first=True):
  """Twenty images, of which the least confident ones are read wrong."""
  sure = np.linspace(0.99, 0.5, 20)
  right = np.arange(20) < 20 - mistakes
  if not surest_first:
    right = right[::-1]
  calibrated = [{'temperature': 1.5, 'from': 'validation'}]
  (found,) = confidence.summarize(
    sure[None], right[None], ALL, calibrated
  ).values()
  return found


def test_a_row_has_coverage_and_where_its_temperature_is_from():
  found = _summary(4)
  assert found['coverage'] == {
    '1': 0.8,
    '0.95': pytest.approx(16 / 19),
    '0.9': pytest.approx(16 / 18),
    '0.8': 1.0,
    '0.5': 1.0,
  }
  assert found['confidence'] == pytest.approx(0.745)
  assert found['attainable'] == pytest.approx(16 / 18)
  assert found['temperature'] == [1.5] and found['from'] == ['validation']
  # Ten bins of two: the wrong ones are 0.5 to 0.58 sure, the right ones doubt.
  sure = np.linspace(0.99, 0.5, 20)
  expected = (sure[16:].sum() + (1 - sure[:16]).sum()) / 20
  assert found['ece'] == pytest.approx(expected)


def test_only_the_test_images_count_and_seeds_are_averaged():
  sure = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
  exact = np.array([[True, True, True], [False, True, True]])
  (found,) = confidence.summarize(
    sure, exact, np.array([True, True, False]), [{}, {}]
  ).values()
  assert found['coverage']['1'] == 0.75 and found['coverage']['0.5'] == 0.5
  assert found['confidence'] == pytest.approx(0.7)
  assert found['temperature'] == [1.0, 1.0]


@pytest.mark.parametrize(
  ('found', 'told'),
  [
    (_summary(2), ('0.900', '1.000', '100%', '')),
    (_summary(0), ('1.000', '1.000', '', 'nothing is missing')),
    # Of ten mistakes a tenth holds two: 10 of 18 at best.
    (
      _summary(10),
      ('0.500', '0.556', '11%', 'more mistakes than a tenth can hold: 0.556'),
    ),
    (
      _summary(2, surest_first=False),
      ('0.900', '0.889', '-11%', 'some mistakes are as confident as right'),
    ),
  ],
)
def test_what_abstaining_brings_is_told(found, told):
  *figures, why = confidence.abstaining(found)
  assert tuple(figures) == told[:3]
  assert why.startswith(told[3]) and bool(why) == bool(told[3])


def test_runs_without_confidences_have_no_such_table():
  assert confidence.summarize(None, ALL[None], ALL, []) == {}
  assert confidence.summarize(ALL[None], ALL[None], None, []) == {}
  assert confidence.render({'A': {}}) == []
  first, second = confidence.render(
    {'A': {'calibration': _summary(2)}, 'B': {}}
  )
  assert '| A ' in first and 'surest 90%' in first and 'B' not in first
  assert '| A ' in second and 'least confident tenth' in second
