"""The layers of CONTRIBUTING.md: who may import whom, read from the source.

Downwards only. Parts of the level that runs a stage may use each other; no
other part knows a part of its own level, but core, which stands on parallel,
and all may raise what is in errors.
"""

import ast
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
# 'reports' of the line '3  reports': part -> level.
LEVEL = {
  part: int(level)
  for level, parts in re.findall(r'^(\d)  (.+)$', TEXT, re.MULTILINE)
  for part in parts.split()
}
RUNS_A_STAGE = LEVEL['stage']


def _name(path):
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def _sources(folder):
  return sorted((ROOT / folder).rglob('*.py'))


MODULES = {_name(path): path for path in _sources('ssljax')}


@functools.cache
def _imports(path):
  """Every module that a file names in an import, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: write imports out from ssljax'
      names = {f'{node.module}.{alias.name}' for alias in node.names}
      # `from a import b` is of the module a.b, or of a where b is no module.
      found |= {name if name in MODULES else node.module for name in names}
  return frozenset(found)


def _part(module):
  return module.split('.')[1] if '.' in module else None


def _parts_used(module):
  used = {
    _part(name)
    for name in _imports(MODULES[module])
    if name.split('.')[0] == 'ssljax'
  }
  return used - {_part(module)}


def _allowed(importer, imported):
  if imported is None:  # The bare package, which holds `load`.
    return False
  above, below = LEVEL[importer], LEVEL[imported]
  return (
    below < above
    or above == below == RUNS_A_STAGE
    or imported == 'errors'
    or (importer, imported) == ('core', 'parallel')
  )


def test_every_part_has_a_level():
  assert {_part(module) for module in MODULES} - {None} == set(LEVEL)


@pytest.mark.parametrize('part', LEVEL)
def test_imports_go_downwards(part):
  wrong = [
    f'{module} -> {used}'
    for module in MODULES
    if _part(module) == part
    for used in _parts_used(module)
    if not _allowed(part, used)
  ]
  assert not wrong


def test_the_reading_sees_what_is_there():
  """Guards the tests above against finding nothing at all."""
  assert 'data' in _parts_used('ssljax.feed')
  assert 'ssljax.models.convolution' in _imports(
    MODULES['ssljax.models.sequence']
  )
  assert _parts_used('ssljax.methods.simclr') >= {'losses', 'augment', 'core'}


def test_the_tree_of_the_readme_is_the_tree():
  """It names every part of the package, and nothing that is not there."""
  (tree,) = re.findall(r'```\n(ssljax/\n.+?)```', README, re.DOTALL)
  shown, folder = set(), ''
  for line in tree.splitlines():
    name = line.split()[0] if line.strip() else ''
    if line[:1].strip():
      folder = name
      shown.add(name)
    elif line.startswith('  ') and line[2:3].strip():
      shown.add(folder + name)
  for path in shown:
    assert (ROOT / path).exists(), path
  parts = {
    f'ssljax/{path.name}' + ('/' if path.is_dir() else '')
    for path in (ROOT / 'ssljax').iterdir()
    if path.suffix in ('', '.py') and not path.name.startswith('__')
  }
  assert parts <= shown


def test_configs_import_nothing_of_ssljax():
  paths = _sources('configs')
  assert paths
  for path in paths:
    roots = {name.split('.')[0] for name in _imports(path)}
    # What would start a backend, or make a config slow to read.
    assert not roots & {'ssljax', 'jax', 'flax', 'optax'}, path


def test_data_imports_no_jax():
  """Nor does what data imports: a loader's worker stays light."""
  todo = [module for module in MODULES if _part(module) == 'data']
  seen = set(todo)
  while todo:
    module = todo.pop()
    used = _imports(MODULES[module])
    roots = {name.split('.')[0] for name in used}
    assert not roots & {'jax', 'flax', 'optax', 'chex'}, module
    new = {name for name in used if name in MODULES} - seen
    seen |= new
    todo += new


def test_stop_gradient_stands_in_methods():
  """Where the papers put it; in a loss or a model it would surprise.

  And in the probe that watches a method, whose whole point it is.
  """
  holders = {
    _part(module)
    for module, path in MODULES.items()
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Attribute | ast.Name | ast.alias)
    and 'stop_gradient'
    in (
      getattr(node, 'attr', ''),
      getattr(node, 'id', ''),
      getattr(node, 'name', ''),
    )
  }
  assert holders == {'methods', 'evals'}
