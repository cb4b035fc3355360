"""What a trained network makes of a whole data set."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np


def outputs(
  function: Callable[[np.ndarray], object],
  batches: Iterable[Mapping[str, np.ndarray]],
) -> np.ndarray:
  """The function's outputs for every valid example, in order.

  Args:
    function: uint8 images to an array with a row for each.
    batches: dicts of 'image' and bool 'valid', which is False for the rows that
      only fill up the last batch.
  """
  return np.concatenate(
    [np.asarray(function(batch['image']))[batch['valid']] for batch in batches]
  )
