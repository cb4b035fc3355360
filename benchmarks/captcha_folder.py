"""A folder of images that the renderer does not make, and how it is read.

  python benchmarks/captcha_folder.py make DIR     the package `captcha` draws
  python benchmarks/captcha_folder.py score RUN DIR/new
  python benchmarks/captcha_folder.py --smoke      both, small, in seconds

`make` writes 2,000 images of 4 to 6 digits into DIR/mine, labels for 300 of
them beside them, and 1,000 others with labels into DIR/new. The package draws
from the operating system's randomness and cannot be seeded, so no two folders
are the same. `score` reads DIR/new with a trained run, or with the package
ddddocr, where that is installed, as `score ddddocr DIR/new`.
"""

import csv
import pathlib
import secrets
import sys
import tempfile

import _smoke
from captcha.image import ImageCaptcha

import ssljax
from ssljax import evals


def make(folder: pathlib.Path, count: int, labelled: int) -> None:
  """`count` images, and a labels.csv that names the first `labelled`."""
  folder.mkdir(parents=True)
  draw = ImageCaptcha()  # its defaults: 160x60
  with (folder / 'labels.csv').open('w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(('file', 'text'))
    for place in range(count):
      length = 4 + secrets.randbelow(3)
      text = ''.join(secrets.choice('0123456789') for _ in range(length))
      name = f'{place:05}.png'
      draw.write(text, str(folder / name))
      if place < labelled:
        rows.writerow((name, text))


def read(run: str, paths) -> list[str]:
  """What a trained run, or ddddocr, reads in each file."""
  if run == 'ddddocr':
    import ddddocr

    reader = ddddocr.DdddOcr(show_ad=False)
    return [reader.classification(path.read_bytes()) for path in paths]
  return [text for text, _ in ssljax.load(run).recognize(paths)]


def score(run: str, folder: pathlib.Path) -> str:
  """The figures of a trained run on all labelled images of a folder."""
  with (folder / 'labels.csv').open(newline='') as file:
    names, labels = zip(*list(csv.reader(file))[1:], strict=True)
  found = read(run, [folder / name for name in names])
  samples = evals.per_sample(found, labels)
  accuracy = evals.bootstrap(samples.accuracies)
  exact = evals.bootstrap(samples.exact)
  return (
    f'{len(labels)} images: exact match {samples.exact.mean():.3f} '
    f'[{exact[0]:.3f}, {exact[1]:.3f}], edit-distance accuracy '
    f'{samples.accuracies.mean():.3f} [{accuracy[0]:.3f}, {accuracy[1]:.3f}]'
  )


def smoke() -> None:
  """Trains on a few images of one folder for two steps, and reads another."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    make(folder / 'mine', 24, 16)
    make(folder / 'new', 8, 8)
    _smoke.run(
      f'supervised_ocr.py:smoke,data={folder / "mine"}',
      folder / 'run',
      folder / 'data',
      '--config.supervised.steps=2',
      '--config.supervised.batch_size=8',
    )
    print(score(str(folder / 'run'), folder / 'new'))


if __name__ == '__main__':
  match sys.argv[1:]:
    case ['--smoke']:
      smoke()
    case ['make', directory]:
      make(pathlib.Path(directory) / 'mine', 2000, 300)
      make(pathlib.Path(directory) / 'new', 1000, 1000)
    case ['score', run, directory]:
      print(score(run, pathlib.Path(directory)))
    case _:
      sys.exit(__doc__)
