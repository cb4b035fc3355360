"""Run folders on the disk: whose they are, what they took, and what it cost.

A run folder holds `config.json` and a folder for each stage. A stage that has
run to its end has a `stage.json`, with its figures and its FLOPs.
"""

import csv
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssljax import durable, lock
from ssljax.errors import UserError, check_known
from ssljax.records import json_text, read_json, write_recorded

# The options that say what is kept, and do not change what is computed.
KEEPING = ('keep', 'keep_best')
LONGEST = 100  # characters of a value in a message


def name_of(config: Any, stem: str) -> pathlib.Path:
  """The default folder of a run, one per config and set of overrides.

  The spelling of a path plays no part: a relative path, a link and an absolute
  path to the same folder give the same name.

  Args:
    config: the ConfigDict of the run.
    stem: name of the config's file.
  """
  plain = json.loads(json.dumps(config.to_dict(), default=str))
  plain = {key: plain[key] for key in plain if key not in KEEPING}
  text = json.dumps(respelt(plain), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return pathlib.Path('runs') / f'{stem}-{config.scale}-{digest}'


def respelt(config: Mapping[str, Any], *, directory: str = '') -> dict:
  """A config as JSON has it, in which each path has one spelling.

  Args:
    config: the config as a dict.
    directory: what stands for the user's folder; '' takes its resolved path.
  """
  spelt = config.get('data', {}).get('directory') or ''
  place = directory or (_resolved(spelt) if spelt else '')

  def walk(value: Any) -> Any:
    if isinstance(value, dict):
      return {key: walk(each) for key, each in value.items()}
    if isinstance(value, list):
      return [walk(each) for each in value]
    # The titles of a table may end with the folder.
    if isinstance(value, str) and spelt and f' {value}'.endswith(f' {spelt}'):
      return value.removesuffix(spelt) + place
    return value

  found = {key: walk(value) for key, value in config.items()}
  stages = config.get('recipe') or ()
  for stage in found.values():
    take = stage.get('take') if isinstance(stage, dict) else None
    for part, origin in (take or {}).items():
      if take and origin not in stages:
        take[part] = _resolved(origin)
  return found


def _resolved(path: str) -> str:
  return str(pathlib.Path(path).expanduser().resolve())


class DataChanged(UserError):
  """The data of a run has changed since the run began."""


# What is in a folder before it is claimed: of a dry run, of skipped files, and
# of a start that a kill or a full disk ended.
EARLY = (
  *('summary.txt', 'pictures.png', 'skipped.csv', 'data.json'),
  *(lock.NAME, durable.LISTING),
)
# The options of `config.data` that follow from what is in the user's folder.
FOLLOWING = (
  *('charset', 'classes', 'max_length', 'lengths', 'height', 'width'),
  'labels',  # an option, but it says where the labels are that have changed
)


def check_claim(
  workdir: pathlib.Path,
  wanted: Mapping[str, Any],
  facts: Mapping[str, Any] | None = None,
) -> None:
  """Refuses a folder that belongs to another config, or to no run at all.

  Args:
    workdir: the folder, which need not exist.
    wanted: the resolved config as a dict.
    facts: what `data.json` says of the user's own data, see `claim`.

  Raises:
    DataChanged: the config is the same, but the user's folder has changed.
    UserError: the folder is of another run, or of none.
  """
  path = workdir / 'config.json'
  if not path.exists():
    # A kill while `claim` writes leaves a temporary file.
    found = workdir.iterdir() if workdir.exists() else ()
    if any(file.suffix != '.tmp' and file.name not in EARLY for file in found):
      raise UserError(
        f'Found files but no config.json in {workdir}; expected an empty '
        'folder or a run. Choose another --workdir.'
      )
    return
  there = read_json(path)
  here = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
  old, new = (each.get('data', {}).get('contents') for each in (there, here))
  # Folders with the same contents are the same folder, wherever it stands.
  same = 'DIR' if old and old == new else ''
  settled = [respelt(each, directory=same) for each in (there, here)]
  for each in settled:
    for key in KEEPING:
      each.pop(key, None)
  changed = _differing('config', *settled)
  if not changed:
    return
  if old and new and old != new:
    following = tuple(f'config.data.{key}:' for key in ('contents', *FOLLOWING))
    if all(line.startswith(following) for line in changed):
      lines = _moved(workdir, facts or {})
      lines += [each for each in changed if not each.startswith(following[0])]
      raise DataChanged(
        f'The data of the run {workdir} has changed since it began:\n  '
        + '\n  '.join(lines)
        + '\nA run goes on only with the data that it began with.'
      )
  raise UserError(
    f'{workdir} belongs to a run of another config; it differs in\n  '
    + '\n  '.join(changed[:8])
    + '\nChoose another --workdir, or the values of that run.'
  )


def _moved(workdir: pathlib.Path, here: Mapping[str, Any]) -> list[str]:
  """'labels: 30 there, 45 here' for what the user's folder has others of."""
  path = workdir / 'data.json'
  there = read_json(path) if path.exists() else {}
  lines = []
  for what in ('images', 'labels'):
    old, new = there.get(what), here.get(what)
    if old and new and old != new:
      others = ', and not the same' if old['count'] == new['count'] else ''
      lines.append(f'{what}: {old["count"]} there, {new["count"]} here{others}')
  if there and not lines:
    lines.append('images: as many as before, but some of their files changed')
  # A run from before `data.json` was written.
  return lines or ['images or labels: others than there were']


def claim(
  workdir: pathlib.Path,
  wanted: Mapping[str, Any],
  facts: Mapping[str, Any] | None = None,
) -> None:
  """Writes the resolved config into a folder that no run has claimed yet.

  Args:
    workdir: the folder.
    wanted: the resolved config as a dict.
    facts: of the user's own data: `images` and `labels`, each with its `count`
      and a `digest`. They go to `data.json`, by which a later run can tell
      what has changed.
  """
  check_claim(workdir, wanted, facts)
  if not (workdir / 'config.json').exists():
    texts = {'data.json': json_text(facts)} if facts else {}
    # Last, because a folder that has it is claimed.
    write_recorded(workdir, {**texts, 'config.json': json_text(wanted)})


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
  return [f'{path}: {_short(found)} there, {_short(wanted)} here']


def _short(value: Any) -> str:
  """A value of a config on a line; a stage that is missing is not printed."""
  text = f'{len(value)} values' if isinstance(value, dict) else repr(value)
  return text if len(text) <= LONGEST else f'{text[: LONGEST - 3]}...'


def write_skipped(
  workdir: pathlib.Path, skipped: Sequence[tuple[str, str]]
) -> None:
  """Lists the user's files that are not used, where there are some."""
  if skipped:
    with durable.replacing(workdir / 'skipped.csv', newline='') as file:
      csv.writer(file).writerows([('file', 'reason'), *skipped])


def skipped_lines(
  workdir: pathlib.Path, skipped: Sequence[tuple[str, str]]
) -> str:
  """What the console says of the user's files that are not used."""
  path = workdir / 'skipped.csv'
  lines = [f'Skipped {len(skipped)} files, listed in {path}:']
  return '\n'.join(lines + [f'  {name}: {why}' for name, why in skipped[:10]])


def found_data(data: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """The data of a run, whose directory does not depend on where we are.

  Args:
    data: options of the data, with the directory as the user wrote it.
    folder: of the run; its `data.json` has the full path.
  """
  path = folder / 'data.json'
  facts = read_json(path) if path.exists() else {}
  place = facts.get('directory', {}).get('path', '')
  return {**data, 'directory': place} if os.path.isdir(place) else dict(data)


def is_run(folder: pathlib.Path) -> bool:
  return (folder / 'config.json').is_file()


def recipe_of(folder: pathlib.Path) -> list[str]:
  """The names of the stages of a run.

  Raises:
    UserError: the config is of another program, or a name leads out of the
      folder.
  """
  path = folder / 'config.json'
  try:
    config = read_json(path)
    stages = [str(stage) for stage in config['recipe']]
    known = stages and all(isinstance(config[each], dict) for each in stages)
  except (AttributeError, IndexError, KeyError, TypeError):
    stages, known = [], False
  if not known:
    raise UserError(
      f'Found no recipe with its stages in {path}; expected the config of a '
      'run of ssljax. Name the folder of one.'
    )
  for stage in stages:
    if stage in ('.', '..') or pathlib.Path(stage).name != stage:
      raise UserError(
        f'Found a stage named {stage!r} in {path}; expected names of folders '
        'in the folder of the run. Take the run from where it came from again.'
      )
  return stages


def is_finished(folder: pathlib.Path) -> bool:
  """Whether a stage's folder is of a stage that has run to its end."""
  return (folder / 'stage.json').is_file()


def is_weights(origin: str | os.PathLike[str]) -> bool:
  """Whether `take` points to a file of weights, which need not exist."""
  return pathlib.Path(origin).suffix == '.safetensors'


def locate(
  workdir: pathlib.Path, recipe: Sequence[str], origin: str
) -> pathlib.Path:
  """The stage's folder, or the file of weights, that `take` points to.

  Args:
    workdir: of this run.
    recipe: names of this run's stages.
    origin: the name of a stage of this recipe, another run's folder (its first
      stage is meant), the folder of a stage in another run, or a file of
      weights; see `ssljax.weights`.

  Raises:
    UserError: nothing of that name, or a run that has not finished the stage.
  """
  if origin in recipe:
    return workdir / origin
  path = pathlib.Path(origin).expanduser()
  if is_weights(path) and path.is_file():
    return path
  for other in (path, path.parent):
    if not is_run(other):
      continue
    stages = recipe_of(other)
    stage = stages[0] if other == path else path.name
    check_known(f'stage of {other}', stage, stages)
    check_finished(other / stage)
    return other / stage
  known = ', '.join(recipe)
  raise UserError(
    f'Found {origin!r} to take a part from; expected a stage of this recipe '
    f'({known}), the folder of another run, which has a config.json, or a file '
    'of weights, which ends with .safetensors.'
  )


def check_finished(folder: pathlib.Path) -> None:
  """Refuses a stage's folder whose stage has not run to its end."""
  if not is_finished(folder):
    raise UserError(
      f'Found {folder} unfinished; expected a stage that has run to its end. '
      'Run the command that made it again, which goes on.'
    )


def lineage(folder: pathlib.Path) -> set[pathlib.Path]:
  """The stage's folder, and those of all stages whose parts it carries.

  What a file of weights cost is not known, so it is not among them.
  """
  recipe_of(folder.parent)  # refuses a config of another program
  described = read_json(folder.parent / 'config.json')
  found = {folder}
  for origin in described[folder.name]['take'].values():
    if is_weights(origin):
      continue
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
