"""The flags of the command, and a line instead of a traceback for a mistake."""

import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from ssljax.errors import suggest

CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Recipe, as configs/simclr_ocr.py or configs/simclr_ocr.py:smoke. Override a '
  'value by --config.pretrain.epochs=3.',
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


def parse_flags(argv: Sequence[str]) -> list[str]:
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
