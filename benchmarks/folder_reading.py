"""How long a run takes until it has read a folder of pictures.

  python benchmarks/folder_reading.py
  python benchmarks/folder_reading.py --other CHECKOUT
  python benchmarks/folder_reading.py --smoke    few pictures, in seconds

12,000 PNG files of 160x60 pixels, of which 300 have labels, are decoded into
memory as the first stages of a run need them. --other compares with another
checkout of this repository, each in a process of its own and in turns; the
least of three times counts.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).parents[1]
DISTINCT = 2000  # the other files are links to these
LABELS = 300
READ = """
import sys, time
sys.path.insert(0, '')
from configs import supervised_ocr
from ssljax.data import datasets
if __name__ == '__main__':
  folder, kept = sys.argv[1:]
  config = supervised_ocr.get_config(f'smoke,data={folder},charset=digits')
  start = time.perf_counter()
  data = datasets.open_dataset(config.data.to_dict(), data_dir=kept)
  counts = [len(data.open(split)) for split in ('unlabeled', 'train', 'test')]
  print(counts[0], time.perf_counter() - start)
"""


def draw(folder: pathlib.Path, count: int) -> None:
  rng = np.random.default_rng(0)
  for place in range(count):
    path = folder / f'{place:05}.png'
    if place >= DISTINCT:
      os.link(folder / f'{place % DISTINCT:05}.png', path)
      continue
    noise = rng.integers(190, 256, (60, 160, 3), np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    pen.text((20, 10), f'{place:05}', fill=(40, 60, 120), font_size=36)
    picture.save(path)
  rows = [f'{place:05}.png,{place:05}\n' for place in range(min(count, LABELS))]
  (folder / 'labels.csv').write_text('file,text\n' + ''.join(rows))


def seconds(checkout: pathlib.Path, folder: pathlib.Path, count: int) -> float:
  """Until a process of this checkout has read the folder."""
  done = subprocess.run(
    [sys.executable, '-c', READ, str(folder), str(folder.parent / 'kept')],
    cwd=checkout,
    env=os.environ | {'PYTHONPATH': str(checkout)},
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    sys.exit(done.stderr)
  found, taken = done.stdout.split()[-2:]
  if int(found) < count - LABELS:
    sys.exit(f'Found {found} images; expected {count:,} without the labelled.')
  return float(taken)


def main(count: int, other: str | None, repeats: int = 3) -> None:
  checkouts = {'this': ROOT}
  if other:
    checkouts['other'] = pathlib.Path(other).absolute()
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made) / 'pictures'
    folder.mkdir()
    draw(folder, count)
    times = {name: [] for name in checkouts}
    for _ in range(repeats):
      for name, checkout in checkouts.items():
        times[name].append(seconds(checkout, folder, count))
  least = {name: min(found) for name, found in times.items()}
  for name, taken in least.items():
    print(f'{name}: {count:,} pictures in {taken:.1f} s')
  if other:
    print(f'ratio {least["other"] / least["this"]:.2f}')


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--other', metavar='CHECKOUT')
  parser.add_argument('--smoke', action='store_true')
  given = parser.parse_args()
  if given.smoke:
    main(40, str(ROOT), repeats=1)
  else:
    main(12_000, given.other)
