"""A queue of rows from earlier steps, the same on every device.

Its state is a dict of arrays, one axis of which counts the rows, and 'pointer',
an int32 scalar: the place of the oldest rows, which are replaced next.
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
  """The queue with new rows in the place of its oldest ones.

  Args:
    queue: arrays by name, and 'pointer'.
    new: the rows of all devices, by the same names, in the queue's dtypes or
      others.
    axis: the axis of the arrays that counts the rows.

  Returns:
    The arrays that `new` names, and the moved 'pointer'.

  Raises:
    UserError: a length that is no multiple of the new rows, which would
      otherwise be written over each other at the end of the queue.
  """
  length = {name: queue[name].shape[axis] for name in new}
  count = {name: rows.shape[axis] for name, rows in new.items()}
  for name in new:
    if length[name] % count[name]:
      raise UserError(
        f'Found a queue of {length[name]} rows for {count[name]} a step; '
        'expected a multiple. Give every process the same batch.'
      )
  start, name = queue['pointer'], next(iter(new))
  put = jax.lax.dynamic_update_slice_in_dim
  moved = {
    each: put(queue[each], rows.astype(queue[each].dtype), start, axis=axis)
    for each, rows in new.items()
  }
  return moved | {'pointer': (start + count[name]) % length[name]}
