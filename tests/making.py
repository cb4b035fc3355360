"""What a config describes, built as `ssljax.stage` builds it."""

import numpy as np

from ssljax import build, tasks
from ssljax.data import sources


def method(config, stage, **options):
  """The method of a stage, given by its name or by its description."""
  each = config[stage] if isinstance(stage, str) else stage
  task = tasks.make(config)
  return build.method(each.to_dict(), run=config, task=task, **options)


def optimizer(config, stage, *, steps):
  each = config[stage] if isinstance(stage, str) else stage
  rate = each.optimizer.learning_rate
  return build.optimizer(
    each.to_dict(), task=tasks.make(config), steps=steps, learning_rate=rate
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
