"""Shows images to a trained run and to an export, and compares the two."""

import itertools
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ssljax import onnx_model, parity, shipped, standalone, torch_model
from ssljax.errors import UserError
from ssljax.parity import Parity
from ssljax.reader import Reader, load, raise_first, stacked
from ssljax.records import read_json
from ssljax.reports.tables import FEWEST
from ssljax.text import shown_frames
from ssljax.workdir import found_data

AGREED = 1000  # images that judge fewer bits where no test has labels


def compared(
  reader: Reader, folder: pathlib.Path, shown: Sequence[Any], kind: shipped.Kind
) -> Parity:
  """Shows images to the run and to an export.

  Arrays are saved as PNG files first, because an export reads files.
  """
  with tempfile.TemporaryDirectory() as saved:
    paths = []
    for place, each in enumerate(shown):
      if isinstance(each, np.ndarray):
        path = pathlib.Path(saved) / f'{place}.png'
        Image.fromarray(each).save(path)
        each = path
      paths.append(each)
    pixels, widths = stacked(list(itertools.chain(*reader.fitted(paths))))
    if kind.part == 'encoder':
      wanted = reader.features(pixels, widths)
      run = load(folder).features if kind.format != 'onnx' else None
      run = run or onnx_model.runner(folder / 'model.onnx')
      far = parity.apart(run(pixels, widths), wanted)
      if kind.names == 'torch':
        far = max(far, apart_in_torch(folder, pixels, wanted))
      return Parity(len(paths), far)
    exported = opened(folder, kind)
    mine, other = reader.recognize(paths), exported.recognize(paths)
  logits = reader.logits(pixels, widths)
  # What stands in frames of padding is never read.
  valid = shown_frames(widths, frames=logits.shape[1], width=reader.width)
  pairs = list(zip(mine, other, strict=True))
  return Parity(
    images=len(paths),
    outputs=parity.apart(exported.logits(pixels, widths)[valid], logits[valid]),
    confidence=max((abs(a[1] - b[1]) for a, b in pairs), default=0.0),
    texts=sum(a[0] == b[0] for a, b in pairs),
  )


def opened(folder: pathlib.Path, kind: shipped.Kind) -> Any:
  """An export as its user opens it."""
  if kind.format == 'onnx':
    return standalone.load(folder / shipped.SCRIPT).Reader(folder)
  return load(folder)


def apart_in_torch(
  folder: pathlib.Path, pixels: np.ndarray, wanted: np.ndarray
) -> float:
  """How far torch is from the run; 0 where torch is not installed."""
  lines = read_json(folder / shipped.SETTINGS)['torch']
  found = torch_model.features(lines, folder, pixels)
  return 0.0 if found is None else parity.apart(found, wanted)


def judged(
  reader: Reader,
  folder: pathlib.Path,
  kind: shipped.Kind,
  images: str | os.PathLike[str] | None,
  data_dir: str,
) -> parity.Loss:
  """What an export of fewer bits loses; refuses one that loses too much."""
  data = found_data(reader.config['data'], reader.folder.parent)
  shown, labels = [], []
  if images is None:
    shown, labels = parity.tested(data, reader.folder, data_dir=data_dir)
  if len(labels) < FEWEST:  # too few to say
    labels = None
    shown = parity.pictures(data, images, data_dir=data_dir, most=AGREED)
  exported, wanted, found = opened(folder, kind), [], []
  for chunk in reader.fitted(shown):
    raise_first(chunk)
    pixels, widths = stacked(chunk)
    wanted += texts(reader, pixels, widths)
    if kind.format == 'onnx':
      found += [text for text, _ in exported.read(pixels, widths)]
    else:
      found += texts(exported, pixels, widths)
  lost = parity.loss(wanted, found, labels)
  if not lost.good:
    raise UserError(
      f'Found an export in {kind.precision} that reads worse ({lost}); '
      f'expected it to lose less than {100 * parity.LOST} points. Nothing was '
      'written; export with another --precision.'
    )
  return lost


def texts(reader: Reader, pixels: np.ndarray, widths: np.ndarray) -> list[str]:
  """What a reader says of fitted images."""
  assert reader.charset is not None
  logits = reader.logits(pixels, widths)
  valid = shown_frames(widths, frames=logits.shape[1], width=reader.width)
  return [text for text, _ in reader.charset.greedy(logits, valid)]
