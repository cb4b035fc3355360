"""The layer picture of the design: who may import whom, read from the source.

  4  main   reader (`ssljax.load`)
  3  build, plan, feed, train, evaluate, health, checkpoint, log, runs,
     results, image_results
  2  methods   evals   data
  1  losses   models   augment   optim   clustering
  0  core   parallel   text   errors

Downwards only. Parts of level 3 may use each other; no other part knows a
part of its own level, but core, which stands on parallel, and all may raise
what is in errors.
"""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LEVELS = (
  ('core', 'parallel', 'text', 'errors'),
  ('losses', 'models', 'augment', 'optim', 'clustering'),
  ('methods', 'evals', 'data'),
  (
    'build',
    'evaluate',
    'health',
    'image_results',
    'plan',
    'feed',
    'train',
    'checkpoint',
    'log',
    'runs',
    'results',
  ),
  ('main', 'reader'),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}


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
    or above == below == 3
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
