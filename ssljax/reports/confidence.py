"""What the confidences of a row are worth, on its test images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssljax.decoding import calibration
from ssljax.reports.tables import Cells, table

TENTH = 0.9  # the share that is kept where the least confident tenth is not
ABSTAINING = (
  'without the least confident tenth',
  'exact match of all',
  'of the others',
  'gained of what is missing',
  'why not more than half',
)


def summarize(
  confidence: np.ndarray | None,
  exact: np.ndarray,
  test: np.ndarray | None,
  calibrated: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  """{'calibration': ...} of a row for `results.json`; {} without confidences.

  Args:
    confidence: `(seeds, images)`.
    exact: which readings are right, `(seeds, images)`.
    test: which images are of `test`.
    calibrated: what each stage says of its calibration.

  Returns:
    Means over seeds: 'ece', the expected calibration error; 'confidence', the
    mean; 'coverage', the exact match among the most confident share of the
    images; 'attainable', what it would be without the least confident tenth if
    no mistake were surer than a right reading. 'temperature' and 'from' are
    lists over seeds.
  """
  if confidence is None or test is None:
    return {}
  pairs = list(zip(confidence[:, test], exact[:, test], strict=True))
  kept = max(1, round(TENTH * test.sum()))
  covered = np.mean([calibration.coverage(*pair) for pair in pairs], axis=0)
  return {
    'calibration': {
      'ece': float(
        np.mean([calibration.expected_calibration_error(*p) for p in pairs])
      ),
      'confidence': float(confidence[:, test].mean()),
      'coverage': {
        f'{share:g}': float(value)
        for share, value in zip(calibration.SHARES, covered, strict=True)
      },
      'attainable': float(
        np.mean([min(1.0, right.sum() / kept) for _, right in pairs])
      ),
      'temperature': [each.get('temperature', 1.0) for each in calibrated],
      'from': [each.get('from', '') for each in calibrated],
    }
  }


def render(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """The tables of `cells` as markdown."""
  return [table(*each) for each in cells(rows)]


def cells(rows: Mapping[str, Mapping[str, Any]]) -> list[Cells]:
  """The rows that have confidences: what these are worth, and abstaining."""
  found = {
    name: row['calibration']
    for name, row in rows.items()
    if 'calibration' in row
  }
  if not found:
    return []
  headers = ['confidence on test', 'mean', 'calibration error']
  headers += [
    f'of the surest {share:.0%}' if share < 1 else 'exact match'
    for share in calibration.SHARES
  ]
  worth = [
    (
      name,
      f'{each["confidence"]:.3f}',
      f'{each["ece"]:.3f}',
      *(f'{value:.3f}' for value in each['coverage'].values()),
    )
    for name, each in found.items()
  ]
  gains = [(name, *abstaining(each)) for name, each in found.items()]
  return [(worth, headers), (gains, ABSTAINING)]


def abstaining(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
  """What is gained without the least confident tenth, and why not more.

  Returns:
    The cells under `ABSTAINING` behind the name of the row.
  """
  every, most = found['coverage']['1'], found['coverage'][f'{TENTH:g}']
  missing = 1 - every
  if not missing:
    return f'{every:.3f}', f'{most:.3f}', '', 'nothing is missing'
  share = (most - every) / missing
  why = ''
  if share <= 0.5:
    best = found['attainable']
    why = 'some mistakes are as confident as right readings'
    if best - every <= missing / 2:
      why = f'more mistakes than a tenth can hold: {best:.3f} at best'
  return f'{every:.3f}', f'{most:.3f}', f'{share:.0%}', why
