"""Batches from a source, in an order that is a function of (seed, epoch).

A batch is a dict of NumPy arrays with a leading axis of `batch_size`. There is
no iterator state: a run that stopped at step s asks for the batches from s on.
"""

from collections.abc import Callable, Iterator

import grain
import numpy as np

from ssljax.data.sources import Source
from ssljax.errors import UserError

Batch = dict[str, np.ndarray]


def _grain_seed(seed: int) -> int:
  # grain shuffles epoch e by seed + e, so that seed 1 would begin with seed
  # 0's second epoch; hashed seeds are far apart.
  return int(np.random.SeedSequence(seed).generate_state(1)[0])


def check_batch_size(batch_size: int, source: Source) -> None:
  """UserError unless the examples make at least one batch."""
  if not 1 <= batch_size <= len(source):
    raise UserError(
      f'Found a batch size of {batch_size} and {len(source)} examples; '
      'expected at least one whole batch. Lower the batch size or use more '
      'data.'
    )


def batches(
  source: Source,
  *,
  batch_size: int,
  seed: int,
  steps: int,
  start: int = 0,
  shuffle: bool = True,
  transform: Callable[[Batch], Batch] | None = None,
) -> Iterator[Batch]:
  """The batches of steps `start` to `steps`, read ahead by a thread.

  An epoch is `len(source) // batch_size` steps, in an order of its own, without
  the examples that are left over; none comes twice in an epoch.

  Args:
    source: the examples.
    batch_size: examples a batch.
    seed: of the order, 0 or more; unused without `shuffle`.
    steps: the step to stop before, counted from the beginning of the run.
    start: the first step to give.
    shuffle: whether to change the order each epoch.
    transform: applied to each batch, in the reading thread.

  Raises:
    UserError: a batch larger than the data.
    ValueError: steps that do not exist.
  """
  check_batch_size(batch_size, source)
  if not 0 <= start <= steps:
    raise ValueError(
      f'Found start {start} and steps {steps}; expected 0 <= start <= steps.'
    )
  order = grain.MapDataset.range(len(source))
  if shuffle:
    order = order.shuffle(seed=_grain_seed(seed))
  # Batched before it repeats, so that no batch spans two epochs; positions
  # rather than examples, so that a batch is read by one call.
  order = order.batch(batch_size, drop_remainder=True, batch_fn=np.array)
  dataset = order.repeat()[start:steps].map(source.gather)
  if transform is not None:
    dataset = dataset.map(transform)
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
  return iter(dataset.to_iter_dataset(options))


def evaluation_batches(source: Source, batch_size: int) -> Iterator[Batch]:
  """All examples once, in order, every batch full.

  The last batch is filled with copies of the last example; `valid` bool
  (batch_size,) is False for these.

  Raises:
    ValueError: `batch_size` is not positive.
  """
  if batch_size < 1:
    raise ValueError(f'Found a batch size of {batch_size}; expected 1 or more.')

  def read(start):
    positions = np.arange(start, start + batch_size)
    batch = source.gather(np.minimum(positions, len(source) - 1))
    return batch | {'valid': positions < len(source)}

  return map(read, range(0, len(source), batch_size))
