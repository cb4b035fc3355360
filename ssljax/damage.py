"""What is damaged in the folder of a run, and what can be computed again.

A finished stage lists the digests of its results in `digests.json`. Results
that evaluation makes are made again from the stage's checkpoint; a checkpoint
is trained again from an older one where `--from_last_good` allows it; and a log
cannot be made again, because only training makes it.
"""

import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ssljax import best, checkpoint, durable, hosts, workdir
from ssljax.durable import Damaged
from ssljax.records import json_text, read_json, replace_text

LOG = 'metrics.jsonl'
RESULTS = ('results.json', 'results.md')


class Mending(NamedTuple):
  """What is said of a damage, and what is done about it."""

  note: str
  act: Callable[[], object]


def finish(folder: pathlib.Path, summary: Mapping[str, Any]) -> None:
  """Writes the `stage.json` of a finished stage, and the digests of its files.

  The digests are written first. A kill between the two leaves a stage that has
  not finished, and is evaluated once more.
  """
  if not hosts.first():
    return
  text = json_text(summary)
  found = {
    each.name: durable.digest_of_file(each)
    for each in sorted(folder.iterdir())
    if each.is_file() and each.suffix != '.tmp' and each.name != durable.LISTING
  }
  (folder / durable.LISTING).unlink(missing_ok=True)
  durable.record(
    folder, {**found, 'stage.json': durable.digest_of(text.encode())}
  )
  replace_text(folder / 'stage.json', text)


def mend(
  folder: pathlib.Path,
  wanted: Mapping[str, Any],
  *,
  from_last_good: bool = False,
  dry: bool = False,
) -> list[str]:
  """Looks at every file of a run that is read again, and mends what it can.

  Args:
    folder: of the run.
    wanted: the config of the command, resolved.
    from_last_good: whether a stage whose newest checkpoint is damaged goes on
      from the newest that is whole.
    dry: whether nothing is changed.

  Returns:
    What is said of what was damaged.

  Raises:
    Damaged, CheckpointDamaged: what cannot be computed again without a loss,
      or without the time of training it again.
  """
  found = [*_config(folder, wanted), *_results(folder)]
  for name in wanted['recipe']:
    stage = folder / name
    found += _checkpoints(stage, from_last_good)
    found += [*_best(stage), *_figures(stage)]
  # Or one process would wait below for others that have found nothing.
  hosts.check_same('the damaged files', [each.note for each in found])
  if found and not dry:
    # Otherwise a process could look at a file that another one just removes.
    hosts.wait('damage-found')
    if hosts.first():
      for each in found:
        each.act()
    hosts.wait('damage-mended')
  return [each.note for each in found]


def _config(
  folder: pathlib.Path, wanted: Mapping[str, Any]
) -> Iterator[Mending]:
  """A `config.json` that the command is known to have written is rewritten."""
  path = folder / 'config.json'
  try:
    if path.exists():
      read_json(path)
  except Damaged as error:
    text = json_text(wanted)
    known = (durable.listing(folder) or {}).get(path.name)
    if known != durable.digest_of(text.encode()):
      raise
    yield Mending(
      f'{error} It is written again from the command.',
      lambda: replace_text(path, text),
    )


def _results(folder: pathlib.Path) -> Iterator[Mending]:
  """The results of a run are always written again."""
  for name, why in durable.damage(folder, RESULTS).items():
    if name in RESULTS:
      yield Mending(
        f'Found {folder / name} damaged: {why}; it is written again from the '
        'figures of the stages.',
        lambda: None,
      )


def _checkpoints(
  stage: pathlib.Path, from_last_good: bool
) -> Iterator[Mending]:
  folder = stage / 'checkpoints'
  steps = checkpoint.steps_in(folder)
  if not steps:
    return
  for step in steps[:-1]:
    if why := checkpoint.damage_of(folder / str(step)):
      yield Mending(
        f'Found a damaged checkpoint, {why}. It is not needed as long as the '
        f'newest, step {steps[-1]}, is whole.',
        lambda: None,
      )
  try:
    checkpoint.check(folder, steps[-1])
  except checkpoint.CheckpointDamaged as error:
    if not from_last_good:
      raise

    def drop():
      (stage / 'stage.json').unlink(missing_ok=True)
      # Training goes on to write what it lists.
      (stage / durable.LISTING).unlink(missing_ok=True)
      checkpoint.drop_damaged(folder)

    told = str(error).split(' Put a copy')[0]
    yield Mending(f'{told} The stage is trained again from there.', drop)


def _best(stage: pathlib.Path) -> Iterator[Mending]:
  """The best checkpoint, from which no run goes on."""
  folder = stage / best.FOLDER
  for step in checkpoint.steps_in(folder):
    if why := checkpoint.damage_of(folder / str(step)):
      yield Mending(
        f'Found the best checkpoint damaged, {why}. It is removed.',
        lambda step=step: shutil.rmtree(folder / str(step)),
      )


def _figures(stage: pathlib.Path) -> Iterator[Mending]:
  """The results of a finished stage."""
  done = stage / 'stage.json'
  if not workdir.is_finished(stage):
    return
  found = durable.damage(stage)
  if LOG in found:
    raise Damaged(
      f'Found {stage / LOG} damaged: {found[LOG]}; expected the log that '
      'training wrote. Put a copy of it back; or remove the folder '
      f'{stage}, and the same command trains the stage again.'
    )
  if not found:
    found = _unlisted(stage)
  if not found:
    return
  told = '; '.join(f'{stage / name}: {why}' for name, why in found.items())
  if not checkpoint.steps_in(stage / 'checkpoints'):
    raise Damaged(
      f'Found damaged results, {told}, and no checkpoint to compute them from '
      f'in {stage / "checkpoints"}. Put a copy of one of them back; or remove '
      f'the folder {stage}, and the same command trains the stage again.'
    )
  yield Mending(
    f'Found damaged results, {told}; the stage is evaluated again from its '
    'checkpoint.',
    lambda: done.unlink(missing_ok=True),
  )


def _unlisted(stage: pathlib.Path) -> dict[str, str]:
  """What is wrong with a stage of an earlier version, which has no digests."""
  try:
    figures = read_json(stage / 'stage.json')
    tested = any(str(each).startswith('test') for each in figures)
  except Damaged as error:
    return {'stage.json': str(error)}
  # A stage with figures of a test split has listed its readings.
  if tested and not (stage / 'predictions.csv').is_file():
    return {'predictions.csv': 'it is missing'}
  return {}
