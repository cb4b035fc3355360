"""JSON files of a run folder, each written wholly or not at all.

A file that the `digests.json` of its folder lists is checked when it is read.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ssljax import durable


def write_json(path: str | pathlib.Path, obj: Any) -> None:
  """Writes `obj` as JSON; the file appears complete or not at all.

  Raises:
    TypeError: `obj` holds something that JSON cannot express.
    CannotWrite: there is no room, or the folder may not be written to.
  """
  if jax.process_index() == 0:
    replace_text(pathlib.Path(path), json_text(obj))


def json_text(obj: Any) -> str:
  """`obj` as JSON, as `write_json` writes it.

  Keys keep their order and become strings, arrays become lists, and numbers
  that are not finite become null.
  """
  text = json.dumps(
    jsonable(obj), indent=2, ensure_ascii=False, allow_nan=False
  )
  return text + '\n'


def write_recorded(folder: pathlib.Path, texts: Mapping[str, str]) -> None:
  """Writes files of a folder, and their digests before them."""
  if jax.process_index() == 0:
    durable.record(
      folder,
      {name: durable.digest_of(text.encode()) for name, text in texts.items()},
    )
    for name, text in texts.items():
      replace_text(folder / name, text)


def read_json(path: str | os.PathLike[str]) -> Any:
  """Reads a JSON file, such as `write_json` writes.

  Raises:
    Damaged: the file is no JSON, is absurdly large, or is not the one that was
      written.
  """
  path = pathlib.Path(path)
  data = durable.read_bytes(path, limit=durable.JSON_LIMIT)
  try:
    return json.loads(data.decode())
  except (ValueError, RecursionError) as error:
    raise durable.Damaged(
      f'Found {path} damaged: {error}; expected JSON. Put a copy of it back, '
      'or start the command of its run again, which computes again what it can.'
    ) from None


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
  with durable.replacing(path, encoding='utf-8', newline='') as file:
    file.write(text)


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
