"""What the loop watches."""

import numpy as np

from ssljax import train


def test_one_bad_step_shows_in_the_average():
  """A window hides nothing: the state after it is not saved."""
  window = [{'loss': np.float32(v)} for v in (1.0, np.nan, 2.0)]
  assert np.isnan(train.averages(window)['loss'])
  window = [{'loss': np.float32(v)} for v in (1.0, 2.0)]
  assert train.averages(window) == {'loss': 1.5}
