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
says was compared with the run. --precision=float16 and --precision=int8 make
the file smaller; they are refused where they misread too many of the run's test
images. --part=encoder ships the encoder without a head, and --names=torch gives
its arrays the names of torchvision or timm. `ssljax[export]` installs what ONNX
needs.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import collections
import csv
import importlib.metadata
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from ssljax import (
  durable,
  onnx_model,
  parity,
  process,
  shipped,
  standalone,
  torch_model,
  trained,
)
from ssljax.comparison import compared, judged
from ssljax.errors import DEBUG, UserError, told
from ssljax.parity import Parity
from ssljax.reader import Reader, load
from ssljax.records import json_text
from ssljax.reports import card
from ssljax.workdir import found_data

CHECKED = 64  # images that both networks see


def export(
  workdir: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  format: str = 'onnx',
  part: str = 'reader',
  precision: str = 'float32',
  names: str = 'ssljax',
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
    precision: 'float32'; 'float16', in which the weights are stored; or 'int8',
      in which an ONNX model multiplies.
    names: of the arrays of an encoder as safetensors: 'ssljax', or 'torch' for
      those of torchvision and timm.
    stage: of the run; by default the one that it is for.
    images: a folder of images to compare on; by default those of the run.
    data_dir: where the run's rendered data is kept, by default where the
      command keeps it.

  Returns:
    How far the export is from the run.

  Raises:
    UserError: no such run, a stage that cannot read, a folder that is there
      already, packages that are missing, an export that computes otherwise, or
      one whose fewer bits misread too many images.
  """
  kind = shipped.Kind(format, part, precision, names)
  kind.check()
  out = pathlib.Path(out).expanduser().absolute()
  if out.exists():
    raise UserError(f'Found {out}; expected a new folder. Name another one.')
  reader = load(workdir, stage=stage)
  if part == 'reader':
    reader.outcomes(())  # refuses a stage that does not read
  kept = str(data_dir or process.default_data_dir())
  data = found_data(reader.config['data'], reader.folder.parent)
  shown = parity.pictures(data, images, data_dir=kept, most=CHECKED)
  out.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as made:
    folder = pathlib.Path(made) / 'export'
    folder.mkdir()
    described = write(reader, folder, kind)
    found = compared(reader, folder, shown, kind)
    if precision != 'float32':
      lost = judged(reader, folder, kind, images, kept)
      described['loss'] = {**lost._asdict(), 'told': str(lost)}
      (folder / shipped.SETTINGS).write_text(json_text(described))
    elif not found.good:
      raise UserError(
        f'Found an export that computes otherwise than the run ({found}); '
        f'expected equal texts, outputs within {parity.CLOSE} and confidences '
        f'within {parity.SURE}. Nothing was written; other versions of the '
        'packages that export may mend it.'
      )
    text = card.card(described, counts_of(reader.folder), str(found))
    (folder / 'README.md').write_text(text, encoding='utf-8')
    durable.record_folder(folder)
    folder.rename(out)
  return found


def write(
  reader: Reader, folder: pathlib.Path, kind: shipped.Kind
) -> dict[str, Any]:
  """Writes the network and `model.json`, whose content it returns."""
  function, variables = shipped.of_part(
    reader.method, reader.variables, kind.part
  )
  size = reader.height, reader.width
  described = settings(reader, kind)
  if kind.names == 'torch':
    encoder = trained.encoder_of(reader.config, reader.stage)
    described['torch'] = torch_model.code(encoder, size)

  def network(function: Any, variables: Any) -> bytes:
    if kind.names == 'torch':
      return shipped.torch_names_of(variables, size)
    if kind.format == 'safetensors':
      return shipped.safetensors_of(variables)
    if kind.format == 'stablehlo':
      return shipped.stablehlo_of(function, variables, size, reader.stride)
    out = shipped.OUTPUTS[kind.part]
    return onnx_model.converted(function, variables, size, out)

  data = whole = network(function, variables)
  if kind.precision != 'float32' and kind.format == 'onnx':
    data = onnx_model.rounded(whole, kind.precision)
  elif kind.precision != 'float32':
    data = network(*shipped.halved(function, variables))
  (folder / f'model.{kind.format}').write_bytes(data)
  if kind.format == 'onnx' and kind.part == 'reader':
    (folder / shipped.SCRIPT).write_text(standalone.source())
  described['bytes'] = {'model': len(data), 'float32': len(whole)}
  (folder / shipped.SETTINGS).write_text(json_text(described))
  return described


def settings(reader: Reader, kind: shipped.Kind) -> dict[str, Any]:
  """What `model.json` says."""
  return {
    **kind._asdict(),
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


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    usage='python -m ssljax.export [options] WORKDIR OUT',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    'workdir',
    metavar='WORKDIR',
    help='the folder of a run, or of a stage in it',
  )
  parser.add_argument('out', metavar='OUT', help='the folder to write')
  parser.add_argument(
    '--format', choices=shipped.FORMATS, default='onnx', help='by default onnx'
  )
  parser.add_argument(
    '--part',
    choices=list(shipped.PARTS),
    default='reader',
    help='what to ship; by default the reader',
  )
  parser.add_argument(
    '--precision',
    choices=shipped.PRECISIONS,
    default='float32',
    help='of the weights; by default float32',
  )
  parser.add_argument(
    '--names',
    choices=shipped.NAMES,
    default='ssljax',
    help="of an encoder's arrays; torch for those of torchvision and timm",
  )
  parser.add_argument(
    '--stage', help='to ship; by default the one that the run is for'
  )
  parser.add_argument(
    '--images', metavar='DIR', help='a folder of images to compare on'
  )
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='where rendered data is kept, as for ssljax.main',
  )
  parser.add_argument('--debug', action='store_true', help=DEBUG)
  given = parser.parse_args(arguments)
  process.quiet()
  try:
    options = {k: v for k, v in vars(given).items() if k != 'debug'}
    found = export(**options)
  except UserError as error:
    sys.exit(told(error, debug=given.debug))
  print(f'{found}.\nExported: {given.out}')


if __name__ == '__main__':
  with signals.interruptible():
    main()
