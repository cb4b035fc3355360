"""Runs a recipe: python -m ssljax.main --config=configs/simclr_ocr.py

Stages run in the order of `config.recipe`; what an interrupted run had done
stays done, so the same command goes on from where it was. The table of test
results is printed last and stands in `results.json` and `results.md`.
"""

import csv
import ctypes
import hashlib
import itertools
import json
import logging
import os
import pathlib
import signal
import sys
import warnings

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from ssljax import build, image_results, results, runs, train
from ssljax.checkpoint import CheckpointError
from ssljax.data import datasets
from ssljax.errors import UserError, check_known, suggest
from ssljax.log import read_json, write_json

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Recipe, as configs/simclr_ocr.py or configs/simclr_ocr.py:smoke. Override a '
  'value by --config.pretrain.epochs=3.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Where the run goes. Default: runs/<config>-<hash of the resolved config>.',
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir',
  None,
  'Where rendered data is kept. Default: $SSLJAX_DATA_DIR or ~/.cache/ssljax.',
)


def parse_flags(argv):
  """absl's parser, with a line instead of a traceback for a mistake."""
  source = config_argument(argv)
  if source and not pathlib.Path(source.partition(':')[0]).is_file():
    sys.exit(
      f'Found no file {source.partition(":")[0]!r}; expected a recipe, as '
      '--config=configs/simclr_ocr.py. See --help.'
    )
  if source:
    # Recipes import `configs.common`, wherever the command is typed.
    sys.path.append(str(pathlib.Path(source).resolve().parents[1]))
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError) as error:
    sys.exit(f'{flag_error(argv, error)}\nSee --help.')


def config_argument(argv) -> str | None:
  """What the command line gives as --config, in any of its spellings."""
  for argument, following in itertools.pairwise([*argv[1:], None]):
    name, equals, value = argument.partition('=')
    if name in ('--config', '-config'):
      return value if equals else following
  return None


def flag_error(argv, error) -> str:
  """Names the flag that is wrong, and what was expected in its place."""
  cause = error
  while cause is not None:
    # A config's own refusal of its argument; flags wrap it in a traceback.
    if str(cause).startswith('Found '):
      return str(cause)
    cause = cause.__context__
  source = config_argument(argv)
  for argument in argv[1:]:
    name = argument.partition('=')[0].lstrip('-')
    if source is None or not name.startswith('config.'):
      continue
    # Read anew: where an override fails, the flag has no value yet.
    found, path = flags.FLAGS['config'].parser.parse(source), name.split('.')
    for depth, key in enumerate(path[1:], start=1):
      if not hasattr(found, 'keys') or key not in found:
        known = list(found.keys()) if hasattr(found, 'keys') else []
        return (
          f'Found --{name}, but {".".join(path[:depth])} has no {key!r}; '
          f'expected one of: {", ".join(known) or "nothing, it is a value"}.'
          + suggest(key, known)
        )
      found = found[key]
    if f'--{name}=' in str(error):
      return f'{error}; expected a value such as {found!r}.'
  return str(error.args[0] if error.args else error)


def check_recipe(config) -> None:
  """Every stage is described, by a method that exists, from parts that do.

  Here rather than when the stage's turn comes, perhaps after hours.
  """
  known = [key for key in config if hasattr(config[key], 'method')]
  for name in config.recipe:
    check_known('stage', name, known)
    build.method(config, config[name])
    for origin in config[name].take.values():
      runs.locate(runs.Place(config, pathlib.Path(), name), origin)


def check_splits(config, dataset) -> None:
  """The data has what every stage asks for; the last would say so in hours."""
  for name in config.recipe:
    for split in config[name].data.split.split('+'):
      if split not in dataset.splits:
        dataset.open(split)  # which says what is missing
    if build.reads_text(config) or config.data.classes:
      continue
    if config[name].method.name in results.LABELLED and config[name].steps != 0:
      raise UserError(
        f'Found no classes in {config.data.directory}; expected some, as stage '
        f'{name!r} learns from them. Put the images of each class into a '
        "folder of its name, or pretrain alone: --config.recipe=\"('pretrain',"
        ')".'
      )


def default_workdir(config) -> pathlib.Path:
  """One folder per config and set of overrides, so that nothing collides."""
  source = flags.FLAGS['config'].config_filename
  name = pathlib.Path(source.partition(':')[0]).stem
  text = json.dumps(config.to_dict(), sort_keys=True, default=str)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return pathlib.Path('runs') / f'{name}-{config.scale}-{digest}'


def claim(workdir: pathlib.Path, config) -> None:
  """Writes the resolved config, or checks that the folder is of this one."""
  path = workdir / 'config.json'
  wanted = json.loads(json.dumps(config.to_dict()))
  if not path.exists():
    # A kill in the middle of the write below leaves a temporary file.
    found = workdir.iterdir() if workdir.exists() else ()
    if any(file.suffix != '.tmp' for file in found):
      raise UserError(
        f'Found files but no config.json in {workdir}; expected an empty '
        'folder or a run. Choose another --workdir.'
      )
    write_json(path, wanted)
    return
  found = read_json(path)
  changed = differing('config', found, wanted)
  if changed:
    raise UserError(
      f'{workdir} belongs to a run of another config; it differs in\n  '
      + '\n  '.join(changed[:8])
      + '\nChoose another --workdir, or the values of that run.'
    )


def differing(path: str, found, wanted) -> list[str]:
  """'config.seed: found 0 there, 1 here' for each difference."""
  if isinstance(found, dict) and isinstance(wanted, dict):
    return [
      line
      for key in dict.fromkeys((*found, *wanted))
      for line in differing(f'{path}.{key}', found.get(key), wanted.get(key))
    ]
  if found == wanted:
    return []
  return [f'{path}: {found!r} there, {wanted!r} here']


class Stop:
  """True once a signal came; a second interrupt ends the process at once."""

  def __init__(self):
    self._asked = False
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._ask)

  def _ask(self, number, frame):
    del frame
    if self._asked:
      signal.signal(number, signal.SIG_DFL)
      os.kill(os.getpid(), number)
    self._asked = True
    print('\nStopping: saving the state after this step.', file=sys.stderr)

  def __call__(self) -> bool:
    return self._asked


def keep_heap() -> None:
  """Lets glibc keep freed memory, which each CPU step asks for again.

  By default every large temporary of a step is mapped and unmapped, and its
  pages faulted in anew: a third of a laptop-scale step was spent there.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return  # not glibc
  trim_threshold, mmap_max = -1, -4
  mallopt(mmap_max, 0)
  mallopt(trim_threshold, 2**31 - 1)


def keep_compiled(data_dir: str) -> None:
  """Reuses compiled steps across stages and restarts."""
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  folder = pathlib.Path(data_dir).absolute() / 'compiled'
  jax.config.update('jax_compilation_cache_dir', str(folder))


def quiet() -> None:
  """Keeps other libraries' notes off the console."""
  absl_logging.set_verbosity(absl_logging.WARNING)
  logging.getLogger('jax').setLevel(logging.ERROR)
  warnings.filterwarnings('ignore', module='tensorflow_datasets')


def report_skipped(workdir: pathlib.Path, skipped) -> None:
  """Says which of a person's files are not used, and why."""
  if not skipped:
    return
  path = workdir / 'skipped.csv'
  with path.open('w', newline='') as file:
    csv.writer(file).writerows([('file', 'reason'), *skipped])
  print(f'Skipped {len(skipped)} files, listed in {path}:', file=sys.stderr)
  for name, reason in skipped[:10]:
    print(f'  {name}: {reason}', file=sys.stderr)


def run(config, workdir: pathlib.Path, data_dir: str, stop) -> str:
  """All stages; returns the table."""
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir=data_dir)
  config.data.update(dataset.resolved)
  check_recipe(config)
  check_splits(config, dataset)
  claim(workdir, config)
  report_skipped(workdir, dataset.skipped)
  for name in config.recipe:
    if stop():
      raise train.Stopped
    train.run_stage(config, name, workdir=workdir, dataset=dataset, stop=stop)
  summarize = results if build.reads_text(config) else image_results
  found = summarize.results(config, workdir)
  pretraining = results.telemetry(config, workdir)
  table = summarize.render(found, pretraining)
  write_json(workdir / 'results.json', {**found, 'pretraining': pretraining})
  (workdir / 'results.md').write_text(table)
  return table


def main(argv) -> None:
  if len(argv) > 1:
    sys.exit(f'Found {argv[1]!r}; expected flags only. See --help.')
  if _CONFIG.value is None:
    sys.exit(
      'Found no --config; expected a recipe. Try --config=configs/simclr_ocr.py'
    )
  quiet()
  keep_heap()
  config = _CONFIG.value
  workdir = pathlib.Path(_WORKDIR.value or default_workdir(config))
  data_dir = _DATA_DIR.value or os.environ.get(
    'SSLJAX_DATA_DIR', os.path.expanduser('~/.cache/ssljax')
  )
  keep_compiled(data_dir)
  jax.config.update('jax_disable_most_optimizations', not config.optimize)
  print(f'Run folder: {workdir}', file=sys.stderr)
  stop = Stop()
  try:
    table = run(config, workdir, data_dir, stop)
  except train.Stopped:
    sys.exit('Stopped, and saved; the same command goes on from here.')
  except (UserError, CheckpointError) as error:
    sys.exit(f'{type(error).__name__}: {error}')
  print(table)
  print(f'Results: {workdir / "results.json"}')
  print(f'Trained run: {workdir}')


if __name__ == '__main__':
  jax.config.update('jax_threefry_partitionable', True)
  app.run(main, flags_parser=parse_flags)
