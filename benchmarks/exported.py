"""How fast an export reads, beside JAX and other programs.

  python benchmarks/exported.py --json=docs/results/exported.json
  python benchmarks/exported.py --smoke    a small network, in seconds

For each size of the frame: milliseconds from a PNG file to its text and
confidence, on one thread; what of them decoding the file, fitting it, the
network and CTC take; and images a second of many files, on one core and on two.
Beside the time by the clock stands the time of the processor, which other work
on the machine changes less.
Of `python -m ssljax.export` in each precision, of `ssljax.load`, and of ddddocr
and fast-plate-ocr where they are installed: `pip install ddddocr
'fast-plate-ocr[onnx]'`. The repeats of all of them are interleaved, and each
figure is a median, with the tenth and the ninetieth percentile and the best.
The weights are random, because speed does not depend on them.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # for configs

import _random_run

import ssljax
from ssljax import export, shipped, standalone
from ssljax.data.render import render_chunk

FRAMES = (32, 96), (48, 128)
SIZE = 60, 160  # of the pictures
PLATES = 'cct-xs-v2-global-model'  # of fast-plate-ocr
CORES = 1, 2


def pictures(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """PNG files of rendered text."""
  recipe = {
    **{'seed': 0, 'charset': 'digits', 'height': SIZE[0], 'width': SIZE[1]},
    **{'layouts': ('arcs',), 'unseen_layouts': ('arcs',)},
  }
  made = []
  for example in render_chunk((recipe, 'train', 0, count)):
    made.append(folder / f'{example["index"]:04}.png')
    made[-1].write_bytes(example['image'])
  return made


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
  """Lets all threads of this process run on so many cores."""
  if not hasattr(os, 'sched_setaffinity'):
    yield
    return
  threads = [int(each) for each in os.listdir('/proc/self/task')]
  before = os.sched_getaffinity(0)
  for thread in threads:
    with contextlib.suppress(OSError):  # one that has ended
      os.sched_setaffinity(thread, sorted(before)[:count])
  try:
    yield
  finally:
    for thread in threads:
      with contextlib.suppress(OSError):
        os.sched_setaffinity(thread, before)


def exported(
  run: pathlib.Path, made: pathlib.Path
) -> dict[str, tuple[pathlib.Path, int]]:
  """The folder and the bytes of an export in each precision."""
  reader = ssljax.load(run)
  found = {}
  for precision in shipped.PRECISIONS:
    folder = made / precision
    folder.mkdir()
    kind = shipped.Kind('onnx', 'reader', precision, 'ssljax')
    # Without the comparison, which random weights need not pass.
    said = export.write(reader, folder, kind)
    found[precision] = folder, said['bytes']['model']
  return found


def peers() -> dict[str, Callable]:
  """A function of a file for each other program that is installed."""
  found = {}
  try:
    ocr = importlib.import_module('ddddocr').DdddOcr(show_ad=False)
    found['ddddocr'] = lambda file: ocr.classification(file.read_bytes())
  except ImportError as error:
    print(f'ddddocr: not measured ({error})')
  try:
    plates = importlib.import_module('fast_plate_ocr')
    reader = plates.LicensePlateRecognizer(PLATES, device='cpu')
    found['fast-plate-ocr'] = lambda file: reader.run(str(file))
  except (ImportError, OSError) as error:  # its model may be out of reach
    print(f'fast-plate-ocr: not measured ({error})')
  return found


class Times(NamedTuple):
  """Seconds of calls, by the clock, and of the processor in all threads."""

  clock: list[float]
  processor: list[float]

  def add(self, function: Callable, *arguments, count: int = 1):
    """Calls a function, and notes the seconds over `count`."""
    start, spent = time.perf_counter(), time.process_time()
    found = function(*arguments)
    self.processor.append((time.process_time() - spent) / count)
    self.clock.append((time.perf_counter() - start) / count)
    return found

  def spread(self) -> dict[str, float]:
    """Percentiles in milliseconds."""
    best, low, median, high = 1e3 * np.percentile(self.clock, (0, 10, 50, 90))
    return {
      **{'median': median, 'low': low, 'high': high, 'best': best},
      'processor': 1e3 * float(np.median(self.processor)),
    }

  def rates(self) -> dict[str, float]:
    """Images a second, and the processor's milliseconds of each."""
    found = {
      name: 1e3 / value
      for name, value in self.spread().items()
      if name in ('median', 'best')
    }
    return {**found, 'processor': self.spread()['processor']}


def interleaved(functions: dict[str, Callable], files, repeats: int) -> dict:
  """Times of each function by its name, a file after the other."""
  times = {name: Times([], []) for name in functions}
  for function in functions.values():
    function(files[0])  # the first call compiles
  for _ in range(repeats):
    for file in files:
      for name, function in functions.items():
        times[name].add(function, file)
  return times


def parts(module, reader, files) -> dict[str, dict[str, float]]:
  """What the steps of a read take, of an export."""
  times = {name: Times([], []) for name in ('file', 'fit', 'network', 'all')}
  for file in files:
    image = times['file'].add(module.picture, file)
    size = reader.height, reader.width
    pixels, width = times['fit'].add(module.fit, image, *size)
    fitted = pixels[None], np.array([width])
    times['network'].add(reader.logits, *fitted)
    times['all'].add(reader.read, *fitted)
  return {name: each.spread() for name, each in times.items()}


def measured(frame, scale: str, files, repeats: int, others) -> list[dict]:
  """A record for each reader of a frame."""
  with tempfile.TemporaryDirectory() as made:
    run = pathlib.Path(made) / 'run'
    _random_run.make(run, scale, *frame)
    folders = exported(run, pathlib.Path(made))
    modules = {
      name: standalone.load(folder / shipped.SCRIPT)
      for name, (folder, _) in folders.items()
    }
    readers = {
      cores: {
        name: modules[name].Reader(folder, threads=cores)
        for name, (folder, _) in folders.items()
      }
      for cores in CORES
    }
    jax = ssljax.load(run)
    single = {
      name: lambda file, reader=reader: reader.recognize([file])
      for name, reader in readers[1].items()
    }
    single['JAX'] = lambda file: jax.recognize([file])
    few = files[:30]
    times = interleaved(single, few, repeats)
    # Apart, because the threads of ddddocr go on spinning after a call.
    times |= interleaved(others, few, repeats)
    steps = {
      name: parts(modules[name], reader, few * repeats)
      for name, reader in readers[1].items()
    }
    many = {name: {cores: Times([], []) for cores in CORES} for name in times}
    for cores in CORES:
      groups = {
        **{
          name: lambda given, reader=reader: reader.recognize(given)
          for name, reader in readers[cores].items()
        },
        'JAX': jax.recognize,
        **{
          name: lambda given, read=read: [read(each) for each in given]
          for name, read in others.items()
        },
      }
      with on_cores(cores):
        for place in range(repeats + 1):
          for name, function in groups.items():
            given = files[:16] if name in others or not place else files
            each = many[name][cores] if place else Times([], [])
            each.add(function, given, count=len(given))
  return [
    {
      'frame': list(frame) if name not in others else None,
      'reader': name,
      'bytes': folders[name][1] if name in folders else None,
      'single': times[name].spread(),
      'parts': steps.get(name, {}),
      'cores': {str(cores): many[name][cores].rates() for cores in CORES},
    }
    for name in times
  ]


def main(scale: str, frames, count: int, repeats: int, out: str) -> None:
  records = []
  with tempfile.TemporaryDirectory() as made:
    files = pictures(pathlib.Path(made), count)
    others = peers()
    for frame in frames:
      records += measured(frame, scale, files, repeats, others)
      others = {}  # they have a frame of their own
  for each in records:
    single, one, two = each['single'], *each['cores'].values()
    size = 'x'.join(map(str, each['frame'] or ('own', 'frame')))
    print(
      f'{size} {each["reader"]}: one image {single["median"]:.2f} ms '
      f'({single["low"]:.2f} to {single["high"]:.2f}, best '
      f'{single["best"]:.2f}, processor {single["processor"]:.2f}), images a '
      f'second {one["median"]:.0f} on one core, {two["median"]:.0f} on two '
      f'(best {two["best"]:.0f}, processor {two["processor"]:.2f} ms each)'
    )
  if out:
    facts = {
      'command': 'python benchmarks/exported.py --json=' + out,
      'processor': processor(),
      'load': os.getloadavg()[0],
      'images': count,
      'repeats': repeats,
      'onnxruntime': importlib.metadata.version('onnxruntime'),
      'records': records,
    }
    text = json.dumps(facts, indent=1)
    pathlib.Path(out).write_text(text + '\n')


def processor() -> str:
  """The name of the processor, and whether it multiplies int8 by itself."""
  path = pathlib.Path('/proc/cpuinfo')
  if not path.exists():
    return platform.processor()
  lines = [line.partition(':') for line in path.read_text().splitlines()]
  found = {name.strip(): value.strip() for name, _, value in lines}
  kinds = [
    k for k in ('avx2', 'avx512f', 'vnni') if k in found.get('flags', '')
  ]
  return f'{found.get("model name", "")} ({", ".join(kinds)})'


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--smoke', action='store_true')
  parser.add_argument('--json', default='', help='a file for the figures')
  given = parser.parse_args()
  if given.smoke:
    main('smoke', FRAMES[:1], count=2, repeats=1, out=given.json)
  else:
    main('laptop', FRAMES, count=128, repeats=5, out=given.json)
