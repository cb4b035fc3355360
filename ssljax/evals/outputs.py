"""What a trained network makes of a whole data set."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ssljax.core import inputs


def outputs(
  function: Callable[..., object],
  batches: Iterable[Mapping[str, np.ndarray]],
) -> np.ndarray:
  """The function's outputs for every valid example, in order.

  Args:
    function: uint8 images, and their widths if the batches have them, to an
      array with a row for each image.
    batches: dicts of 'image', 'width' if images are padded, and bool 'valid',
      which is False for the rows that only fill up the last batch.
  """
  return np.concatenate(
    [np.asarray(function(*inputs(batch)))[batch['valid']] for batch in batches]
  )
