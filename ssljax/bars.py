"""Progress bars: one on a terminal, elsewhere a plain line every few seconds.

They go to stderr, so that stdout holds the results alone.
"""

import os
import sys
from typing import Any, TextIO

from tqdm import tqdm

_LINE_SECONDS = 10.0  # between two lines, if stderr is not a terminal
_BAR = '{desc}: {percentage:3.0f}%|{bar}| {told}'
_LINE = '{desc}: {n_fmt}/{total_fmt} {unit}s ({percentage:.0f}%), {told}'
_ENDLESS = '{desc}: {n_fmt} {unit}s, {told}'


class Bar(tqdm):
  """A bar that tells its speed, the time left, and the figures it is given.

  Attributes:
    later: seconds from the end of this bar to the end of the run that it is
      part of; None where they are not known.
  """

  later: float | None = None
  _begun: tuple[float, float] | None = None  # what was done first, and when

  @property
  def format_dict(self) -> dict[str, Any]:
    found = dict(super().format_dict)
    done, passed = found['n'], found['elapsed']
    if self._begun is None and done > found['initial']:
      self._begun = done, passed
    first, since = self._begun or (done, passed)
    # The first step also compiles, so its time tells nothing of the others.
    rate = (done - first) / (passed - since) if passed > since else 0.0
    return found | {'told': _told(found, rate, self.later)}


def bar(
  name: str,
  total: int | None,
  *,
  unit: str,
  start: int = 0,
  delay: float = 0.0,
  disable: bool = False,
) -> Bar:
  """A bar, or what stands for one where stderr is not a terminal.

  Args:
    name: stands before it.
    total: how many there are to do; None where nobody knows.
    unit: the word for one of them.
    start: how many are done already.
    delay: seconds before it is shown.
    disable: shows nothing.
  """
  options: dict[str, Any] = {
    'desc': name,
    'total': total,
    'unit': unit,
    'initial': start,
    'delay': delay,
    'disable': disable,
  }
  if on_terminal():
    shape = _ENDLESS if total is None else _BAR
    return Bar(**options, file=sys.stderr, bar_format=shape, dynamic_ncols=True)
  return Bar(
    **options,
    file=_Lines(sys.stderr),
    bar_format=_ENDLESS if total is None else _LINE,
    mininterval=_LINE_SECONDS,
    miniters=1,  # otherwise tqdm counts steps between lines, not seconds
  )


def minutes(seconds: float) -> str:
  """A time as a person says it: '40 s', '12 min', '3.5 h'."""
  if seconds < 60:
    return f'{max(1, round(seconds))} s'
  if seconds < 5400:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'


def on_terminal() -> bool:
  # A pseudo-terminal may have a size of 0, where tqdm would show nothing.
  return sys.stderr.isatty() and all(os.get_terminal_size(sys.stderr.fileno()))


def _told(bar: dict[str, Any], rate: float, later: float | None) -> str:
  """What stands behind a bar.

  Args:
    bar: the values that tqdm has of it.
    rate: what is done in a second; 0 where this is not known yet.
    later: see `Bar`.
  """
  done, total = bar['n'], bar['total']
  told = []
  if rate:
    many = f'{rate:,.0f}' if rate >= 100 else f'{rate:.3g}'
    told.append(f'{many}/s' if rate >= 1 else f'{1 / rate:.3g} s each')
  if total and done >= total:
    told.append(f'took {minutes(bar["elapsed"])}')
  elif rate and total:
    left = (total - done) / rate
    told.append(f'{minutes(left)} left')
    if later is not None:
      told.append(f'run {minutes(left + later)}')
  if bar['postfix']:
    told.append(bar['postfix'])
  return ', '.join(told) or 'starting'


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
