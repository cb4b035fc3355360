"""What a run on text and a run on images do differently, as one value each."""

from typing import Any

from ssljax.tasks.images import images
from ssljax.tasks.task import Task
from ssljax.tasks.text import text

__all__ = ['Task', 'images', 'make', 'text']


def make(config: Any) -> Task:
  """The task of a run: this is the one place that chooses it.

  Args:
    config: of the run, its `data` resolved. Data with a charset is text.
  """
  if 'charset' in config['data']:
    options = ('rows', 'differences', 'labelled_layouts', 'published')
    tables = {key: config[key] for key in options if key in config}
    head = {'head_width': config['head_width']}
    # Runs from before this option have no such key.
    head['standardize'] = config.get('standardize', False)
    return text(**config['data'], **head, tables=tables)
  tables = {key: config.get(key, ()) for key in ('rows', 'baselines')}
  evaluation = config.get('evaluation') or None
  return images(**config['data'], evaluation=evaluation, tables=tables)
