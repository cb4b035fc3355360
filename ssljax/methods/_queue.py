"""A queue of rows from earlier steps, the same on every device.

The queue is a dict of arrays. One axis of each array counts the rows. The entry
'pointer', an int32 scalar, is the place of the oldest rows, which the next step
replaces.
"""

from collections.abc import Mapping

import jax

from ssljax.errors import UserError


def enqueue(
  queue: Mapping[str, jax.Array],
  new: Mapping[str, jax.Array],
  *,
  axis: int = 0,
) -> dict[str, jax.Array]:
  """Replaces the oldest rows of the queue with new rows.

  Args:
    queue: arrays by name, and 'pointer'.
    new: the new rows of all devices, by the names of the arrays. They are cast
      to the dtypes of the queue.
    axis: the axis of the arrays that counts the rows.

  Returns:
    The arrays that `new` names, and the moved 'pointer'.

  Raises:
    UserError: the length of the queue is not a multiple of the number of new
      rows. At the end of the queue, the new rows would otherwise overwrite rows
      that are not the oldest.
  """
  length = {name: queue[name].shape[axis] for name in new}
  count = {name: rows.shape[axis] for name, rows in new.items()}
  for name in new:
    if length[name] % count[name]:
      raise UserError(
        f'Found a queue of {length[name]} rows and {count[name]} new rows per '
        'step; expected a queue whose length is a multiple of the new rows. '
        'Give every process the same batch size.'
      )
  start, name = queue['pointer'], next(iter(new))
  put = jax.lax.dynamic_update_slice_in_dim
  moved = {
    each: put(queue[each], rows.astype(queue[each].dtype), start, axis=axis)
    for each, rows in new.items()
  }
  return moved | {'pointer': (start + count[name]) % length[name]}
