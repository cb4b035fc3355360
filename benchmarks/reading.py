"""How long reading takes with a trained run.

  python benchmarks/reading.py RUN [STAGE]
  python benchmarks/reading.py --smoke    a small run of its own, in seconds

Seconds until a new process has loaded the run, and has read a first image,
without and with programs that an earlier process has compiled; milliseconds of
a call by its number of images; images a second of the command, which decodes
files; and the same of the reader that `python -m ssljax.export` ships, where
`.[export]` is installed. The least of some repeats each.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import _smoke
import numpy as np
from PIL import Image

import ssljax
from ssljax import export, standalone
from ssljax.errors import UserError

COUNTS = (1, 2, 4, 8, 9, 16, 32, 64, 256)
# Imports, the checkpoint, and the first reading, in seconds.
START = """
import sys, time
start = time.perf_counter()
import ssljax, ssljax.reader
imported = time.perf_counter()
reader = ssljax.load(sys.argv[1], stage=sys.argv[2] or None)
loaded = time.perf_counter()
import numpy as np
reader.recognize(np.zeros((reader.height, reader.width, 3), np.uint8))
end = time.perf_counter()
print(imported - start, loaded - imported, end - loaded)
"""


def starts(run: str, stage: str, repeats: int) -> list[np.ndarray]:
  """(imports, checkpoint, first reading) of a first process and later ones."""
  with tempfile.TemporaryDirectory() as folder:
    environment = {**os.environ, 'SSLJAX_DATA_DIR': folder}
    environment.pop('JAX_COMPILATION_CACHE_DIR', None)

    def start() -> np.ndarray:
      command = [sys.executable, '-c', START, run, stage]
      return np.array(
        subprocess.check_output(command, env=environment, text=True).split(),
        float,
      )

    first = start()
    return [first, min((start() for _ in range(repeats)), key=sum)]


def main(run: str, stage: str, repeats: int, files: int) -> None:
  for name, seconds in zip(
    ('first process', 'later processes'),
    starts(run, stage, repeats),
    strict=True,
  ):
    imports, checkpoint, reading = seconds
    print(
      f'{name}: load {imports + checkpoint:.2f} s (imports {imports:.2f}, '
      f'checkpoint {checkpoint:.2f}), first reading {reading:.2f} s'
    )
  reader = ssljax.load(run, stage=stage or None)
  shape = reader.height, reader.width, 3
  images = np.random.default_rng(0).integers(0, 256, (COUNTS[-1], *shape))
  images = images.astype(np.uint8)
  for count in COUNTS:
    reader.recognize(images[:count])
    times = []
    for _ in range(repeats):
      start = time.perf_counter()
      reader.recognize(images[:count])
      times.append(time.perf_counter() - start)
    print(f'{count:4} images: {1e3 * min(times):.1f} ms')
  print_exported(run, stage, images, repeats)
  with tempfile.TemporaryDirectory() as folder:
    for place in range(files):
      path = pathlib.Path(folder) / f'{place:05}.png'
      Image.fromarray(images[place % len(images)]).save(path)
    start = time.perf_counter()
    for _ in reader.outcomes(folder):
      pass
    print(
      f'{files} files: {files / (time.perf_counter() - start):.0f} a second'
    )


def print_exported(
  run: str, stage: str, images: np.ndarray, repeats: int
) -> None:
  """Milliseconds of an exported reader, from fitted pixels to texts."""
  with tempfile.TemporaryDirectory() as made:
    out = pathlib.Path(made) / 'out'
    try:
      export.export(run, out, stage=stage or None)
    except UserError as error:
      if 'Install' not in str(error):
        raise
      print(f'exported: not measured ({error})')
      return
    for threads in (1, 0):
      reader = standalone.load(out / 'onnx_reader.py').Reader(
        out, threads=threads
      )
      for count in (1, 64):
        widths = np.full(count, images.shape[2])
        times = []
        for _ in range(repeats + 1):
          start = time.perf_counter()
          reader.read(images[:count], widths)
          times.append(time.perf_counter() - start)
        print(
          f'exported, {"one thread" if threads else "all cores"}: '
          f'{count:4} images: {1e3 * min(times):.1f} ms'
        )


def smoke() -> None:
  with tempfile.TemporaryDirectory() as folder:
    run = pathlib.Path(folder) / 'run'
    _smoke.run(
      'supervised_ocr.py:smoke',
      run,
      pathlib.Path(folder) / 'data',
      '--config.supervised.steps=2',
    )
    main(str(run), '', repeats=1, files=8)


if __name__ == '__main__':
  if sys.argv[1:] == ['--smoke']:
    smoke()
  else:
    main(sys.argv[1], ''.join(sys.argv[2:3]), repeats=5, files=2000)
