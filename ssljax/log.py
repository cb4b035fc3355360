"""Logs a stage: to the console, metrics.jsonl and TensorBoard.

Only process 0 writes; in the other processes nothing here has an effect, apart
from reading. The progress bar and the notes go to stderr, so that stdout holds
the results alone.
"""

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TextIO

import jax
import numpy as np
import tensorboardX
from PIL import Image
from tqdm import tqdm

from ssljax import durable
from ssljax.records import jsonable, read_json, replace_text, write_json

_LINE_SECONDS = 10.0  # between two lines, if stderr is not a terminal
_LINE = (
  '{desc}: {n_fmt}/{total_fmt} {unit}s ({percentage:.0f}%), {rate_fmt}, '
  '{elapsed} so far, {remaining} left{postfix}'
)


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
    show: the scalars that the bar shows.
  """

  def __init__(
    self,
    directory: str | pathlib.Path,
    *,
    name: str,
    total: int,
    start: int = 0,
    unit: str = 'step',
    show: Sequence[str] = ('loss',),
  ):
    self._speaks = jax.process_index() == 0
    self._start = start
    directory = pathlib.Path(directory)
    self._window = directory / 'window.json'
    if not self._speaks:
      return
    self._show = show
    with durable.writes(directory):
      directory.mkdir(parents=True, exist_ok=True)
    self._pictures = directory / 'pictures'
    path = directory / 'metrics.jsonl'
    self._since = time.perf_counter() - _drop_after(path, start)
    with durable.writes(path):
      self._lines = path.open('a', encoding='utf-8')
    self._board, self._failed = _board(directory / 'tensorboard', start)
    self._bar = _bar(name, total, start, unit)

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
    for name, value in values.items():
      # tensorboardX prints a warning for a number that is not finite.
      if math.isfinite(value):
        self._board.add_scalar(name, value, int(step))
    shown = {name: values[name] for name in self._show if name in values}
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
    with durable.replacing(path, 'wb') as file:
      image.save(file, 'PNG')
    self._board.add_image('task', pixels, int(step), dataformats='HWC')

  def advance(self, step: int) -> None:
    """Moves the bar to `step`, the number of steps that are done."""
    if self._speaks:
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


def _parse(line: str) -> dict[str, Any] | None:
  if not line.endswith('\n'):
    return None
  try:
    entry = json.loads(line)
  except json.JSONDecodeError:
    return None
  known = isinstance(entry, dict) and {'step', 'seconds'} <= entry.keys()
  return entry if known else None


def _bar(name: str, total: int, start: int, unit: str) -> tqdm:
  """Makes a bar on a terminal, and elsewhere a plain line every few seconds."""
  options: dict[str, Any] = dict(
    desc=name, total=total, initial=start, unit=unit, disable=total == 0
  )
  if _on_terminal():
    return tqdm(**options, file=sys.stderr, dynamic_ncols=True)
  return tqdm(
    **options,
    file=_Lines(sys.stderr),
    bar_format=_LINE,
    mininterval=_LINE_SECONDS,
    miniters=1,  # otherwise tqdm counts steps between lines, not seconds
  )


def _on_terminal() -> bool:
  # A pseudo-terminal may have a size of 0, where tqdm would show nothing.
  return sys.stderr.isatty() and all(os.get_terminal_size(sys.stderr.fileno()))


class _Lines:
  """Turns the bar's carriage returns into lines, for a file or a CI log."""

  def __init__(self, stream: TextIO):
    self._stream = stream

  def write(self, text: str) -> None:
    text = text.strip('\r\n ')
    if text:
      self._stream.write(text + '\n')

  def flush(self) -> None:
    self._stream.flush()
