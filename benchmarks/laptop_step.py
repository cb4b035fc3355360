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
from ssljax import core, optim, parallel
from ssljax.augment.text import text_views
from ssljax.data.render import render
from ssljax.methods import recognize, simclr
from ssljax.models import heads, instances
from ssljax.models.sequence import CtcHead, SequenceEncoder
from ssljax.process import keep_heap
from ssljax.text import CHARSETS

STEPS = 100  # of the schedule


def batch_of(config, size):
  """Rendered images with labels, as the loop feeds them."""
  data = config.data.to_dict()
  recipe = {k: data[k] for k in ('charset', 'layouts', 'height', 'width')}
  examples = [
    render(seed=0, split='train', index=index, **recipe)
    for index in range(size)
  ]
  encode = CHARSETS[config.data.charset].encode
  return {
    'image': np.stack([example.image for example in examples]),
    'index': np.arange(size, dtype=np.int32),
    'label': np.stack([encode(example.text, 6) for example in examples]),
  }


def parts_of(config, stage):
  """(views, method, optimizer) that the config describes."""
  encoder = SequenceEncoder(**config.encoder)
  views = text_views(stride=encoder.stride, **stage.views)
  if stage.method.name == 'simclr':
    pool = stage.method.instances.pool
    method = simclr.simclr(
      encoder,
      heads.Projector(**config.projector),
      views=views,
      instances=instances.frames(pool, stride=encoder.stride),
      temperature=stage.method.temperature,
    )
  else:
    classes = CHARSETS[config.data.charset].classes
    method = recognize.recognize(
      encoder,
      CtcHead(classes, config.head_width),
      views=views,
      freeze=stage.freeze,
    )
  options = stage.optimizer.to_dict()
  warmup = round(options.pop('warmup_share') * STEPS)
  optimizer = optim.optimizer(
    **options, steps=STEPS, warmup=warmup, freeze=stage.freeze
  )
  return views, method, optimizer


def measure(config, name, repeats):
  """(step, views) seconds, the least of `repeats`."""
  stage = config[name]
  batch = batch_of(config, stage.batch_size)
  views, method, optimizer = parts_of(config, stage)
  parts = {'method': method, 'optimizer': optimizer}
  create = jax.jit(functools.partial(core.create_state, **parts))
  state = create(jax.random.key(0), batch)
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )
  views = jax.jit(views)
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
