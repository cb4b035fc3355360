"""Measures how the code is cut: python docs/draw/structure.py

Prints a figure a line: where configs travel, who asks whether a run is about
text, what is written more than once, how long the way to the mathematics of a
step is, how many public functions are annotated, and how long configs are.
"""

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
LIBRARIES = ('common', 'text', 'tables', 'images')  # of the configs
# The files whose functions run between `main.run` and the end of the first step
# of SimCLR on text, in the order in which somebody reads them. The data's
# files, logs, checkpoints, alarms, charsets and errors stand beside the way.
WAY = (
  'ssljax/main.py',
  'configs/simclr_ocr.py',
  'configs/text.py',
  'configs/common.py',
  'ssljax/tasks/__init__.py',
  'ssljax/tasks/task.py',
  'ssljax/tasks/text.py',
  'ssljax/stage.py',
  'ssljax/recipe.py',
  'ssljax/workdir.py',
  'ssljax/examples.py',
  'ssljax/build.py',
  'ssljax/train.py',
  'ssljax/feed.py',
  'ssljax/parallel.py',
  'ssljax/core.py',
  'ssljax/optim.py',
  'ssljax/methods/simclr.py',
  'ssljax/methods/_inference.py',
  'ssljax/augment/text.py',
  'ssljax/augment/pixels.py',
  'ssljax/models/networks.py',
  'ssljax/models/sequence.py',
  'ssljax/models/convolution.py',
  'ssljax/models/norm.py',
  'ssljax/models/heads.py',
  'ssljax/models/instances.py',
  'ssljax/losses/contrastive.py',
  'ssljax/losses/rows.py',
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(folder: str) -> Iterator[tuple[pathlib.Path, Function]]:
  """Every function of a folder's files, nested ones too."""
  for path in sorted((ROOT / folder).rglob('*.py')):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, Function):
        yield path, node


def parameters(function: Function) -> list[ast.arg]:
  given = function.args
  extra = [each for each in (given.vararg, given.kwarg) if each]
  return [*given.posonlyargs, *given.args, *given.kwonlyargs, *extra]


def takes_config() -> set[str]:
  """Files whose functions have a parameter named `config`."""
  return {
    path.name
    for path, function in functions('ssljax')
    if any(each.arg == 'config' for each in parameters(function))
  }


def asks_about_text() -> list[str]:
  """Functions that look for a charset to tell text from images.

  `tasks.make` is the one place that chooses the task, and does not count.
  """
  found = []
  for path, function in functions('ssljax'):
    compared = [
      n.left for n in ast.walk(function) if isinstance(n, ast.Compare)
    ]
    asked = any(getattr(each, 'value', None) == 'charset' for each in compared)
    called = [n.func for n in ast.walk(function) if isinstance(n, ast.Call)]
    asked |= any(getattr(each, 'attr', '') == 'reads_text' for each in called)
    if asked and (path.parent.name, function.name) != ('tasks', 'make'):
      found.append(f'{path.name}: {function.name}')
  return found


def copies_of_encode() -> int:
  """Functions named `encode` in `methods/`: one is shared by all."""
  found = functions('ssljax/methods')
  return sum(function.name == 'encode' for _, function in found)


def code_lines(path: pathlib.Path) -> int:
  """Lines that are neither blank nor comment nor docstring."""
  text = path.read_text()
  strings = set()
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      first = node.body[0] if node.body else None
      if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        strings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
  return sum(
    bool(line.strip()) and not line.strip().startswith('#')
    for number, line in enumerate(text.splitlines(), start=1)
    if number not in strings
  )


def annotated() -> tuple[int, int]:
  """Public functions whose parameters and result all have types; and all.

  Public are functions of a module and methods of a class whose names begin
  with no underscore.
  """
  typed = total = 0
  for path in sorted((ROOT / 'ssljax').rglob('*.py')):
    tree = ast.parse(path.read_text())
    holders = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]
    for holder in holders:
      for function in holder.body:
        if not isinstance(function, Function) or function.name[0] == '_':
          continue
        names = [
          each
          for each in parameters(function)
          if each.arg not in ('self', 'cls')
        ]
        total += 1
        typed += function.returns is not None and all(
          each.annotation is not None for each in names
        )
  return typed, total


def long_configs(limit: int = 60) -> list[str]:
  """Configs of more lines, the libraries aside."""
  return [
    path.name
    for path in sorted((ROOT / 'configs').glob('*.py'))
    if path.stem not in LIBRARIES and len(path.read_text().splitlines()) > limit
  ]


def main() -> None:
  typed, total = annotated()
  way = sum(code_lines(ROOT / path) for path in WAY)
  config, asking = takes_config(), asks_about_text()
  print(f'files with a parameter `config`: {len(config)} {sorted(config)}')
  print(f'functions that ask about text: {len(asking)} {asking}')
  print(f'copies of encode in methods/: {copies_of_encode()}')
  print(f'main to a SimCLR step on text: {way} lines in {len(WAY)} files')
  print(f'annotated public functions: {typed / total:.2f} ({typed}/{total})')
  print(f'configs above 60 lines: {len(long_configs())} {long_configs()}')


if __name__ == '__main__':
  main()
