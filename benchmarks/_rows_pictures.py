"""The memory that large pictures take."""

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from _commands import ROOT, TINY, command, peak, reset
from _rows import Outcome, row
from PIL import Image

READING = """
import pathlib, sys
sys.path[:0] = [{root!r}, {benchmarks!r}]
import _rows_pictures
_rows_pictures.{call}
"""


def apart(call: str) -> float:
  """What a call in a process of its own prints: its memory in MB."""
  text = READING.format(
    root=str(ROOT), benchmarks=str(ROOT / 'benchmarks'), call=call
  )
  done = subprocess.run(
    [sys.executable, '-c', text], capture_output=True, text=True, check=False
  )
  if done.returncode:
    raise RuntimeError(done.stderr)
  return float(done.stdout.split()[-1])


def one_picture(path: str) -> None:
  """Prints how many MB it takes to read a picture, or to refuse it."""
  from ssljax.data import images

  before = reset()
  with contextlib.suppress(images.BadImage):
    images.read_image(path)
  print(peak() - before)


def photographs(kind: str, path: str, count: int, run: str) -> None:
  """Prints how many MB reading photographs from a generator takes."""
  from ssljax.data import images, inputs

  def given() -> Iterator[Any]:
    for _ in range(count):
      yield {
        'paths': lambda: path,
        'bytes': lambda: pathlib.Path(path).read_bytes(),
        'pictures': lambda: Image.open(path),
        'arrays': lambda: np.asarray(Image.open(path)),
      }[kind]()

  if run:
    import ssljax

    reader = ssljax.load(run)
    reader.recognize([path])
    before = reset()
    reader.recognize(given())
  else:
    before = reset()
    for _ in inputs.prepared(
      inputs.each(given()),
      lambda each: images.fit(inputs.picture(each), 32, 96),
    ):
      pass
  print(peak() - before)


@row(
  'large-picture',
  what='A picture of 16 bits and 89 million pixels is read.',
  goal='at most 400 MB more, or refused by a limit of our own',
)
def large_picture(folder: pathlib.Path, smoke: bool) -> Outcome:
  side = 2000 if smoke else 9459
  values = np.arange(side * side, dtype=np.uint32).astype(np.uint16)
  picture = Image.fromarray(values.reshape(side, side))
  most = 0.0
  for name in ('a.png', 'a.tif'):
    options = {'compress_level': 1} if name == 'a.png' else {}
    picture.save(folder / name, **options)
    most = max(most, apart(f'one_picture({str(folder / name)!r})'))
  return Outcome(
    2,
    2 if most <= 400 else 0,
    f'{most:.0f} MB more',
    notes='Both files, a PNG and a TIFF, are refused by the limit of 768 MB '
    'for decoding, before they are decoded.' * (not smoke),
  )


@row(
  'photographs',
  what='A trained reader reads 40 photographs of 12 million pixels that a '
  'generator gives, as paths, bytes, pictures and arrays.',
  goal='at most 300 MB above the model',
)
def many_photographs(folder: pathlib.Path, smoke: bool) -> Outcome:
  side = (1000, 800) if smoke else (4000, 3000)
  noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
  turned = Image.Exif()
  turned[0x0112] = 6
  path, run = folder / 'a.jpg', ''
  # What takes the most: a progressive JPEG that has to be turned.
  Image.fromarray(noise).resize(side).save(
    path, quality=90, progressive=True, exif=turned
  )
  if not smoke:
    run = str(folder / 'run')
    done = command(pathlib.Path(run), folder / 'data', *TINY)
    if done.returncode:
      raise RuntimeError(done.stderr)
  count = 4 if smoke else 40
  kinds = ('bytes',) if smoke else ('paths', 'bytes', 'pictures', 'arrays')
  found = {
    kind: apart(f'photographs({kind!r}, {str(path)!r}, {count}, {run!r})')
    for kind in kinds
  }
  return Outcome(
    len(found),
    sum(each <= 300 for each in found.values()),
    ', '.join(f'{each:.0f} MB ({kind})' for kind, each in found.items()),
  )
