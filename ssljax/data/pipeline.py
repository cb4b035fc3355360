"""Batches from a source, in an order that depends on (seed, epoch) alone.

A batch is a dict of NumPy arrays with a leading axis of `batch_size`. No
iterator state is saved: a run that stopped at step s asks for the batches from
step s on.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ssljax.data.sources import Source
from ssljax.errors import UserError

Batch = dict[str, np.ndarray]


def _grain_seed(seed: int) -> int:
  # grain shuffles epoch e by seed + e, so seed 1 would begin with the second
  # epoch of seed 0. Hashed seeds are far apart.
  return int(np.random.SeedSequence(seed).generate_state(1)[0])


class Mixture(NamedTuple):
  """How many of a source's first examples have labels, and of each batch's."""

  examples: int
  batch: int


def check_batch_size(
  batch_size: int, source: Source, mixture: Mixture | None = None
) -> None:
  """Raises a UserError unless the examples fill at least one batch."""
  if mixture is not None:
    unlabelled = len(source) - mixture.examples
    if not 0 < mixture.batch < batch_size <= unlabelled + mixture.batch or (
      mixture.batch > mixture.examples
    ):
      raise UserError(
        f'Found batches of {batch_size}, {mixture.batch} of them labelled, and '
        f'{unlabelled} unlabelled examples; expected at least 1 of each in a '
        'batch, and enough unlabelled examples for one. Change batch_size or '
        'data.labelled of the stage, or use more data.'
      )
    return
  if not 1 <= batch_size <= len(source):
    raise UserError(
      f'Found a batch size of {batch_size} and {len(source)} examples; '
      'expected at least one whole batch. Lower the batch size or use more '
      'data.'
    )


def _order(
  positions: range, batch_size: int, *, seed: int, shuffle: bool
) -> Any:
  """Positions of each step's batch, without end and without a remainder."""
  import grain

  order = grain.MapDataset.range(positions.start, positions.stop)
  if shuffle:
    order = order.shuffle(seed=_grain_seed(seed))
  # The order is batched before it repeats, so that no batch spans two epochs.
  # It holds positions rather than examples, so that one call reads a batch.
  order = order.batch(batch_size, drop_remainder=True, batch_fn=np.array)
  return order.repeat()


def _mixed_order(
  mixture: Mixture, length: int, batch_size: int, *, seed: int, shuffle: bool
) -> Any:
  """The same, where each batch begins with examples that have labels.

  Labelled and unlabelled examples have orders of their own, so the few labelled
  examples are repeated as often as needed.
  """
  counts = mixture.batch, batch_size - mixture.batch
  parts = range(mixture.examples), range(mixture.examples, length)
  labelled: Any
  labelled, unlabelled = (
    _order(part, count, seed=seed, shuffle=shuffle)
    for part, count in zip(parts, counts, strict=True)
  )
  return unlabelled.map_with_index(
    lambda step, positions: np.concatenate([labelled[step], positions])
  )


def batches(
  source: Source,
  *,
  batch_size: int,
  seed: int,
  steps: int,
  start: int = 0,
  shuffle: bool = True,
  mixture: Mixture | None = None,
  transform: Callable[[Batch], Batch] | None = None,
) -> Iterator[Batch]:
  """Iterates over the batches of steps `start` to `steps` - 1.

  A thread reads the batches ahead. An epoch has `len(source) // batch_size`
  steps and an order of its own. No example comes twice in an epoch, and the
  examples that do not fill a batch are left out of it.

  Args:
    source: the examples.
    batch_size: the number of examples in a batch.
    seed: the seed of the order, 0 or more; unused without `shuffle`.
    steps: the step to stop before, counted from the beginning of the run.
    start: the first step.
    shuffle: whether to draw a new order each epoch; otherwise every epoch
      follows the order of the source.
    mixture: the labelled examples among the others, which each batch has a
      fixed number of; their own order depends on (seed, step). An epoch is then
      a pass over the other examples.
    transform: a function applied to each batch, in the reading thread.

  Raises:
    UserError: the batch is larger than the data.
    ValueError: `start` is not in 0 to `steps`.
  """
  check_batch_size(batch_size, source, mixture)
  if not 0 <= start <= steps:
    raise ValueError(
      f'Found start {start} and steps {steps}; expected 0 <= start <= steps.'
    )
  if mixture is None:
    order = _order(range(len(source)), batch_size, seed=seed, shuffle=shuffle)
  else:
    order = _mixed_order(
      mixture, len(source), batch_size, seed=seed, shuffle=shuffle
    )
  dataset = order[start:steps].map(source.gather)
  if transform is not None:
    dataset = dataset.map(transform)
  import grain

  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
  return iter(dataset.to_iter_dataset(options))


def evaluation_batches(source: Source, batch_size: int) -> Iterator[Batch]:
  """Iterates over all examples once, in order, in batches of one size.

  Copies of the last example fill up the last batch. Each batch also has
  `valid`, bool (batch_size,), which is False for these copies.

  Raises:
    ValueError: `batch_size` is not positive.
  """
  if batch_size < 1:
    raise ValueError(f'Found a batch size of {batch_size}; expected 1 or more.')

  def read(start: int) -> Batch:
    positions = np.arange(start, start + batch_size)
    batch = source.gather(np.minimum(positions, len(source) - 1))
    return batch | {'valid': positions < len(source)}

  return map(read, range(0, len(source), batch_size))
