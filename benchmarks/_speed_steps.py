"""Steps of training on text, beside the parts that they are made of."""

import functools
import importlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _rows import Outcome, row
from _timing import Ratio, ratio, times

from configs import simclr_ocr
from ssljax import build, core, parallel, tasks
from ssljax.augment.pixels import plain
from ssljax.data.render import render

# Of each method: the images of a batch that pass the encoder with a gradient,
# and those that pass a teacher without one, in batches.
PASSES = {
  'simclr': (2, 0),
  'moco': (1, 1),
  'byol': (2, 2),
  'simsiam': (2, 0),
  'deepcluster': (2, 0),
}


class Step(NamedTuple):
  """A compiled step that keeps its state, and what it is made of."""

  call: Any
  stage: dict[str, Any]
  batch: dict[str, Any]
  views: Any


def batch_of(config, task, size):
  """Rendered images, of which a quarter has labels, as the loop feeds them."""
  data = config.data.to_dict()
  recipe = {k: data[k] for k in ('charset', 'layouts', 'height', 'width')}
  examples = [
    render(seed=0, split='train', index=index, **recipe)
    for index in range(size)
  ]
  return task.arrays(
    {
      'labelled': np.arange(size) < size // 4,
      'image': np.stack([example.image for example in examples]),
      'index': np.arange(size, dtype=np.int32),
      'text': [example.text for example in examples],
    }
  )


def step_of(config, name, size=None) -> Step:
  """The step of a stage as a run compiles it, with a batch of `size`."""
  stage, task = config[name].to_dict(), tasks.make(config)
  networks = build.networks(config)
  batch = batch_of(config, task, size or stage['batch_size'])
  rate = stage['optimizer']['learning_rate']
  examples = len(batch['index'])
  asks = build.asks_for(stage['method']['name'], 'examples')
  parts = {
    'method': build.method(
      stage, networks=networks, task=task, examples=examples if asks else None
    ),
    'optimizer': build.optimizer(
      stage, task=task, steps=100, learning_rate=rate
    ),
  }
  create = jax.jit(functools.partial(core.create_state, **parts))
  states = [create(jax.random.key(0), batch)]
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )

  def call():
    state, metrics = step(states.pop(), batch)
    states.append(state)
    return state, metrics

  views = jax.jit(task.views(stage['views'], build.encoder(networks)))
  key = jax.random.key(0)
  return Step(
    call,
    stage,
    batch,
    functools.partial(views, key, batch['image'], batch['index']),
  )


def outcome(shares: Mapping[str, Ratio], met: Collection[str]) -> Outcome:
  """Of ratios by their names, of which some meet the goal."""
  return Outcome(
    len(shares),
    len(met),
    '; '.join(f'{name} {share}' for name, share in shares.items()),
    values={name: share.median for name, share in shares.items()},
  )


@row(
  'views',
  page='performance',
  what='Views of a batch over the step of each stage, on text.',
  goal='at most 0.15, but for a head on a frozen encoder',
)
def views(folder, smoke):
  config = simclr_ocr.get_config('smoke' if smoke else 'laptop')
  shares, met = {}, set()
  for name in config.recipe[:1] if smoke else config.recipe:
    step = step_of(config, name)
    found = times({'views': step.views, 'step': step.call}, 2 if smoke else 15)
    share = shares[name] = ratio(found['views'], found['step'])
    if smoke or share.median <= 0.15 or step.stage['freeze']:
      met.add(name)
  return outcome(shares, met)


@row(
  'self-training',
  page='performance',
  what='A step of self-training over a supervised step of as many images.',
  goal='at most 1.25',
)
def self_training(folder, smoke):
  config = simclr_ocr.get_config('smoke' if smoke else 'laptop')
  student = step_of(config, 'self_train')
  size = len(student.batch['index'])
  plain_step = step_of(config, 'supervised', size)
  found = times(
    {'self': student.call, 'supervised': plain_step.call}, 2 if smoke else 25
  )
  cost = ratio(found['self'], found['supervised'])
  met = smoke or cost.median <= 1.25
  figure = f'{cost} at {size} images'
  return Outcome(1, int(met), figure, values={'ratio': cost.median})


@row(
  'whole-step',
  page='performance',
  what='A step of pretraining on text, with views, loss, telemetry and update, '
  'over the passes of the encoder alone.',
  goal='at most 1.15',
)
def whole_step(folder, smoke):
  shares, met = {}, set()
  for name in ('moco',) if smoke else PASSES:
    learning, teaching = PASSES[name]
    file = importlib.import_module(f'configs.{name}_ocr')
    config = file.get_config('smoke' if smoke else 'laptop')
    step = step_of(config, 'pretrain')
    images = plain(step.batch['image'])
    encoder = build.encoder(build.networks(config))
    params = jax.jit(encoder.init)(jax.random.key(0), images)

    def passes(params, images, encoder=encoder, learn=learning, teach=teaching):
      def total(params):
        found = encoder.apply(params, jnp.concatenate([images] * learn))
        return jnp.sum(jnp.square(found))

      value, gradient = jax.value_and_grad(total)(params)
      if teach:
        taught = encoder.apply(params, jnp.concatenate([images] * teach))
        value += jnp.sum(jnp.square(taught))
      return value, gradient

    alone = functools.partial(jax.jit(passes), params, images)
    found = times({'step': step.call, 'passes': alone}, 2 if smoke else 9)
    cost = shares[name] = ratio(found['step'], found['passes'])
    if smoke or cost.median <= 1.15:
      met.add(name)
  return outcome(shares, met)
