"""How fast images are rendered.

  python benchmarks/rendering.py
  python benchmarks/rendering.py --smoke    a few images, in seconds

Images a second at 160x60, alnum36, with PNG encoding: each layout on one core,
their average (one of each layout in the time of all), and all of them over 1,
2, ... cores.
"""

import sys
import time

from ssljax.data import layouts, workers
from ssljax.data.render import render_chunk

CHUNK = 50  # images that a worker renders at a time


def recipe(names) -> dict:
  return {
    'seed': 0,
    'charset': 'alnum36',
    'height': 60,
    'width': 160,
    'layouts': names,
    'unseen_layouts': names,
  }


def seconds(names, count: int, processes: int, chunk: int) -> float:
  """Time for `count` images, without the start of the workers."""
  tasks = [
    (recipe(names), 'train', start, start + chunk)
    for start in range(0, count + chunk * processes, chunk)
  ]
  chunks = workers.ordered_map(render_chunk, tasks, processes=processes)
  for _ in range(processes):
    next(chunks)
  start = time.perf_counter()
  for _ in chunks:
    pass
  return time.perf_counter() - start


def main(chunk: int) -> None:
  """Prints the rates of 8 chunks of each layout, and of 40 a core of all."""
  count, total = 8 * chunk, 0.0
  for name in layouts.LAYOUTS:
    seconds((name,), chunk, 1, chunk)  # glyphs are drawn once, and kept
    taken = seconds((name,), count, 1, chunk)
    total += taken / count
    print(f'{name:10s} {count / taken:6.0f} images/s')
  print(f'{"average":10s} {len(layouts.LAYOUTS) / total:6.0f} images/s')
  one = None
  for cores in range(1, workers.available_cores() + 1):
    count = 40 * chunk * cores
    rate = count / seconds(tuple(layouts.LAYOUTS), count, cores, chunk)
    one = one or rate
    print(f'{cores} cores    {rate:6.0f} images/s, {rate / one:.2f} times one')


if __name__ == '__main__':
  main(1 if sys.argv[1:] == ['--smoke'] else CHUNK)
