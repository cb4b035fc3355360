"""Images that the renderer does not make: pictures by the package `captcha`.

  python benchmarks/captcha_folder.py make DIR
  python benchmarks/captcha_folder.py run DIR --start=rendered
  python benchmarks/captcha_folder.py score RUN DIR/new
  python benchmarks/captcha_folder.py --smoke      make and run, in seconds

A folder has 2,000 pictures of 4 to 6 digits, of which 0, 30, 100 or 300 have
labels, in three draws of the labels. 2,000 other pictures are the test. `run`
trains with the command of a user, and `score` also takes ddddocr as RUN, where
that package is installed. `--help` says more. Needs `.[benchmarks]`.
"""

import random
import sys
from unittest import mock

import _folders
from captcha import image

PAINTER = image.ImageCaptcha()  # its defaults: 160x60
SEED = 0


class Seeded(random.Random):
  """What the package takes from `secrets`, but of a seed."""

  randbelow = random.Random.randrange
  randbits = random.Random.getrandbits


def draw(split: str, place: int):
  """The text and the picture at a place of a split."""
  rng = Seeded(f'{SEED} {split} {place}')
  text = ''.join(rng.choice('0123456789') for _ in range(rng.randint(4, 6)))
  # The package draws from the operating system's randomness only.
  with mock.patch.object(image, 'secrets', rng):
    return text, PAINTER.generate_image(text)


KIND = _folders.Kind('captcha', draw, count=2000, labels=(0, 30, 100, 300))

if __name__ == '__main__':
  _folders.main(KIND, __doc__, sys.argv[1:])
