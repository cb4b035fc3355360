"""Keeps the best checkpoint of a stage by validation, apart from the newest."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ssljax import checkpoint, parallel
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState

FOLDER = 'best'  # in the folder of a stage
VALUE = 'validation_score'  # in the metadata of the checkpoint


class Best:
  """Saves what `checkpoints` is to save, and the best of it once more.

  The score is computed at each save. The best is in a folder of its own, which
  `checkpoint.read` reads. The run itself goes on from the newest, and is
  evaluated with it.

  Args:
    checkpoints: of the stage.
    folder: of the stage.
    score: `state -> score`; higher is better, and the first of equals is best.
    metadata: as of the checkpoints.
  """

  def __init__(
    self,
    checkpoints: Checkpoints,
    folder: pathlib.Path,
    score: Callable[[TrainState], float],
    metadata: Mapping[str, Any],
  ):
    self._checkpoints, self._score = checkpoints, score
    self._folder, self._metadata = folder / FOLDER, metadata
    self._best, self._step = -float('inf'), -1
    if checkpoint.steps_in(self._folder):
      saved = checkpoint.read(self._folder, 'step')
      self._best, self._step = saved.metadata[VALUE], saved.step

  def save(self, step: int, state: TrainState) -> None:
    self._checkpoints.save(step, state)
    if step <= self._step:
      return  # a run that goes on from an older checkpoint
    score = float(self._score(parallel.own(state)))
    if score > self._best:
      metadata = {**self._metadata, VALUE: score}
      with Checkpoints(self._folder, metadata=metadata, keep=1) as best:
        best.save(step, state)
      self._best, self._step = score, step
