"""The flags of the command, and a line instead of a traceback for a mistake."""

import itertools
import os
import pathlib
import shlex
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from ssljax.errors import DEBUG as DEBUG_HELP
from ssljax.errors import suggest, told

CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'The recipe, as configs/simclr_ocr.py or configs/simclr_ocr.py:smoke. Its '
  'docstring says what stands behind the colon. Override a value by '
  '--config.pretrain.epochs=3.',
)
WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Where the run goes. Default: runs/<config>-<hash of the resolved config>.',
)
DATA_DIR = flags.DEFINE_string(
  'data_dir',
  None,
  'Where rendered data is kept. Default: $SSLJAX_DATA_DIR or ~/.cache/ssljax.',
)

DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Checks everything and prints what a run would do, with its time, memory '
  'and disk, instead of running.',
)
FROM_LAST_GOOD = flags.DEFINE_bool(
  'from_last_good',
  False,
  'Lets a stage whose newest checkpoint is damaged go on from an older one, '
  'or from its beginning. The damaged checkpoint is removed.',
)
REPORT = flags.DEFINE_bool(
  'report',
  True,
  'Ends a run with a page about it, report.html in the run folder; --noreport '
  'leaves it out.',
)
LOG = flags.DEFINE_multi_string(
  'log',
  [],
  'Tells wandb or mlflow (or wandb,mlflow) what the run logs, as well as '
  'metrics.jsonl and TensorBoard. See docs/logging.md.',
)
DEBUG = flags.DEFINE_bool(
  'debug', False, f'{DEBUG_HELP[0].upper()}{DEBUG_HELP[1:]}.'
)
COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'HOST:PORT of process 0, where several processes make one run. A TPU pod and '
  'SLURM need none of these three flags.',
)
PROCESSES = flags.DEFINE_integer(
  'processes', None, 'With --coordinator: the number of processes of the run.'
)
PROCESS = flags.DEFINE_integer(
  'process', None, 'With --coordinator: which process this is, from 0.'
)
RECIPES = pathlib.Path(__file__).with_name('configs')
PATHS = ('config', 'workdir', 'data_dir', 'config.data.directory')


def parse_flags(argv: Sequence[str]) -> list[str]:
  """absl's parser, with a line instead of a traceback for a mistake."""
  argv = expanded(argv)
  if {'--help', '-help', '-h'} & set(argv[1:]):
    print(help_text())
    sys.exit()
  source = config_argument(argv)
  if source and not pathlib.Path(source.partition(':')[0]).is_file():
    known = sorted(each.stem for each in RECIPES.glob('*_*.py'))
    name = pathlib.PurePath(source.partition(':')[0])
    sys.exit(
      f'Found no file {str(name)!r}; expected a recipe, as '
      f'--config=configs/simclr_ocr.py.{suggest(name.stem, known)} See --help.'
    )
  if source:
    # Recipes import `configs.common`, wherever the command is typed.
    file = pathlib.Path(source.partition(':')[0]).resolve()
    sys.path.append(str(file.parents[1]))
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError) as error:
    if '--debug' in argv:
      print(told(error, debug=True), file=sys.stderr)
    sys.exit(f'{flag_error(argv, error)}\nSee --help.')


def help_text() -> str:
  """What the command does, and its own flags; not those of its libraries."""
  lines = [str(sys.modules['__main__'].__doc__)]
  for each in (CONFIG, WORKDIR, DATA_DIR, DRY_RUN, REPORT, LOG, FROM_LAST_GOOD,
               DEBUG, COORDINATOR, PROCESSES, PROCESS):  # fmt: skip
    about = textwrap.fill(
      str(flags.FLAGS[each.name].help).partition(';\n')[0],
      width=79,
      initial_indent=f'  --{each.name}'.ljust(20),
      subsequent_indent=20 * ' ',
    )
    lines.append(about)
  return '\n'.join(lines)


def expanded(argv: Sequence[str]) -> list[str]:
  """The arguments with a user's home folder in the place of each `~`.

  A shell expands `~` only where a word begins with it, so it leaves
  `--workdir=~/a` as it is. The name of one of the package's own recipes becomes
  its file.
  """
  found = list(argv)
  for place, (before, argument) in enumerate(
    itertools.pairwise(found), start=1
  ):
    name, equals, value = argument.partition('=')
    if equals and name.lstrip('-') in PATHS:
      found[place] = f'{name}={_path(name, value)}'
    elif before.lstrip('-') in PATHS and before.startswith('-'):
      found[place] = _path(before, argument)
  return found


def _path(flag: str, value: str) -> str:
  """What a flag names, as a path."""
  value = os.path.expanduser(value)
  return recipe(value) if flag.lstrip('-') == 'config' else value


def recipe(source: str) -> str:
  """A recipe of the package by its name, as a file.

  Where there is no such file, `configs/simclr_ocr.py`, `ssljax/simclr_ocr` and
  `simclr_ocr` are all that of the package.

  Args:
    source: the name or the file, and what stands behind a colon.
  """
  name, colon, argument = source.partition(':')
  own = RECIPES / f'{pathlib.PurePath(name).stem}.py'
  folder = str(pathlib.PurePath(name).parent)
  known = folder in ('.', 'configs', 'ssljax', 'ssljax/configs')
  # The other files there are a library, and have no underscore.
  recipe = '_' in own.stem and own.is_file()
  if pathlib.Path(name).is_file() or not known or not recipe:
    return source
  return f'{own}{colon}{argument}'


def go_on(argv: Sequence[str], run: pathlib.Path, pretrained: bool) -> str:
  """The command that goes on from a run whose data has changed since.

  Args:
    argv: the command of this process, whose config and flags are kept.
    run: the folder of the run.
    pretrained: whether the run has an encoder that can be taken.
  """
  known, source = argv[1:], config_argument(argv) or ''
  file, _, arg = source.partition(':')
  taking = f'{file}:{",".join(filter(None, (arg, f"take={run}")))}'
  fresh = next(
    path
    for number in itertools.count(2)
    if not (path := run.with_name(f'{run.name}-{number}')).exists()
  )
  kept = without(known, 'workdir')
  again = shlex.join(
    ['python', '-m', 'ssljax.main', *kept, f'--workdir={fresh}']
  )
  begin = f'To begin anew, type\n  {again}'
  if not pretrained or not accepted(taking):
    return begin
  kept = [f'--config={taking}', *without(kept, 'config')]
  command = shlex.join(
    ['python', '-m', 'ssljax.main', *kept, f'--workdir={fresh}']
  )
  return (
    'To keep the encoder that it has pretrained, and learn to read anew from '
    f'the labels that are there now, type\n  {command}\n{begin}'
  )


def without(arguments: Sequence[str], name: str) -> list[str]:
  """The arguments without a flag, in any spelling."""
  found, skip = [], False
  for argument in arguments:
    if skip:
      skip = False
    elif argument in (f'--{name}', f'-{name}'):
      skip = True
    elif argument.partition('=')[0] not in (f'--{name}', f'-{name}'):
      found.append(argument)
  return found


def accepted(source: str) -> bool:
  """Whether a config takes its argument."""
  try:
    flags.FLAGS['config'].parser.parse(source)
  except (AttributeError, KeyError, TypeError, ValueError, flags.Error):
    return False
  return True


def config_argument(argv: Sequence[str]) -> str | None:
  """What the command line gives as --config, in any of its spellings."""
  for argument, following in itertools.zip_longest(argv[1:], argv[2:]):
    name, equals, value = argument.partition('=')
    if name in ('--config', '-config'):
      return value if equals else following
  return None


def flag_error(argv: Sequence[str], error: Exception) -> str:
  """Names the flag that is wrong, and what was expected in its place."""
  cause: BaseException | None = error
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
    parsed: Any = flags.FLAGS['config'].parser.parse(source)
    found, path = parsed, name.split('.')
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


def config_file() -> pathlib.Path:
  """The file that --config names, without what stands behind its colon."""
  flag: Any = flags.FLAGS['config']
  source = flag.config_filename
  return pathlib.Path(source.partition(':')[0])
