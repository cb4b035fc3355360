"""What views cost of a training step.

  python benchmarks/laptop_step.py
  python benchmarks/laptop_step.py --smoke    a small network, in seconds

For each stage of `configs/simclr_ocr.py:laptop`: milliseconds of a compiled
step and of its views alone, the least of interleaved repeats, and their ratio.
The goal is a ratio of at most 0.15. Ratios hold on a shared machine,
milliseconds do not.
"""

import functools
import pathlib
import sys
import time

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from configs import simclr_ocr
from ssljax import build, core, parallel, tasks
from ssljax.data.render import render
from ssljax.process import keep_heap


def batch_of(config, task, size):
  """Rendered images with labels, as the loop feeds them."""
  data = config.data.to_dict()
  recipe = {k: data[k] for k in ('charset', 'layouts', 'height', 'width')}
  examples = [
    render(seed=0, split='train', index=index, **recipe)
    for index in range(size)
  ]
  # A quarter has labels, as in self-training; other stages have no use for it.
  return task.arrays(
    {
      'labelled': np.arange(size) < size // 4,
      'image': np.stack([example.image for example in examples]),
      'index': np.arange(size, dtype=np.int32),
      'text': [example.text for example in examples],
    }
  )


def measure(config, name, repeats):
  """(step, views) seconds, the least of `repeats`."""
  stage, task = config[name].to_dict(), tasks.make(config)
  networks = build.networks(config)
  batch = batch_of(config, task, stage['batch_size'])
  rate = stage['optimizer']['learning_rate']
  parts = {
    'method': build.method(stage, networks=networks, task=task),
    'optimizer': build.optimizer(
      stage, task=task, steps=100, learning_rate=rate
    ),
  }
  create = jax.jit(functools.partial(core.create_state, **parts))
  state = create(jax.random.key(0), batch)
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )
  views = jax.jit(task.views(stage['views'], build.encoder(networks)))
  key, times = jax.random.key(0), []
  for _ in range(repeats + 2):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, batch))
    middle = time.perf_counter()
    jax.block_until_ready(views(key, batch['image'], batch['index']))
    times.append((middle - start, time.perf_counter() - middle))
  return np.min(times[2:], axis=0)


def main(scale: str, repeats: int) -> None:
  keep_heap()
  recipe = simclr_ocr.get_config(scale)
  for name in recipe.recipe:
    step, views = measure(recipe, name, repeats)
    print(
      f'{name}: step {1e3 * step:.1f} ms, views {1e3 * views:.1f} ms, '
      f'ratio {views / step:.3f}'
    )


if __name__ == '__main__':
  if sys.argv[1:] == ['--smoke']:
    main('smoke', repeats=1)
  else:
    main('laptop', repeats=20)
