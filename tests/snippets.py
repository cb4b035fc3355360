"""The commands and programs that the docs show, each with where it stands."""

import ast
import pathlib
import re
import textwrap
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
  *(ROOT / 'README.md', ROOT / 'CONTRIBUTING.md'),
  *sorted(
    (ROOT / 'docs').rglob('*.md'),
    key=lambda page: ('draw' in page.parts, page),  # templates of pages last
  ),
]
FENCE = re.compile(r'^( *)```(\S*)\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'`([^`]+)`')
PROGRAM = re.compile(
  r'([A-Z]+=\S+ )*(\S+/bin/)?(python|pip|pytest|pre-commit|mkdocs|docker|find|'
  r'sbatch|launch/\w+\.sh)\b'
)
MAIN = 'python -m ssljax.main --config='
# The name of a program, without what it should do.
NAME = re.compile(r'(python -m )?(?!\S+\.py)\S+( \w+)?')
FLAGS = re.compile(r'--(config\.[\w.]+=|workdir=|dry_run|from_last|noreport)')
RECIPE = re.compile(r'configs/\w+_\w+\.py')
ARRAY = re.compile(r'(u?int\d+|float\d+|bool) \(([^)]*)\)$')


class Snippet(NamedTuple):
  """A block or a command of a page."""

  where: str  # such as README.md:12
  kind: str  # 'commands', 'command', or the language of a block
  text: str


def blocks(path: pathlib.Path) -> list[Snippet]:
  """The blocks of a page."""
  page, found = path.read_text(), []
  for match in FENCE.finditer(page):
    kind, text = match[2], textwrap.dedent(match[3])
    if not kind and PROGRAM.match(text):
      kind = 'commands'
    line = page.count('\n', 0, match.start(3)) + 1
    found.append(Snippet(f'{path.relative_to(ROOT)}:{line}', kind, text))
  return found


def commands(path: pathlib.Path) -> list[Snippet]:
  """The commands of the blocks of a page."""
  found = [each for each in blocks(path) if each.kind == 'commands']
  return [command for block in found for command in _split(block)]


def _split(block: Snippet) -> list[Snippet]:
  """The commands of a block; a new line and `&&` end one."""
  page, _, first = block.where.rpartition(':')
  found, begun, place = [], '', 0
  for number, line in enumerate(block.text.splitlines(), start=int(first)):
    place = place if begun else number
    begun += re.sub(r' +#.*', '', line).strip()
    if begun.endswith('\\'):
      begun = begun[:-1]
      continue
    where = f'{page}:{place}'
    found += [Snippet(where, 'command', text) for text in begun.split(' && ')]
    begun = ''
  return found


def inline(path: pathlib.Path) -> list[Snippet]:
  """The commands between backquotes, and the options of a recipe.

  What stands behind a recipe's colon is of the recipe that the page has named
  last; flags alone are tried on `configs/simclr_ocr.py`.
  """
  page, found = path.read_text(), []
  text = FENCE.sub(lambda block: re.sub('.', ' ', block[0]), page)
  for match in INLINE.finditer(text):
    begun, command = page[: match.start()], ' '.join(match[1].split())
    if command.startswith('--config=configs/'):
      command = command.replace('--config=', MAIN)
    elif FLAGS.match(command):
      own = ':data=DIR' * command.startswith('--config.data.')
      command = f'{MAIN}configs/simclr_ocr.py{own} {command}'
    elif re.match(r':\w', command):
      named = RECIPE.findall(f'configs/simclr_ocr.py {begun}')
      command = f'{MAIN}{named[-1]}{command}'
    elif not PROGRAM.match(command) or NAME.fullmatch(command):
      continue
    line = begun.count('\n') + 1
    block = Snippet(f'{path.relative_to(ROOT)}:{line}', 'commands', command)
    found += _split(block)
  return found


def compared(program: str) -> str:
  """The program, with each value that has a comment compared with it."""
  lines = program.splitlines()
  for place, line in enumerate(lines):
    value, _, said = line.partition('  # ')
    if ARRAY.match(said) or said.startswith('['):
      lines[place] = f'check_form({value}, {said!r})'
  return '\n'.join(['from snippets import check_form', *lines])


def check_form(value: Any, said: str) -> None:
  """Raises an AssertionError where a value has another form than is said.

  The points in `[('48812', 0.98), ...]` stand for more of the same, and the
  names in `float32 (1, time, features)` for any number.
  """
  if array := ARRAY.match(said):
    axes = [axis for axis in re.split(r'[ ,]+', array[2]) if axis]
    found = f'{value.dtype} {value.shape}'
    same = value.dtype == array[1] and len(axes) == value.ndim
    same = same and all(
      axis in (str(size), axis.strip('0123456789'))
      for axis, size in zip(axes, value.shape, strict=True)
    )
  else:
    found, shown = repr(value), ast.literal_eval(said)
    if shown[-1] is ...:
      shown = shown[:-1] * len(value)
    same = _form(value) == _form(shown)
  assert same, f'Found {found}, the docs say {said}'


def _form(value):
  if isinstance(value, list | tuple):
    return [isinstance(value, list), *map(_form, value)]
  return type(value)
