"""Ships a trained reader as ONNX: python -m ssljax.export WORKDIR OUT

The folder OUT then has all that reading needs, and none of it is JAX:

  model.onnx      images and their widths to logits, for any number of images
  reader.json     characters, frame, temperature, and where the reader is from
  onnx_reader.py  reads images by the two, with NumPy, Pillow and onnxruntime
  README.md       the model card: data, labels, figures, cost, how to read

Before OUT appears, its reader has read images of the run, or of --images, and
what it says was compared with the run's own reader. `ssljax[export]` installs
what this needs.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import collections
import csv
import importlib.metadata
import itertools
import logging
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ssljax import process, standalone
from ssljax import workdir as workdir_lib
from ssljax.data import datasets
from ssljax.data.files import list_files
from ssljax.errors import UserError
from ssljax.reader import Reader, load, stacked
from ssljax.records import json_text, read_json
from ssljax.reports import card
from ssljax.text import shown_frames

CHECKED = 64  # images that both readers read
# How far the two may be apart. float32 decides about the logits: the variances
# of a GroupNorm are differences of large numbers, and their rounding differs.
CLOSE = 1e-4  # of the largest logit
SURE = 1e-3  # between two confidences
MODEL, SETTINGS, SCRIPT = 'model.onnx', 'reader.json', 'onnx_reader.py'


class Parity(NamedTuple):
  """How far an exported reader is from the one that was exported.

  Attributes:
    images: how many both have read.
    logits: the largest difference of two logits, over the largest logit.
    confidence: the largest difference of two confidences.
    texts: images of which both say the same.
  """

  images: int
  logits: float
  confidence: float
  texts: int

  @property
  def good(self) -> bool:
    close = self.logits <= CLOSE and self.confidence <= SURE
    return close and self.images == self.texts


def export(
  workdir: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  stage: str | None = None,
  images: str | os.PathLike[str] | None = None,
  data_dir: str | os.PathLike[str] | None = None,
) -> Parity:
  """Writes the folder `out`; it appears complete or not at all.

  Args:
    workdir: the folder of a run, or of a stage in it.
    out: the folder to write, which must not exist.
    stage: of the run; by default the one that it is for.
    images: a folder of images to compare on; by default those of the run.
    data_dir: where the run's rendered data is kept, by default where the
      command keeps it.

  Returns:
    How far the exported reader is from that of the run.

  Raises:
    UserError: no such run, a stage that cannot read, a folder that is there
      already, packages that are missing, or a reader that reads otherwise.
  """
  out = pathlib.Path(out).expanduser().absolute()
  if out.exists():
    raise UserError(f'Found {out}; expected a new folder. Name another one.')
  reader = load(workdir, stage=stage)
  reader.outcomes(())  # refuses a stage that does not read
  kept = str(data_dir or process.default_data_dir())
  shown = pictures(reader, images, kept)
  out.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as made:
    folder = pathlib.Path(made) / 'export'
    folder.mkdir()
    (folder / MODEL).write_bytes(onnx_of(reader))
    described = settings(reader)
    (folder / SETTINGS).write_text(json_text(described))
    (folder / SCRIPT).write_text(standalone.source())
    found = compared(reader, folder, shown)
    if not found.good:
      raise UserError(
        f'Found an export that reads otherwise than the run: {found.texts} of '
        f'{found.images} texts are the same, the logits differ by up to '
        f'{found.logits:.1e} of the largest one, and the confidences by '
        f'{found.confidence:.1e}; expected all, {CLOSE} and {SURE}. Nothing '
        'was written; another version of jax2onnx or onnxruntime may mend it.'
      )
    text = card.card(
      described,
      read_json(reader.folder / 'stage.json'),
      counts_of(reader.folder),
      found._asdict(),
    )
    (folder / 'README.md').write_text(text, encoding='utf-8')
    folder.rename(out)
  return found


def onnx_of(reader: Reader) -> bytes:
  """The reader's network, with its variables, as an ONNX model.

  Its inputs are `images`, uint8 (batch, height, width, 3), and `widths`, int32
  (batch,); its output is `logits`, float32 (batch, frames, classes).
  """
  import jax

  try:
    from jax2onnx import to_onnx
  except ImportError:
    raise UserError(
      'Found no jax2onnx; expected what exporting needs. Install it: '
      "pip install 'ssljax[export]'"
    ) from None
  predict, variables = reader.method.predict, reader.variables
  assert predict is not None  # or the reader could not read

  def logits(images, widths):
    return predict(*variables, images, widths)

  shape = ('batch', reader.height, reader.width, 3)
  # It warns of its own work.
  logging.getLogger('onnx_ir').setLevel(logging.ERROR)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    model = to_onnx(
      logits,
      [
        jax.ShapeDtypeStruct(shape, np.uint8),
        jax.ShapeDtypeStruct(('batch',), np.int32),
      ],
      input_names=['images', 'widths'],
      output_names=['logits'],
    )
  return model.SerializeToString()


def settings(reader: Reader) -> dict[str, Any]:
  """What `reader.json` says."""
  assert reader.charset is not None
  return {
    'characters': reader.charset.characters,
    'height': reader.height,
    'width': reader.width,
    'temperature': reader.temperature,
    'stage': reader.stage,
    'config': reader.config,
    'ssljax': importlib.metadata.version('ssljax'),
    'licence': 'Apache-2.0',
  }


def counts_of(folder: pathlib.Path) -> dict[str, int]:
  """The images of each split that a stage has read."""
  path = folder / 'predictions.csv'
  if not path.exists():
    return {}
  with path.open(newline='', encoding='utf-8') as file:
    return collections.Counter(row['split'] for row in csv.DictReader(file))


def pictures(
  reader: Reader, images: str | os.PathLike[str] | None, data_dir: str
) -> list[Any]:
  """Some images to compare on: files of a folder, or those of the run."""
  data = workdir_lib.found_data(reader.config['data'], reader.folder.parent)
  folder = images or data.get('directory')
  if not folder:
    dataset = datasets.open_dataset(data, data_dir=data_dir)
    source = dataset.open(dataset.splits[0])
    return list(source.gather(range(min(CHECKED, len(source))))['image'])
  folder = pathlib.Path(folder).expanduser()
  if not folder.is_dir():
    raise UserError(
      f'Found no folder {folder}; expected images to compare the export on. '
      'Name some by --images=DIR.'
    )
  files = list_files(folder)
  return [folder / name for name in files[:: -(-len(files) // CHECKED)]]


def compared(
  reader: Reader, folder: pathlib.Path, shown: Sequence[Any]
) -> Parity:
  """Reads images with the run's reader and with an export.

  Arrays are saved as PNG files first, because an export reads files.
  """
  exported = standalone.load(folder / SCRIPT).Reader(folder)
  with tempfile.TemporaryDirectory() as saved:
    paths = []
    for place, each in enumerate(shown):
      if isinstance(each, np.ndarray):
        path = pathlib.Path(saved) / f'{place}.png'
        Image.fromarray(each).save(path)
        each = path
      paths.append(each)
    mine = reader.recognize(paths)
    other = exported.recognize(paths)
    fitted = list(itertools.chain(*reader.fitted(paths)))
  pixels, widths = stacked(fitted)
  logits = reader.logits(pixels, widths)
  # What stands in frames of padding is never read.
  valid = shown_frames(widths, frames=logits.shape[1], width=reader.width)
  far = np.abs(exported.logits(pixels, widths) - logits)[valid]
  return Parity(
    images=len(mine),
    logits=float(far.max(initial=0) / np.abs(logits[valid]).max(initial=1e-9)),
    confidence=max(
      (abs(a[1] - b[1]) for a, b in zip(mine, other, strict=True)), default=0.0
    ),
    texts=sum(a[0] == b[0] for a, b in zip(mine, other, strict=True)),
  )


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog='python -m ssljax.export',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('workdir', help='the folder of a run, or of a stage')
  parser.add_argument('out', help='the folder to write')
  parser.add_argument('--stage', help='that reads; by default the product')
  parser.add_argument('--images', help='a folder of images to compare on')
  parser.add_argument('--data_dir', help="of the run's rendered data")
  given = parser.parse_args(arguments)
  process.quiet()
  try:
    found = export(**vars(given))
  except UserError as error:
    sys.exit(f'{type(error).__name__}: {error}')
  print(
    f'{found.texts} of {found.images} texts are equal; logits within '
    f'{found.logits:.1e} of the largest, confidences within '
    f'{found.confidence:.1e}.\n'
    f'Exported: {given.out}'
  )


if __name__ == '__main__':
  with signals.interruptible():
    main()
