"""Run folders on the disk: whose they are, what they took, and what it cost.

A run folder holds `config.json` and a folder for each stage. A stage that has
run to its end has a `stage.json`, with its figures and its FLOPs.
"""

import csv
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssljax.errors import UserError, check_known
from ssljax.records import read_json, write_json


def name_of(config: Any, stem: str) -> pathlib.Path:
  """The default folder of a run, one per config and set of overrides.

  Args:
    config: the ConfigDict of the run.
    stem: name of the config's file.
  """
  text = json.dumps(config.to_dict(), sort_keys=True, default=str)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return pathlib.Path('runs') / f'{stem}-{config.scale}-{digest}'


def check_claim(workdir: pathlib.Path, wanted: Mapping[str, Any]) -> None:
  """Refuses a folder that belongs to another config, or to no run at all.

  Args:
    workdir: the folder, which need not exist.
    wanted: the resolved config as a dict.
  """
  path = workdir / 'config.json'
  if not path.exists():
    # A kill while `claim` writes leaves a temporary file.
    found = workdir.iterdir() if workdir.exists() else ()
    if any(file.suffix != '.tmp' for file in found):
      raise UserError(
        f'Found files but no config.json in {workdir}; expected an empty '
        'folder or a run. Choose another --workdir.'
      )
    return
  plain = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
  changed = _differing('config', read_json(path), plain)
  if changed:
    raise UserError(
      f'{workdir} belongs to a run of another config; it differs in\n  '
      + '\n  '.join(changed[:8])
      + '\nChoose another --workdir, or the values of that run.'
    )


def claim(workdir: pathlib.Path, wanted: Mapping[str, Any]) -> None:
  """Writes the resolved config into a folder that no run has claimed yet."""
  check_claim(workdir, wanted)
  if not (workdir / 'config.json').exists():
    write_json(workdir / 'config.json', wanted)


def _differing(path: str, found: Any, wanted: Any) -> list[str]:
  """'config.seed: found 0 there, 1 here' for each difference."""
  if isinstance(found, dict) and isinstance(wanted, dict):
    return [
      line
      for key in dict.fromkeys((*found, *wanted))
      for line in _differing(f'{path}.{key}', found.get(key), wanted.get(key))
    ]
  if found == wanted:
    return []
  return [f'{path}: {found!r} there, {wanted!r} here']


def write_skipped(
  workdir: pathlib.Path, skipped: Sequence[tuple[str, str]]
) -> None:
  """Lists the user's files that are not used, where there are some."""
  if skipped:
    with (workdir / 'skipped.csv').open('w', newline='') as file:
      csv.writer(file).writerows([('file', 'reason'), *skipped])


def skipped_lines(
  workdir: pathlib.Path, skipped: Sequence[tuple[str, str]]
) -> str:
  """What the console says of the user's files that are not used."""
  path = workdir / 'skipped.csv'
  lines = [f'Skipped {len(skipped)} files, listed in {path}:']
  return '\n'.join(lines + [f'  {name}: {why}' for name, why in skipped[:10]])


def is_run(folder: pathlib.Path) -> bool:
  return (folder / 'config.json').is_file()


def is_finished(folder: pathlib.Path) -> bool:
  """Whether a stage's folder is of a stage that has run to its end."""
  return (folder / 'stage.json').is_file()


def locate(
  workdir: pathlib.Path, recipe: Sequence[str], origin: str
) -> pathlib.Path:
  """The stage's folder that `take` points to, in this run or in another one.

  Args:
    workdir: of this run.
    recipe: names of this run's stages.
    origin: the name of a stage of this recipe, another run's folder (its first
      stage is meant), or the folder of a stage in another run.

  Raises:
    UserError: nothing of that name, or a run that has not finished the stage.
  """
  if origin in recipe:
    return workdir / origin
  path = pathlib.Path(origin)
  for other in (path, path.parent):
    if not is_run(other):
      continue
    stages = read_json(other / 'config.json')['recipe']
    stage = stages[0] if other == path else path.name
    check_known(f'stage of {other}', stage, stages)
    check_finished(other / stage)
    return other / stage
  known = ', '.join(recipe)
  raise UserError(
    f'Found {origin!r} to take a part from; expected a stage of this recipe '
    f'({known}), or the folder of another run, which has a config.json.'
  )


def check_finished(folder: pathlib.Path) -> None:
  """Refuses a stage's folder whose stage has not run to its end."""
  if not is_finished(folder):
    raise UserError(
      f'Found {folder} unfinished; expected a stage that has run to its end. '
      'Run the command that made it again, which goes on.'
    )


def lineage(folder: pathlib.Path) -> set[pathlib.Path]:
  """The stage's folder, and those of all stages whose parts it carries."""
  described = read_json(folder.parent / 'config.json')
  found = {folder}
  for origin in described[folder.name]['take'].values():
    found |= lineage(locate(folder.parent, described['recipe'], origin))
  return found


def flops(folder: pathlib.Path) -> float:
  """What the figures of a stage cost, with all stages that they rest on."""
  return sum(
    read_json(each / 'stage.json')['flops'] for each in lineage(folder)
  )


def best_on_validation(folders: Iterable[pathlib.Path]) -> pathlib.Path:
  """The stage with the highest validation accuracy; the first of equals."""

  def validation(folder):
    figures = read_json(folder / 'stage.json')['validation']
    return figures['edit_distance_accuracy']

  return max(folders, key=validation)
