"""Keeps the best checkpoint of a stage by validation, apart from the newest."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ssljax import checkpoint, hosts, parallel
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState

FOLDER = 'best'  # in the folder of a stage
VALUE = 'validation_score'  # in the metadata of the checkpoint


class Best:
  """Saves what `checkpoints` is to save, and the best of it once more.

  The score is computed at each save that is due. The best is in a folder of its
  own, which `checkpoint.read` reads. The run itself goes on from the newest,
  and is evaluated with it.

  Args:
    checkpoints: of the stage.
    folder: of the stage.
    score: `state -> score`; higher is better, and the first of equals is best.
    metadata: as of the checkpoints.
    due: whether a step is scored, by default each that is saved.
  """

  def __init__(
    self,
    checkpoints: Checkpoints,
    folder: pathlib.Path,
    score: Callable[[TrainState], float],
    metadata: Mapping[str, Any],
    due: Callable[[int], bool] = lambda step: True,
  ):
    self._checkpoints, self._score, self._due = checkpoints, score, due
    self._folder, self._metadata = folder / FOLDER, metadata
    self._best, self._step = -float('inf'), -1
    if checkpoint.steps_in(self._folder):
      saved = checkpoint.read(self._folder, 'step')
      self._best, self._step = saved.metadata[VALUE], saved.step

  def save(self, step: int, state: TrainState) -> None:
    # A run that goes on from an older checkpoint has the later scores already,
    # and a save that a signal asked for is at a step of its own.
    if step > self._step and self._due(step):
      score = hosts.of_first(self._score(parallel.own(state)))
      if score > self._best:
        metadata = {**self._metadata, VALUE: score}
        with Checkpoints(self._folder, metadata=metadata, keep=1) as best:
          best.save(step, state)
        self._best, self._step = score, step
    # Last, so that a kill during the score repeats it.
    self._checkpoints.save(step, state)
