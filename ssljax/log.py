"""Logs a stage: to the console, metrics.jsonl, TensorBoard and trackers.

Only process 0 writes; in the other processes nothing here has an effect, apart
from reading. The progress bar and the notes go to stderr, so that stdout holds
the results alone.
"""

import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import jax
import numpy as np
import tensorboardX
from PIL import Image
from tqdm import tqdm

from ssljax import bars, durable
from ssljax.records import jsonable, read_json, replace_text, write_json
from ssljax.trackers import Tracker

# How well a stage does, beside its loss: the bar shows the first that it has.
_TOLD = ('accuracy', 'retrieval', 'psnr', 'confidence', 'effective_rank')


class Log:
  """The log of one stage; a context manager.

  `metrics.jsonl` holds one JSON object per line: `step`, `seconds` (the time
  spent in the stage, without the time between a stop and the restart), and the
  scalars. A number that is not finite is written as null, because JSON has no
  NaN.

  Args:
    directory: the stage's folder, for `metrics.jsonl`, `tensorboard/` and
      `pictures/`.
    name: the name of the stage on the bar.
    total: the number of steps in the stage.
    start: the step that the run goes on from. Lines that a killed run logged
      after this step are dropped, because these steps run again.
    unit: the word for what is counted.
    trackers: are told the same.
  """

  def __init__(
    self,
    directory: str | pathlib.Path,
    *,
    name: str,
    total: int,
    start: int = 0,
    unit: str = 'step',
    trackers: Sequence[Tracker] = (),
  ):
    self._speaks = jax.process_index() == 0
    self._start = start
    directory = pathlib.Path(directory)
    self._window = directory / 'window.json'
    if not self._speaks:
      return
    self._name, self._trackers = name, trackers
    with durable.writes(directory):
      directory.mkdir(parents=True, exist_ok=True)
    self._pictures = directory / 'pictures'
    path = directory / 'metrics.jsonl'
    # What a killed run has logged beyond its last checkpoint is logged again,
    # with the same values; a tracker, which cannot drop it, has it already.
    self._known = max((entry['step'] for entry in _entries(path)), default=-1)
    self._since = time.perf_counter() - _drop_after(path, start)
    with durable.writes(path):
      self._lines = path.open('a', encoding='utf-8')
    self._board, self._failed = _board(directory / 'tensorboard', start)
    self._bar = bars.bar(
      name, total, unit=unit, start=start, disable=total == 0
    )

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes the scalars of a step and shows some of them on the bar.

    Args:
      step: the step.
      values: the scalars by name: numbers, or arrays of one element.
    """
    if not self._speaks:
      return
    values = {name: float(value) for name, value in values.items()}
    line = {
      'step': int(step),
      'seconds': round(time.perf_counter() - self._since, 3),
      **jsonable(values),
    }
    with durable.writes(self._lines.name):
      self._lines.write(json.dumps(line, allow_nan=False) + '\n')
      self._lines.flush()
    for error in self._failed:
      place = self._pictures.with_name('tensorboard')
      raise durable.CannotWrite(durable.cannot_write(place, error))
    told = _finite(line)
    for name, value in told.items():
      self._board.add_scalar(name, value, int(step))
    for each in self._trackers if step > self._known else ():
      each.scalars(self._name, int(step), told)
    figures = [name for name in _TOLD if name in values][:1]
    shown = {
      name: values[name] for name in ('loss', *figures) if name in values
    }
    if shown:
      self._bar.set_postfix(shown, refresh=False)

  def kept(self) -> list[dict[str, np.ndarray]]:
    """The metrics of steps before the start that are in no line yet."""
    return [
      {name: np.asarray(*each) for name, each in metrics.items()}
      for metrics in self._windows().get(str(self._start), [])
    ]

  def keep(self, step: int, window: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Keeps the metrics of steps up to `step` for the run that goes on there.

    What was kept for the start of this run stays, in case the checkpoint of
    `step` is never complete.
    """
    if self._speaks:
      now = [
        {name: (each.tolist(), each.dtype.name) for name, each in at.items()}
        for at in window
      ]
      before = self._windows().get(str(self._start), [])
      write_json(self._window, {self._start: before, int(step): now})

  def _windows(self) -> dict[str, Any]:
    return read_json(self._window) if self._window.exists() else {}

  def picture(self, step: int, pixels: np.ndarray) -> None:
    """Saves a picture as `pictures/STEP.png` and shows it in TensorBoard.

    The file has twice the size of the picture, so that small images can be
    looked at.

    Args:
      step: the step.
      pixels: uint8 (height, width, 3).
    """
    if not self._speaks:
      return
    image = Image.fromarray(pixels)
    image = image.resize(
      (2 * image.width, 2 * image.height), Image.Resampling.NEAREST
    )
    path = self._pictures / f'{step:07}.png'
    known = path.exists()  # see `_known`
    with durable.replacing(path, 'wb') as file:
      image.save(file, 'PNG')
    self._board.add_image(
      'task', np.asarray(image), int(step), dataformats='HWC'
    )
    for each in () if known else self._trackers:
      each.picture(f'{self._name}/task', int(step), np.asarray(image))

  def advance(self, step: int, later: float | None = None) -> None:
    """Moves the bar to `step`, the number of steps that are done.

    Args:
      step: the step.
      later: seconds that the stages after this one take; None if unknown.
    """
    if self._speaks:
      self._bar.later = later
      self._bar.update(int(step) - self._bar.n)

  def note(self, message: object) -> None:
    """Prints a line without breaking the bar."""
    if self._speaks:
      # tqdm clears the bar, prints the line, and draws the bar again.
      tqdm.write(str(message), file=sys.stderr)

  def close(self) -> None:
    """Ends the bar and closes the files."""
    if self._speaks:
      self._bar.close()
      self._board.close()
      self._lines.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    self.close()


def ended(directory: pathlib.Path, trackers: Sequence[Tracker] = ()) -> None:
  """Shows in TensorBoard, and tells trackers, how a stage has ended.

  These are the figures of its `stage.json` and, where there is one, the sheet
  of its readings.

  Args:
    directory: the stage's folder.
    trackers: are told the same.
  """
  step, figures, sheet = _end_of(directory)
  board, failed = _board(directory / 'tensorboard', step)
  for name, value in figures.items():
    board.add_scalar(name, value, step)
  if sheet is not None:
    board.add_image('sheet', sheet, step, dataformats='HWC')
  board.close()
  for error in failed:
    place = directory / 'tensorboard'
    raise durable.CannotWrite(durable.cannot_write(place, error))
  for each in trackers:
    _tell_end(directory.name, each, step, figures, sheet)


def _end_of(
  directory: pathlib.Path,
) -> tuple[int, dict[str, float], np.ndarray | None]:
  """The last step of a stage, its figures, and its sheet if there is one."""
  summary = read_json(directory / 'stage.json')
  sheet = _pixels(directory / 'sheet.png')
  return summary['steps'], _figures(summary), sheet


def _tell_end(
  stage: str,
  tracker: Tracker,
  step: int,
  figures: Mapping[str, float],
  sheet: np.ndarray | None,
) -> None:
  tracker.scalars(stage, step, figures)
  if sheet is not None:
    tracker.picture(f'{stage}/sheet', step, sheet)


def replay(
  folder: pathlib.Path, stages: Iterable[str], tracker: Tracker
) -> None:
  """Tells a tracker, which is new to a run, what the run has logged before.

  Args:
    folder: of the run.
    stages: their names, in order.
    tracker: is told all that stands in the folders of the stages.
  """
  for name in stages:
    for entry in _entries(folder / name / 'metrics.jsonl'):
      tracker.scalars(name, entry['step'], _finite(entry))
    for path in sorted((folder / name / 'pictures').glob('*.png')):
      pixels = _pixels(path)
      if pixels is not None:
        tracker.picture(f'{name}/task', int(path.stem), pixels)
    if (folder / name / 'stage.json').exists():
      _tell_end(name, tracker, *_end_of(folder / name))


def _finite(line: Mapping[str, Any]) -> dict[str, float]:
  """The numbers of a line but for its step; TensorBoard warns of a NaN."""
  return {
    name: value
    for name, value in line.items()
    if name != 'step' and value is not None
  }


def _figures(summary: Mapping[str, Any], path: str = 'end') -> dict[str, float]:
  """The numbers of a `stage.json`, as 'end/test/exact_match'."""
  found = {}
  for name, value in summary.items():
    if isinstance(value, Mapping):
      found |= _figures(value, f'{path}/{name}')
    elif isinstance(value, int | float) and math.isfinite(value):
      found[f'{path}/{name}'] = float(value)
  return found


def _pixels(path: pathlib.Path) -> np.ndarray | None:
  """The pixels of a picture, uint8 (height, width, 3); None without a file."""
  if not path.exists():
    return None
  with Image.open(path) as image:
    return np.asarray(image.convert('RGB'))


def _board(
  folder: pathlib.Path, start: int
) -> tuple[tensorboardX.SummaryWriter, list[OSError]]:
  """A writer for TensorBoard, and the errors that it meets later.

  An error would end the thread that writes, and the run would then wait for
  the thread for ever.
  """
  failed: list[OSError] = []

  def kept(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
      try:
        return call(*arguments)
      except OSError as error:
        failed.append(error)

    return called

  with durable.writes(folder):
    # TensorBoard hides the events of earlier files from the purged step on. A
    # stage that starts afresh also purges step 0.
    board = tensorboardX.SummaryWriter(
      str(folder),
      purge_step=start + 1 if start else 0,
      flush_secs=10,  # a kill loses at most the events of this time
      # A file's name tells its time in whole seconds, so without the suffix a
      # second file in the same second would overwrite the first.
      filename_suffix=f'.{time.time_ns()}',
    )
  events: Any = board.file_writer
  events = events.event_writer._ev_writer
  for name in ('write_event', 'flush', 'close'):
    setattr(events, name, kept(getattr(events, name)))
  return board, failed


def _drop_after(path: pathlib.Path, start: int) -> float:
  """Drops the lines after step `start`, and a last line that a kill tore.

  With `start` 0 all lines are dropped, because the stage begins afresh.

  Returns:
    The `seconds` of the last line that is kept.
  """
  if not path.exists():
    return 0.0
  # A torn line may end in the middle of a character.
  text = path.read_text(encoding='utf-8', errors='replace')
  kept, seconds = [], 0.0
  for line in text.splitlines(keepends=True) if start else []:
    entry = _parse(line)
    if entry is not None and entry['step'] <= start:
      kept.append(line)
      seconds = entry['seconds']
  if ''.join(kept) != text:
    replace_text(path, ''.join(kept))
  return seconds


def _entries(path: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a `metrics.jsonl`, but for one that a kill tore."""
  if not path.exists():
    return []
  text = path.read_text(encoding='utf-8', errors='replace')
  found = map(_parse, text.splitlines(keepends=True))
  return [entry for entry in found if entry is not None]


def _parse(line: str) -> dict[str, Any] | None:
  if not line.endswith('\n'):
    return None
  try:
    entry = json.loads(line)
  except json.JSONDecodeError:
    return None
  known = isinstance(entry, dict) and {'step', 'seconds'} <= entry.keys()
  return entry if known else None
