"""Times of functions that run in turn, so that other work hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax


class Ratio(NamedTuple):
  """The median of ratios of neighbouring times, and their quartiles."""

  median: float
  low: float
  high: float

  def __str__(self) -> str:
    return f'{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]'


def times(
  functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
  """Seconds of each call, each function in turn, after one call of each."""
  found: dict[str, list[float]] = {name: [] for name in functions}
  for repeat in range(repeats + 1):
    for name, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function())
      if repeat:
        found[name].append(time.perf_counter() - start)
  return found


def ratio(over: list[float], under: list[float]) -> Ratio:
  """What `over` takes of `under`, call by call."""
  each = [a / b for a, b in zip(over, under, strict=True)]
  low, median, high = statistics.quantiles(each, n=4)
  return Ratio(median, low, high)
