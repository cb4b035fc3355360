"""JSON files of a run folder, each written wholly or not at all."""

import json
import math
import os
import pathlib

import jax
import numpy as np


def write_json(path, obj):
  """Writes `obj` as JSON, wholly or not at all; what is not finite as null.

  Keys keep their order; arrays become lists.
  """
  if jax.process_index() == 0:
    text = json.dumps(
      jsonable(obj), indent=2, ensure_ascii=False, allow_nan=False
    )
    replace_text(pathlib.Path(path), text + '\n')


def read_json(path):
  """What `write_json` wrote."""
  return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))


def read_lines(path) -> list[dict]:
  """The lines of a `metrics.jsonl`, if there is one; nulls are left out."""
  if not path.exists():
    return []
  lines = map(json.loads, path.read_text(encoding='utf-8').splitlines())
  return [
    {name: value for name, value in line.items() if value is not None}
    for line in lines
  ]


def replace_text(path, text):
  """Puts a new file in the place of an old one in one step."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  temporary.write_text(text, encoding='utf-8')
  os.replace(temporary, path)


def jsonable(obj):
  if isinstance(obj, dict):
    return {str(key): jsonable(value) for key, value in obj.items()}
  if isinstance(obj, (list, tuple)):
    return [jsonable(value) for value in obj]
  if isinstance(obj, (np.ndarray, np.generic, jax.Array)):
    return jsonable(np.asarray(obj).tolist())
  if isinstance(obj, float) and not math.isfinite(obj):
    return None
  return obj
