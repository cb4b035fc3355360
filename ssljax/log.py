"""What a run tells: the console, metrics.jsonl and TensorBoard.

Only process 0 speaks; on the others everything here does nothing. The bar and
the notes go to stderr, so that stdout holds the results alone.
"""

import json
import math
import os
import pathlib
import sys
import time

import jax
import tensorboardX
from PIL import Image
from tqdm import tqdm

from ssljax.records import jsonable, replace_text

_LINE_SECONDS = 10.0  # between two lines where stderr is no terminal
_LINE = (
  '{desc}: {n_fmt}/{total_fmt} {unit}s ({percentage:.0f}%), {rate_fmt}, '
  '{elapsed} so far, {remaining} left{postfix}'
)


class Log:
  """The log of one stage; a context manager.

  `metrics.jsonl` holds one JSON object a line: `step`, `seconds` (spent in the
  stage, without the time between a stop and the restart), and the scalars.
  What is not finite is written as null, since JSON has no NaN.

  Args:
    directory: of the stage; `metrics.jsonl` and `tensorboard/` go there.
    name: what the bar is called.
    total: steps, in all.
    start: the step that the run goes on from. What a killed run had logged
      after that step is dropped, because those steps run again.
    unit: what is counted.
    show: the scalars that the bar shows.
  """

  def __init__(
    self, directory, *, name, total, start=0, unit='step', show=('loss',)
  ):
    self._speaks = jax.process_index() == 0
    if not self._speaks:
      return
    self._show = show
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    self._pictures = directory / 'pictures'
    path = directory / 'metrics.jsonl'
    self._since = time.perf_counter() - _drop_after(path, start)
    self._lines = path.open('a', encoding='utf-8')
    # TensorBoard hides earlier events from the purged step on. A stage that
    # starts afresh purges step 0 too.
    self._board = tensorboardX.SummaryWriter(
      str(directory / 'tensorboard'),
      purge_step=start + 1 if start else 0,
      flush_secs=10,  # what a kill may lose
      # The name holds a second only, and an existing file is overwritten.
      filename_suffix=f'.{time.time_ns()}',
    )
    self._bar = _bar(name, total, start, unit)

  def scalars(self, step, values):
    """Writes {name: number} of one step, and shows some on the bar."""
    if not self._speaks:
      return
    values = {name: float(value) for name, value in values.items()}
    line = {
      'step': int(step),
      'seconds': round(time.perf_counter() - self._since, 3),
      **jsonable(values),
    }
    self._lines.write(json.dumps(line, allow_nan=False) + '\n')
    self._lines.flush()
    for name, value in values.items():
      # tensorboardX warns on the console of what is not finite.
      if math.isfinite(value):
        self._board.add_scalar(name, value, int(step))
    shown = {name: values[name] for name in self._show if name in values}
    if shown:
      self._bar.set_postfix(shown, refresh=False)

  def picture(self, step, pixels):
    """Keeps uint8 (height, width, 3) as `pictures/STEP.png` and for the board.

    Twice the size, so that small images can be looked at.
    """
    if not self._speaks:
      return
    self._pictures.mkdir(exist_ok=True)
    image = Image.fromarray(pixels)
    image = image.resize((2 * image.width, 2 * image.height), Image.NEAREST)
    image.save(self._pictures / f'{step:07}.png')
    self._board.add_image('task', pixels, int(step), dataformats='HWC')

  def advance(self, step):
    """Moves the bar to `step`, the number of steps that are done."""
    if self._speaks:
      self._bar.update(int(step) - self._bar.n)

  def note(self, message):
    """Prints a line and leaves the bar whole."""
    if self._speaks:
      # Clears a bar that is on the screen, prints, and draws it again.
      tqdm.write(str(message), file=sys.stderr)

  def close(self):
    if self._speaks:
      self._bar.close()
      self._board.close()
      self._lines.close()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    self.close()


def _drop_after(path, start):
  """Drops the lines after step `start`; returns the seconds of the last kept.

  A last line torn by a kill goes too. A start at 0 has nothing to go on from,
  so there nothing is kept.
  """
  if not path.exists():
    return 0.0
  # A torn line may end inside a character.
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


def _parse(line):
  if not line.endswith('\n'):
    return None
  try:
    return json.loads(line)
  except json.JSONDecodeError:
    return None


def _bar(name, total, start, unit):
  """A bar on a terminal; elsewhere a plain line every few seconds."""
  options = dict(
    desc=name, total=total, initial=start, unit=unit, disable=total == 0
  )
  if _on_terminal():
    return tqdm(**options, file=sys.stderr, dynamic_ncols=True)
  return tqdm(
    **options,
    file=_Lines(sys.stderr),
    bar_format=_LINE,
    mininterval=_LINE_SECONDS,
    miniters=1,  # or tqdm would count steps between lines rather than seconds
  )


def _on_terminal():
  # A pseudo-terminal may have no size, and tqdm would then show nothing.
  return sys.stderr.isatty() and all(os.get_terminal_size(sys.stderr.fileno()))


class _Lines:
  """Turns the bar's carriage returns into lines for a file or a CI log."""

  def __init__(self, stream):
    self._stream = stream

  def write(self, text):
    text = text.strip('\r\n ')
    if text:
      self._stream.write(text + '\n')

  def flush(self):
    self._stream.flush()
