"""What views cost of a training step: python benchmarks/laptop_step.py

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
from ssljax import build, core, main, parallel
from ssljax.augment.text import text_views
from ssljax.data.render import render


def batch_of(config, size):
  """Rendered images with labels, as the loop feeds them."""
  data = config.data.to_dict()
  recipe = {k: data[k] for k in ('charset', 'layouts', 'height', 'width')}
  examples = [
    render(seed=0, split='train', index=index, **recipe)
    for index in range(size)
  ]
  encode = build.charset(config).encode
  return {
    'image': np.stack([example.image for example in examples]),
    'index': np.arange(size, dtype=np.int32),
    'label': np.stack([encode(example.text, 6) for example in examples]),
  }


def measure(config, name, repeats=20):
  """(step, views) seconds, the least of `repeats`."""
  stage = config[name]
  batch = batch_of(config, stage.batch_size)
  parts = {
    'method': build.method(config, stage),
    'optimizer': build.optimizer(stage, steps=100),
  }
  create = jax.jit(functools.partial(core.create_state, **parts))
  state = create(jax.random.key(0), batch)
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )
  views = jax.jit(
    text_views(stride=build.encoder(config).stride, **stage.views)
  )
  key, times = jax.random.key(0), []
  for _ in range(repeats + 2):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, batch))
    middle = time.perf_counter()
    jax.block_until_ready(views(key, batch['image'], batch['index']))
    times.append((middle - start, time.perf_counter() - middle))
  return np.min(times[2:], axis=0)


if __name__ == '__main__':
  main.keep_heap()
  recipe = simclr_ocr.get_config('laptop')
  for name in recipe.recipe:
    step, views = measure(recipe, name)
    print(
      f'{name}: step {1e3 * step:.1f} ms, views {1e3 * views:.1f} ms, '
      f'ratio {views / step:.3f}'
    )
