"""Run folders on the disk: where a part was trained, and what it cost."""

import pathlib
from typing import Any, NamedTuple

from ssljax.errors import UserError, check_known
from ssljax.log import read_json


class Place(NamedTuple):
  """A stage of a run.

  Attributes:
    config: of its run; a ConfigDict, or the dict read from `config.json`.
    workdir: of its run.
    stage: its name.
  """

  config: Any
  workdir: pathlib.Path
  stage: str

  @property
  def folder(self) -> pathlib.Path:
    return self.workdir / self.stage


def locate(place: Place, origin: str) -> Place:
  """Where `take` points to: a stage of this run, or another run's.

  Args:
    place: any stage of this run.
    origin: the name of a stage of this run's recipe, a run folder (its first
      stage is meant), or a stage's folder in one.

  Raises:
    UserError: nothing of that name, or a run that has not finished it.
  """
  if origin in place.config['recipe']:
    return place._replace(stage=origin)
  path = pathlib.Path(origin)
  for workdir in (path, path.parent):
    if not (workdir / 'config.json').is_file():
      continue
    config = read_json(workdir / 'config.json')
    stage = config['recipe'][0] if workdir == path else path.name
    check_known(f'stage of {workdir}', stage, config['recipe'])
    if not (workdir / stage / 'stage.json').is_file():
      raise UserError(
        f'Found {workdir / stage} unfinished; expected a stage that has run '
        'to its end. Run the command that made it again, which goes on.'
      )
    return Place(config, workdir, stage)
  known = ', '.join(place.config['recipe'])
  raise UserError(
    f'Found {origin!r} to take a part from; expected a stage of this recipe '
    f'({known}), or the folder of another run, which has a config.json.'
  )


def lineage(place: Place) -> set[pathlib.Path]:
  """The stage's folder and those of all whose parts it carries."""
  found = {place.folder}
  for origin in place.config[place.stage]['take'].values():
    found |= lineage(locate(place, origin))
  return found


def flops(place: Place) -> float:
  """What the figures of a stage cost, with all that they rest on."""
  return sum(
    read_json(folder / 'stage.json')['flops'] for folder in lineage(place)
  )
