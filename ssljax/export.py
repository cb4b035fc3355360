"""Ships a trained run: python -m ssljax.export WORKDIR OUT --format=FORMAT

The folder OUT then has the network in one of three formats, and what it needs:

  model.onnx         onnx: images and their widths to logits, for onnxruntime;
                     with onnx_reader.py, which reads images without JAX
  model.safetensors  safetensors: the arrays, for ssljax.load(OUT)
  model.stablehlo    stablehlo: the whole program, for ssljax.load(OUT) and XLA
  model.json         characters, frame, temperature, figures and config
  README.md          the model card: data, labels, figures, cost, how to read
  digests.json       of the files, so that damage is found

Before OUT appears, it has read images of the run, or of --images, and what it
says was compared with the run. --part=encoder ships the encoder without a head.
`ssljax[export]` installs what ONNX needs.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import collections
import csv
import importlib.metadata
import itertools
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ssljax import durable, onnx_model, process, shipped, standalone
from ssljax import workdir as workdir_lib
from ssljax.data import datasets
from ssljax.data.files import list_files
from ssljax.errors import UserError, check_known
from ssljax.reader import Reader, load, stacked
from ssljax.records import json_text
from ssljax.reports import card
from ssljax.text import shown_frames

CHECKED = 64  # images that both networks see
# How far the two may be apart. float32 decides about the outputs: the variances
# of a GroupNorm are differences of large numbers, and their rounding differs.
CLOSE = 1e-4  # of the largest output
SURE = 1e-3  # between two confidences
SCRIPT = 'onnx_reader.py'


class Parity(NamedTuple):
  """How far an export is from the network that was exported.

  Attributes:
    images: how many both have seen.
    outputs: the largest difference of two logits, or of two features, over the
      largest of them.
    confidence: the largest difference of two confidences.
    texts: images of which both say the same; None of an encoder.
  """

  images: int
  outputs: float
  confidence: float = 0.0
  texts: int | None = None

  @property
  def good(self) -> bool:
    close = self.outputs <= CLOSE and self.confidence <= SURE
    return close and self.texts in (None, self.images)

  def __str__(self) -> str:
    near = f'outputs within {self.outputs:.1e} of the largest'
    if self.texts is None:
      return f'{self.images} images: {near}'
    return (
      f'{self.texts} of {self.images} texts are equal; {near}, confidences '
      f'within {self.confidence:.1e}'
    )


def export(
  workdir: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  format: str = 'onnx',
  part: str = 'reader',
  stage: str | None = None,
  images: str | os.PathLike[str] | None = None,
  data_dir: str | os.PathLike[str] | None = None,
) -> Parity:
  """Writes the folder `out`; it appears complete or not at all.

  Args:
    workdir: the folder of a run, or of a stage in it.
    out: the folder to write, which must not exist.
    format: 'onnx', 'safetensors' or 'stablehlo'.
    part: 'reader', or 'encoder' for the encoder alone, of any stage.
    stage: of the run; by default the one that it is for.
    images: a folder of images to compare on; by default those of the run.
    data_dir: where the run's rendered data is kept, by default where the
      command keeps it.

  Returns:
    How far the export is from the run.

  Raises:
    UserError: no such run, a stage that cannot read, a folder that is there
      already, packages that are missing, or an export that computes otherwise.
  """
  check_known('format', format, shipped.FORMATS)
  check_known('part', part, shipped.PARTS)
  out = pathlib.Path(out).expanduser().absolute()
  if out.exists():
    raise UserError(f'Found {out}; expected a new folder. Name another one.')
  reader = load(workdir, stage=stage)
  if part == 'reader':
    reader.outcomes(())  # refuses a stage that does not read
  kept = str(data_dir or process.default_data_dir())
  shown = pictures(reader, images, kept)
  out.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as made:
    folder = pathlib.Path(made) / 'export'
    folder.mkdir()
    described = write(reader, folder, format, part)
    found = compared(reader, folder, shown, format, part)
    if not found.good:
      raise UserError(
        f'Found an export that computes otherwise than the run ({found}); '
        f'expected equal texts, outputs within {CLOSE} and confidences within '
        f'{SURE}. Nothing was written; other versions of the packages that '
        'export may mend it.'
      )
    text = card.card(described, counts_of(reader.folder), str(found))
    (folder / 'README.md').write_text(text, encoding='utf-8')
    durable.record_folder(folder)
    folder.rename(out)
  return found


def write(
  reader: Reader, folder: pathlib.Path, format: str, part: str
) -> dict[str, Any]:
  """Writes the network and `model.json`, whose content it returns."""
  function, variables = shipped.of_part(reader.method, reader.variables, part)
  size = reader.height, reader.width
  if format == 'safetensors':
    data = shipped.safetensors_of(variables)
  elif format == 'stablehlo':
    data = shipped.stablehlo_of(function, variables, size, reader.stride)
  else:
    data = onnx_model.converted(
      function, variables, size, shipped.OUTPUTS[part]
    )
  (folder / f'model.{format}').write_bytes(data)
  if format == 'onnx' and part == 'reader':
    (folder / SCRIPT).write_text(standalone.source())
  described = settings(reader, format, part)
  (folder / shipped.SETTINGS).write_text(json_text(described))
  return described


def settings(reader: Reader, format: str, part: str) -> dict[str, Any]:
  """What `model.json` says."""
  return {
    'format': format,
    'part': part,
    'characters': reader.charset.characters if reader.charset else None,
    'height': reader.height,
    'width': reader.width,
    'pixels': 'uint8 RGB; the network itself scales them to -1 to 1',
    'temperature': reader.temperature,
    'stage': reader.stage,
    'figures': dict(reader.figures),
    'config': dict(reader.config),
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
  reader: Reader,
  folder: pathlib.Path,
  shown: Sequence[Any],
  format: str,
  part: str,
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
    if part == 'encoder':
      wanted = reader.features(pixels, widths)
      run = features_of(folder) if format == 'onnx' else load(folder).features
      return Parity(len(paths), apart(run(pixels, widths), wanted))
    own = standalone.load(folder / SCRIPT).Reader if format == 'onnx' else load
    exported = own(folder)
    mine, other = reader.recognize(paths), exported.recognize(paths)
  logits = reader.logits(pixels, widths)
  # What stands in frames of padding is never read.
  valid = shown_frames(widths, frames=logits.shape[1], width=reader.width)
  pairs = list(zip(mine, other, strict=True))
  return Parity(
    images=len(paths),
    outputs=apart(exported.logits(pixels, widths)[valid], logits[valid]),
    confidence=max((abs(a[1] - b[1]) for a, b in pairs), default=0.0),
    texts=sum(a[0] == b[0] for a, b in pairs),
  )


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
  """The largest difference, over the largest value."""
  far = np.abs(found - wanted).max(initial=0)
  return float(far / np.abs(wanted).max(initial=1e-9))


def features_of(folder: pathlib.Path) -> Callable[..., np.ndarray]:
  """An exported encoder as onnxruntime runs it."""
  try:
    import onnxruntime
  except ImportError:
    raise standalone.missing('onnxruntime') from None
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # of initializers that nobody uses
  session = onnxruntime.InferenceSession(
    str(folder / 'model.onnx'), options, providers=['CPUExecutionProvider']
  )
  # Not every encoder looks at the widths.
  names = {each.name for each in session.get_inputs()}

  def run(pixels, widths):
    feed = {'images': pixels, 'widths': widths}
    feed = {name: each for name, each in feed.items() if name in names}
    return np.asarray(session.run(None, feed)[0])

  return run


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog='python -m ssljax.export',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('workdir', help='the folder of a run, or of a stage')
  parser.add_argument('out', help='the folder to write')
  parser.add_argument(
    '--format', choices=shipped.FORMATS, default='onnx', help='onnx if not said'
  )
  parser.add_argument(
    '--part', choices=list(shipped.PARTS), default='reader', help='reader'
  )
  parser.add_argument('--stage', help='that reads; by default the product')
  parser.add_argument('--images', help='a folder of images to compare on')
  parser.add_argument('--data_dir', help="of the run's rendered data")
  given = parser.parse_args(arguments)
  process.quiet()
  try:
    found = export(**vars(given))
  except UserError as error:
    sys.exit(f'{type(error).__name__}: {error}')
  print(f'{found}.\nExported: {given.out}')


if __name__ == '__main__':
  with signals.interruptible():
    main()
