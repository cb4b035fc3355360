"""How batches reach the compiled step: one a call, several, or by position.

On CPU a call takes one step, because a convolution inside a scan is many times
slower there. On an accelerator a small step is over before the next call is
made, so a call takes several; and where the images fit on the device they stay
there, and only positions travel.

With several processes each of them reads the rows of its own devices.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ssljax import parallel
from ssljax.data import pipeline
from ssljax.stage import Stage

Chunk = tuple[dict[str, np.ndarray], int]


def steps_per_call(stage: Stage) -> int:
  """The stage's; by default 1 on CPU and a line of the log elsewhere."""
  if stage.steps_per_call:
    return stage.steps_per_call
  return 1 if jax.default_backend() == 'cpu' else stage.log_every


def compile_call(
  step: Callable[..., Any], stage: Stage
) -> Callable[[Any, Any], tuple[Any, Any]]:
  """`call(state, batch) -> (state, metrics)` over the batches of `chunks`.

  Args:
    step: `step(state, batch, *, axis_name)`, as for `parallel.compile_step`.
    stage: whose batches they are.
  """
  options = {
    'mapping': stage.mapping,
    'axis_name': stage.axis_name,
    'scan': steps_per_call(stage) > 1,
  }
  if not stage.resident:
    return parallel.compile_step(step, **options)

  def looked_up(state, batch, table, *, axis_name):
    batch = jax.tree.map(lambda column: column[batch['position']], table)
    return step(state, batch, axis_name=axis_name)

  table = stage.arrays(stage.source.gather(range(len(stage.source))))
  return parallel.compile_step(looked_up, shared=table, **options)


def chunks(stage: Stage, *, start: int) -> Iterator[Chunk]:
  """(arrays, steps) for each call from step `start` on.

  A call ends where an epoch, a line of the log or a checkpoint is due, so that
  these fall on the same steps however many a call takes. Calls take one step
  until the next whole chunk fits: there are two shapes, and so at most two
  compilations.
  """
  source: Any = stage.source
  if stage.resident:
    source = _Positions(len(source))
  if jax.process_count() > 1:
    source = _Share(source, parallel.rows_of_process(stage.batch_size))
  batches = pipeline.batches(
    source,
    batch_size=stage.batch_size,
    seed=stage.seed,
    start=start,
    steps=stage.steps,
    mixture=stage.mixture,
    transform=None if stage.resident else stage.arrays,
  )
  size, done = steps_per_call(stage), start
  while done < stage.steps:
    dues = (stage.epoch, stage.log_every, stage.checkpoint_every)
    end = min(stage.steps, *((done // due + 1) * due for due in dues))
    count = size if done + size <= end else 1
    chunk = [next(batches) for _ in range(count)]
    yield chunk[0] if size == 1 else _stacked(chunk), count
    done += count


def _stacked(batches: Sequence[dict]) -> dict[str, np.ndarray]:
  return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)


class _Share:
  """A source that reads this process's rows of each batch, and no others."""

  def __init__(self, source: Any, rows: np.ndarray):
    self._source, self._rows = source, rows

  def __len__(self) -> int:
    return len(self._source)

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    return self._source.gather(np.asarray(positions)[self._rows])


class _Positions:
  """A source whose examples are their positions."""

  def __init__(self, length: int):
    self._length = length

  def __len__(self) -> int:
    return self._length

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    return {'position': np.asarray(positions, np.int32)}
