"""What a release is made of: its version, and its recipes."""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).parent.parent


def _found(file, pattern):
  return re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)[1]


def test_a_version_is_the_same_everywhere():
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  assert _found('CITATION.cff', r'^version: (.+)$') == project['version']
  # The newest version that has a date.
  newest = _found('CHANGELOG.md', r'^## \[(\d.+?)\] - \d{4}-\d\d-\d\d$')
  assert newest == project['version']


def test_a_wheel_has_the_recipes_and_all_that_is_read_beside_the_code():
  """The link makes them a part of the package; other files are named."""
  inside = ROOT / 'ssljax' / 'configs'
  assert inside.resolve() == ROOT / 'configs' and inside.is_symlink()
  tools = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']
  patterns = tools['setuptools']['package-data']['ssljax']
  named = {path for each in patterns for path in (ROOT / 'ssljax').glob(each)}
  others = {
    path
    for path in (ROOT / 'ssljax').rglob('*')
    if path.is_file() and path.suffix not in ('.py', '.pyc')
  }
  assert others and others <= named
