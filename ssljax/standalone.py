"""The file `onnx_reader.py` of an export, made of this package's own source.

The functions that fit an image to a frame, and that turn logits into a text
and its probability, are copied from their modules, so that an exported reader
cannot differ from the one here.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import itertools
import pathlib
from types import ModuleType

from ssljax import text
from ssljax.data import colours, images
from ssljax.decoding import posterior
from ssljax.errors import UserError

TEMPLATE = pathlib.Path(__file__).parent / 'onnx_reader.template'
COPIED = (
  (text, ('BLANK', 'best_path', 'shown_frames')),
  (images, ('ORIENTATION', 'TURNS', 'upright', '_orientation')),
  (images, ('size_in', 'fit')),
  (colours, None),
  (posterior, ('Frames', 'frames', 'log_posterior', 'ended', 'forward')),
)


def source() -> str:
  """The whole file."""
  parts = [part for each in COPIED for part in _copied(*each)]
  made = TEMPLATE.read_text(encoding='utf-8')
  made = made.replace('{version}', importlib.metadata.version('ssljax'))
  return made.replace('{functions}', '\n\n'.join(parts))


def _copied(module: ModuleType, names: tuple[str, ...] | None) -> list[str]:
  """The source of what a module defines; all of it if no names are given."""
  whole = inspect.getsource(module)
  found = {}
  for node in ast.parse(whole).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      defined = {node.name}
    elif isinstance(node, ast.Assign):
      walked = itertools.chain(*map(ast.walk, node.targets))
      defined = {each.id for each in walked if isinstance(each, ast.Name)}
    else:
      continue
    if names is None or defined & set(names):
      part = ast.get_source_segment(whole, node)
      assert part is not None
      found |= dict.fromkeys(defined, part)
  missing = set(names or ()) - found.keys()
  assert not missing, f'{module.__name__} has no {missing}'
  return list(dict.fromkeys(found.values()))


def load(path: pathlib.Path) -> ModuleType:
  """Imports such a file.

  Raises:
    UserError: onnxruntime is not installed.
  """
  spec = importlib.util.spec_from_file_location('onnx_reader', path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except ImportError as error:
    raise missing(error.name) from None
  return module


def missing(package: str | None) -> UserError:
  return UserError(
    f'Found no {package}; expected what an export as ONNX needs. Install it: '
    "pip install 'ssljax[export]'"
  )
