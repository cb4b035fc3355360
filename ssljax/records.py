"""JSON files of a run folder, each written wholly or not at all."""

import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np


def write_json(path: str | pathlib.Path, obj: Any) -> None:
  """Writes `obj` as JSON; the file appears complete or not at all.

  Keys keep their order and become strings, arrays become lists, and numbers
  that are not finite become null.

  Raises:
    TypeError: `obj` holds something that JSON cannot express.
  """
  if jax.process_index() == 0:
    text = json.dumps(
      jsonable(obj), indent=2, ensure_ascii=False, allow_nan=False
    )
    replace_text(pathlib.Path(path), text + '\n')


def read_json(path: str | pathlib.Path) -> Any:
  """Reads a JSON file, such as `write_json` writes."""
  return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """Reads a `metrics.jsonl`.

  Returns:
    A dict for each line, without the values that are null; [] if there is no
    such file.
  """
  if not path.exists():
    return []
  lines = map(json.loads, path.read_text(encoding='utf-8').splitlines())
  return [
    {name: value for name, value in line.items() if value is not None}
    for line in lines
  ]


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes a file in one atomic step, replacing an old one."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  temporary.write_text(text, encoding='utf-8')
  os.replace(temporary, path)


def jsonable(obj: Any) -> Any:
  """The same in what JSON can express: lists, plain numbers, null."""
  if isinstance(obj, dict):
    return {str(key): jsonable(value) for key, value in obj.items()}
  if isinstance(obj, (list, tuple)):
    return [jsonable(value) for value in obj]
  if isinstance(obj, (np.ndarray, np.generic, jax.Array)):
    return jsonable(np.asarray(obj).tolist())
  if isinstance(obj, float) and not math.isfinite(obj):
    return None
  return obj
