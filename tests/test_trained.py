"""Metadata of a foreign checkpoint are refused, and nothing is unpickled."""

import ast
import json
import pathlib

import pytest
import tiny_ocr

from ssljax import trained
from ssljax.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def metadata():
  config = tiny_ocr.get_config().to_dict()
  return json.loads(json.dumps({'config': config}))


def test_the_metadata_of_a_run_make_its_method(metadata):
  config, task, method = trained.made(metadata, 'finetune')
  assert config['product'] == 'finetune'
  assert task.charset.characters == '0123456789'
  assert method.labelled


@pytest.mark.parametrize(
  'path, value, message',
  [
    (('config',), [1], 'makes no network'),
    (('config',), {'model_type': 'bert'}, 'makes no network'),
    (('config', 'data', 'height'), 10**9, '1,000,000,000 x 96 pixels'),
    (('config', 'data', 'width'), 10**9, 'expected at most 4,194,304 pixels'),
    (('config', 'data', 'height'), -1, 'expected at most'),
    (('config', 'data', 'height'), 'tall', 'makes no network'),
    (('config', 'data', 'charset'), 'xx', "charset 'xx'"),
    (('config', 'finetune', 'method', 'name'), '../../x', 'Found method'),
    (('config', 'finetune', 'method', 'name'), 'os', 'Found method'),
  ],
)
def test_the_metadata_of_anything_else_are_refused(
  metadata, path, value, message
):
  at = metadata
  for key in path[:-1]:
    at = at[key]
  at[path[-1]] = value
  with pytest.raises(UserError, match=message):
    trained.made(metadata, 'finetune')


def test_no_file_is_unpickled():
  """Pickles go through pipes between processes of one run alone."""
  for source in (ROOT / 'ssljax').rglob('*.py'):
    tree = ast.parse(source.read_text())
    names = {
      alias.name.split('.')[0]
      for node in ast.walk(tree)
      if isinstance(node, ast.Import)
      for alias in node.names
    }
    forbidden = {'pickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
    assert source.name == 'workers.py' or not names & forbidden, source
    for node in ast.walk(tree):
      # numpy.load opens archives and, if told so, pickles.
      called = isinstance(node, ast.Call) and ast.unparse(node.func)
      assert called not in ('np.load', 'numpy.load'), source
