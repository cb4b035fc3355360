"""What the loop watches."""

import numpy as np
import pytest

from ssljax import train
from ssljax.errors import UserError


def test_a_figure_that_is_not_finite_stops():
  train.check_finite('head', 3, {'loss': 1.0})
  for bad in (np.nan, np.inf, -np.inf):
    with pytest.raises(UserError, match=r'found loss not finite at step 3'):
      train.check_finite('head', 3, {'loss': bad, 'other': 0.0})


def test_one_bad_step_shows_in_the_average():
  """A window hides nothing: the state after it is not saved."""
  window = [{'loss': np.float32(v)} for v in (1.0, np.nan, 2.0)]
  assert np.isnan(train.averages(window)['loss'])
  window = [{'loss': np.float32(v)} for v in (1.0, 2.0)]
  assert train.averages(window) == {'loss': 1.5}
