"""What a config describes, built as `ssljax.stage` builds it."""

import pathlib

import jax
import numpy as np

from ssljax import build, recipe, tasks
from ssljax.checkpoint import Checkpoints
from ssljax.data import sources
from ssljax.records import write_json


def method(config, stage, **options):
  """The method of a stage, given by its name or by its description."""
  each = config[stage] if isinstance(stage, str) else stage
  task = tasks.make(config)
  networks = build.networks(config)
  return build.method(each.to_dict(), networks=networks, task=task, **options)


def optimizer(config, stage, *, steps):
  each = config[stage] if isinstance(stage, str) else stage
  rate = each.optimizer.learning_rate
  return build.optimizer(
    each.to_dict(), task=tasks.make(config), steps=steps, learning_rate=rate
  )


def check(config, folder=pathlib.Path()):
  """Checks a recipe by its names, as `ssljax.stage.resolve` does first."""
  config = config.copy_and_resolve_references()
  if 'classes' in config.data:
    config.data.classes = ('a', 'b')  # which its data would fill in
  described = {name: config[name].to_dict() for name in config.recipe}
  return recipe.check_recipe(
    described,
    networks=build.networks(config),
    task=tasks.make(config),
    folder=folder,
    mapping=config.mapping,
  )


def frames(config):
  """Frames of one line of text."""
  return tasks.make(config).frames(build.encoder(config))


def text_source(texts, width=96):
  """Blank images with these labels."""
  count = len(texts)
  columns = {
    'image': np.zeros((count, 32, width, 3), np.uint8),
    'index': np.arange(count, dtype=np.int32),
    'text': np.array(texts),
    'layout': np.zeros(count, np.int32),
    'extents': np.full((count, 6, 2), -1, np.float32),
  }
  return sources.MemorySource(columns, ('arcs',))


def arrays(method, batch):
  """Random params and method_state, because initializing would compile."""
  shapes = jax.eval_shape(method.init, jax.random.key(0), batch)
  rng = np.random.default_rng(3)
  params, method_state = jax.tree.map(
    lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes
  )
  # Small and positive, as the variances that the head divides by.
  return params, jax.tree.map(lambda x: np.abs(x) / 10, method_state)


def save(folder, config, stage, params, method_state):
  """A finished stage of a run, of these arrays."""
  metadata = {'config': config.to_dict(), 'stage': stage}
  metadata |= tasks.make(config).metadata
  state = {'params': params, 'method_state': method_state}
  with Checkpoints(folder / stage / 'checkpoints', metadata=metadata) as saved:
    saved.save(1, state)
  write_json(folder / stage / 'stage.json', {'steps': 1})
