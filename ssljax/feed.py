"""How batches reach the compiled step: one a call, several, or by position.

On CPU a call takes one step, because a convolution inside a scan is many times
slower there. On an accelerator a small step is over before the next call is
made, so a call takes several; and where the images fit on the device they stay
there, and only positions travel.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from ssljax import parallel
from ssljax.data import pipeline

Chunk = tuple[dict[str, np.ndarray], int]


def steps_per_call(config) -> int:
  """Of the config; by default 1 on CPU and a line of the log elsewhere."""
  if config.steps_per_call:
    return config.steps_per_call
  return 1 if jax.default_backend() == 'cpu' else config.log_every


def compile_call(step, stage, config, *, axis_name: str) -> Callable:
  """`call(state, batch) -> (state, metrics)` over the batches of `chunks`.

  Args:
    step: `step(state, batch, *, axis_name)`, as for `parallel.compile_step`.
    stage: the Plan.
    config: of the run.
    axis_name: of the devices.
  """
  options = {
    'mapping': config.mapping,
    'axis_name': axis_name,
    'scan': steps_per_call(config) > 1,
  }
  if not config.resident:
    return parallel.compile_step(step, **options)

  def looked_up(state, batch, table, *, axis_name):
    batch = jax.tree.map(lambda column: column[batch['position']], table)
    return step(state, batch, axis_name=axis_name)

  table = stage.transform(stage.source.gather(range(len(stage.source))))
  return parallel.compile_step(looked_up, shared=table, **options)


def chunks(stage, config, *, start: int) -> Iterator[Chunk]:
  """(arrays, steps) for each call from step `start` on.

  A call ends where an epoch, a line of the log or a checkpoint is due, so these
  fall on the same steps however many a call takes. Calls take one step until
  the next whole chunk fits: two shapes, and so at most two compilations.
  """
  source, transform = stage.source, stage.transform
  if config.resident:
    source, transform = _Positions(len(source)), None
  batches = pipeline.batches(
    source,
    batch_size=stage.batch_size,
    seed=stage.seed,
    start=start,
    steps=stage.steps,
    transform=transform,
  )
  size, done = steps_per_call(config), start
  while done < stage.steps:
    dues = (stage.epoch, config.log_every, config.checkpoint_every)
    end = min(stage.steps, *((done // due + 1) * due for due in dues))
    count = size if done + size <= end else 1
    chunk = [next(batches) for _ in range(count)]
    yield chunk[0] if size == 1 else _stacked(chunk), count
    done += count


def _stacked(batches: Sequence[dict]) -> dict[str, np.ndarray]:
  return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)


class _Positions:
  """A source whose examples are their positions."""

  def __init__(self, length: int):
    self._length = length

  def __len__(self) -> int:
    return self._length

  def gather(self, positions) -> dict[str, np.ndarray]:
    return {'position': np.asarray(positions, np.int32)}
