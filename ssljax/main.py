"""Runs a recipe: python -m ssljax.main --config=configs/simclr_ocr.py

  python -m ssljax.main --config=simclr_ocr:smoke       tries all in a minute
  python -m ssljax.main --config=simclr_ocr:data=DIR --dry_run
                                       says what a run on your images would do
  python -m ssljax.main --config=simclr_ocr:data=DIR    learns from your images

Stages run in the order of `config.recipe`; what an interrupted run had done
stays done, so the same command goes on from where it was. The table of test
results is printed last and stands in `results.json` and `results.md`. After
SIGTERM or Ctrl-C the exit status is 75, or the one of the signal.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import contextlib
import functools
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app

from ssljax import (
  damage,
  flags,
  forecast,
  hosts,
  lock,
  log,
  process,
  report,
  stage,
  tasks,
  trackers,
  train,
  workdir,
)
from ssljax.data import datasets
from ssljax.errors import UserError, told
from ssljax.records import (
  json_text,
  read_json,
  replace_text,
  write_recorded,
)
from ssljax.reports import telemetry


def run(
  config: Any,
  folder: pathlib.Path,
  data_dir: str,
  stop: Callable[[], bool],
  *,
  dry: bool = False,
  from_last_good: bool = False,
  track: Sequence[str] = (),
) -> str:
  """Runs all stages of a recipe; returns the table of results.

  Args:
    config: the ConfigDict of the run. What the data itself decides (classes, a
      folder's charset) is filled in.
    folder: of the run.
    data_dir: where rendered data is kept.
    stop: once it returns True, the state is saved and `Stopped` raised.
    dry: checks all, writes the summary, and returns it instead of running.
    from_last_good: goes on from an older checkpoint where the newest of a stage
      is damaged.
    track: the trackers that are told what the run logs; see `docs/logging.md`.
  """
  track = trackers.asked(track)
  if shared := hosts.sharing(data_dir):
    hosts.say(shared)
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir=data_dir)
  config.data.update(dataset.resolved)
  task = tasks.make(config)
  survey = dataset.survey()
  facts = survey.facts() if survey else None
  damaged = damage.mend(
    folder, config.to_dict(), from_last_good=from_last_good, dry=dry
  )
  workdir.check_claim(folder, config.to_dict(), facts)
  for note in damaged:
    hosts.say(f'Warning: {note}')
  if dataset.note:
    hosts.say(dataset.note)
  for warning in dataset.warnings:
    hosts.say(f'Warning: {warning}')
  if dataset.skipped:
    hosts.say(workdir.skipped_lines(folder, dataset.skipped))
  recipe = stage.resolve(config, folder=folder, task=task, dataset=dataset)
  summary = forecast.summarize(
    recipe, folder=folder, dataset=dataset, survey=survey
  )
  hosts.check_same('config', config.to_dict())
  stages = [
    (each.name, each.steps, each.batch_size, len(each.source))
    for each in recipe.stages
  ]
  hosts.check_same('stages, steps, batch sizes and examples', stages)
  if not dry:
    workdir.claim(folder, config.to_dict(), facts)
    hosts.wait('claimed')
    if not hosts.sees(folder / 'config.json'):
      raise UserError(
        f'Found no {folder / "config.json"}, which process 0 has written; '
        'expected a run folder that all processes see. Choose a --workdir on '
        'a file system that all hosts share.'
      )
  if hosts.first():
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / 'summary.txt', summary)
    workdir.write_skipped(folder, dataset.skipped)
    forecast.draw(folder / 'pictures.png', dataset=dataset, survey=survey)
  if dry:
    return summary
  if recipe.stages:
    hosts.say(summary)
  replay = functools.partial(log.replay, folder, config.recipe)
  with trackers.opened(track, folder, config.to_dict(), replay) as tracking:
    pace = forecast.Pace(recipe.stages)
    options = {'task': task, 'dataset': dataset, 'stop': stop, 'pace': pace}
    for each in recipe.stages:
      if stop():
        raise signals.Stopped('Stopped; the same command goes on from here.')
      train.run_stage(each, trackers=tracking, **options)
  # The others have written nothing, and have nothing to tell.
  return results(folder, recipe, task) if hosts.first() else ''


def results(
  folder: pathlib.Path, recipe: stage.Resolved, task: tasks.Task
) -> str:
  """Writes the results of a run, and returns their table."""
  found, table = task.report(folder)
  pretraining = telemetry.telemetry(
    folder / name
    for name, method in recipe.methods.items()
    if not method.learns_labels
  )
  if pretraining:
    table = '\n\n'.join(filter(None, (table, telemetry.render(pretraining))))
  write_recorded(
    folder,
    {
      'results.json': json_text({**found, 'pretraining': pretraining}),
      'results.md': f'{table}\n',
    },
  )
  return f'{table}\n'


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    sys.exit(f'Found {argv[1]!r}; expected flags only. See --help.')
  config = flags.CONFIG.value
  if config is None:
    sys.exit(
      'Found no --config; expected a recipe. Try --config=configs/simclr_ocr.py'
    )
  try:
    hosts.start(
      flags.COORDINATOR.value, flags.PROCESSES.value, flags.PROCESS.value
    )
  except UserError as error:
    sys.exit(told(error, debug=flags.DEBUG.value))
  process.quiet()
  process.keep_heap()
  name = workdir.name_of(config, flags.config_file().stem)
  folder = pathlib.Path(flags.WORKDIR.value or name)
  data_dir = os.path.expanduser(
    flags.DATA_DIR.value or process.default_data_dir()
  )
  process.keep_compiled(data_dir)
  jax.config.update('jax_disable_most_optimizations', not config.optimize)
  hosts.say(f'Run folder: {folder}')
  dry = flags.DRY_RUN.value
  try:
    with signals.handled() as stop:
      alone = not dry and hosts.first()
      locked = lock.held(folder) if alone else contextlib.nullcontext()
      with hosts.ending_together(signals.Stopped), locked:
        table = run(
          config,
          folder,
          data_dir,
          stop,
          dry=dry,
          from_last_good=flags.FROM_LAST_GOOD.value,
          track=flags.LOG.value,
        )
  except signals.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(signals.STOPPED)
  except workdir.DataChanged as error:
    remedy = flags.go_on(sys.argv, folder, first_stage(folder))
    sys.exit(f'{told(error, debug=flags.DEBUG.value)}\n{remedy}')
  except UserError as error:
    sys.exit(told(error, debug=flags.DEBUG.value))
  if not hosts.first():
    return
  print(table)
  if dry:
    print(f'Nothing has been run. Summary: {folder / "summary.txt"}')
    return
  print(f'Results: {folder / "results.json"}')
  if flags.REPORT.value:
    tell(folder, data_dir)
  print(f'Trained run: {folder}')


def tell(folder: pathlib.Path, data_dir: str) -> None:
  """Writes the page of a run that has ended, and says where."""
  if hosts.count() > 1:  # the others would wait, and in the end give up
    words = 'python', '-m', 'ssljax.report', str(folder)
    words = *words, f'--data_dir={data_dir}'
    print(f'For a page about it: {shlex.join(words)}')
    return
  try:
    print(f'Report: {report.write([folder], data_dir=data_dir)}')
  except Exception as error:  # whatever it is, the run itself is complete
    said = told(error, debug=flags.DEBUG.value)
    print(f'Found no way to write its page: {said}', file=sys.stderr)


def first_stage(folder: pathlib.Path) -> bool:
  """Whether a run has pretrained an encoder that another run can take."""
  name = read_json(folder / 'config.json')['recipe'][0]
  return name == 'pretrain' and workdir.is_finished(folder / name)


if __name__ == '__main__':
  jax.config.update('jax_threefry_partitionable', True)
  app.run(main, flags_parser=flags.parse_flags)
