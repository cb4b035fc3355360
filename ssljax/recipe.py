"""Checks a recipe by its names alone, before any data is opened.

Opening the data may mean rendering it, which takes minutes.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ssljax import build, parallel, workdir
from ssljax.core import Method
from ssljax.data.datasets import Dataset
from ssljax.errors import UserError, check_known
from ssljax.tasks import Task

Described = Mapping[str, Any]  # a stage, as `configs.common.stage` makes it


def check_recipe(
  described: Mapping[str, Described],
  *,
  networks: Mapping[str, Any],
  task: Task,
  folder: pathlib.Path,
  mapping: str = 'jit',
) -> dict[str, Method]:
  """Checks that every stage names what exists.

  Args:
    described: the stages of the recipe by name, in their order.
    networks: the run's options of its encoder, projector and predictor.
    task: what the run is about.
    folder: of the run.
    mapping: of the steps over devices.

  Returns:
    The method of each stage, for what it says of itself.

  Raises:
    UserError: an unknown method, option, part, mapping or earlier stage; a
      stage that learns from labels where there are none.
  """
  parallel.check_mapping(mapping)
  found: dict[str, Method] = {}
  for name, stage in described.items():
    method = build.method(stage, networks=networks, task=task)
    if method.labelled and not evaluates(stage):
      task.require(name)
    check_known('clean', stage['data']['clean'], ('', 'own', 'other'))
    check_origins(name, stage, list(described), found, folder)
    found[name] = method
  return found


def evaluates(stage: Described) -> bool:
  """Whether a stage takes no step, and only evaluates what it takes."""
  return stage['steps'] == 0 and not stage['epochs'] + len(
    stage['match_compute']
  )


def check_origins(
  name: str,
  stage: Described,
  recipe: Sequence[str],
  earlier: Mapping[str, Method],
  folder: pathlib.Path,
) -> None:
  """Checks the stages that a stage takes parts, compute or a rate from."""
  for key in ('match_compute', 'best_rate_of'):
    for other in stage[key]:
      check_known(f'stage before {name!r}, for {key},', other, earlier)
  for other in stage['best_rate_of']:
    if not earlier[other].learns_labels:
      raise UserError(
        f'Found stage {other!r} in best_rate_of of {name!r}; expected a stage '
        'that learns from labels, because validation chooses among the rates. '
        'Leave it out.'
      )
  for origin in stage['take'].values():
    if origin in recipe:
      check_known(f'stage before {name!r}, to take from,', origin, earlier)
    workdir.locate(folder, recipe, origin)


def check_splits(described: Mapping[str, Described], dataset: Dataset) -> None:
  """Opens the splits that the data lacks, which says what is missing."""
  for stage in described.values():
    data = stage['data']
    named = filter(None, (data['split'], data.get('unlabelled')))
    for split in '+'.join(named).split('+'):
      if split not in dataset.splits:
        dataset.open(split)
