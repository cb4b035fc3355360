"""What a run folder says of a trained run, before it is opened."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from ssljax import build, tasks
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.records import read_json
from ssljax.tasks import Task
from ssljax.workdir import is_run, recipe_of


def method_of(run: Mapping[str, Any], stage: str, task: Task) -> Method:
  networks = build.networks(run)
  return build.method(run[stage], networks=networks, task=task)


def encoder_of(run: Mapping[str, Any], stage: str) -> nn.Module:
  changes = run[stage]['method'].get('encoder')
  return build.encoder(build.networks(run), changes)


def stride_of(run: Mapping[str, Any], stage: str) -> int | None:
  """The pixels between two frames of an encoder that does not see padding."""
  return getattr(encoder_of(run, stage), 'stride', None)


FRAME = 2**22  # the most pixels of a frame that is read


def made(
  metadata: Mapping[str, Any], stage: str
) -> tuple[dict[str, Any], Task, Method]:
  """The config, the task and the method that a checkpoint's metadata describe.

  Raises:
    UserError: the metadata are not those of a run of ssljax.
  """
  try:
    config = metadata['config']
    height, width = (
      int(config['data'].get(each) or config['data'].get('size'))
      for each in ('height', 'width')
    )
    if not 0 < height * width <= FRAME:
      raise UserError(
        f'Found a frame of {height:,} x {width:,} pixels in the config of a '
        f'checkpoint; expected at most {FRAME:,} pixels. Take the run from '
        'where it came from again.'
      )
    task = tasks.make(config)
    return config, task, method_of(config, stage, task)
  except UserError:
    raise
  except Exception as error:  # whatever a foreign config lacks
    raise UserError(
      f'Found a config in a checkpoint that makes no network ({error!r}); '
      'expected that of a run of ssljax. Take the run from where it came from '
      'again.'
    ) from None


def described(folder: pathlib.Path) -> dict[str, Any]:
  """The config that `main` wrote into a run's folder.

  Raises:
    UserError: a folder of anything else.
  """
  if not is_run(folder):
    raise UserError(
      f'Found no config.json in {folder}; expected the folder of a run, which '
      'python -m ssljax.main prints as "Trained run".'
    )
  path, stages = folder / 'config.json', recipe_of(folder)
  run = read_json(path)
  try:
    # Other programs have a config.json too; ours describes its stages.
    known = run['data'] and all(run[each]['method']['name'] for each in stages)
  except (KeyError, TypeError):
    known = False
  if not known:
    raise UserError(
      f'Found no recipe with its stages in {path}; expected the config of a '
      'run of ssljax. Name the folder of one.'
    )
  return run


def reads(run: Mapping[str, Any], stage: str) -> bool:
  """Whether a stage of a run learns to read text."""
  task = tasks.make(run)
  try:
    method = method_of(run, stage, task)
  except UserError:
    return False  # of a method that is not here
  return task.charset is not None and method.learns_labels


def preferred(run: Mapping[str, Any], stages: Sequence[str]) -> str:
  """Of some stages the last that reads, from parts that were trained before."""
  return max(
    reversed(stages),
    key=lambda each: (reads(run, each), bool(run[each]['take'])),
  )
