"""Image files and pictures of any kind, made into what a network reads.

A person's files are of every size and mode, and some are broken; all that can
go wrong with one is said by `BadImage`, in the words of a person.
"""

import math
import pathlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssljax.errors import UserError

FORMATS = {
  '.png': 'PNG',
  '.jpg': 'JPEG',
  '.jpeg': 'JPEG',
  '.bmp': 'BMP',
  '.webp': 'WEBP',
  '.gif': 'GIF',
}


class BadImage(UserError):
  """Why a file or a picture is not used; its name is for the caller to add."""


def read_image(file) -> Image.Image:
  """The picture in a file, decoded to its end, as RGB.

  Of an animation the first frame; turned as its EXIF orientation says.

  Raises:
    BadImage: a suffix that is not in `FORMATS`, content of another format or
      none, a file that ends early, more pixels than Pillow's limit.
  """
  path = pathlib.Path(file)
  expected = FORMATS.get(path.suffix.lower())
  if expected is None:
    raise BadImage(
      f'found a {path.suffix or "file without suffix"}; expected one of '
      f'{", ".join(FORMATS)}; convert it'
    )
  try:
    # Others have bugs of their own, and nobody asked for them.
    with Image.open(path, formats=tuple(set(FORMATS.values()))) as image:
      # MPO is a JPEG with more pictures after it, as telephones write them.
      found = 'JPEG' if image.format == 'MPO' else image.format
      if found != expected:
        raise BadImage(
          f'found {found} in a {path.suffix}; rename it to what it is'
        )
      # Up to twice its limit Pillow only warns, and a filter that makes this an
      # error is not safe in threads.
      if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
      # Only here is the file read to its end.
      return to_rgb(ImageOps.exif_transpose(image))
  except BadImage:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise BadImage(
      f'found more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller'
    ) from None
  except UnidentifiedImageError:
    raise BadImage(f'found no {expected} image in it; replace it') from None
  except (OSError, SyntaxError, ValueError, EOFError) as error:
    raise BadImage(f'found it unreadable ({error}); replace it') from None


def to_rgb(image: Image.Image) -> Image.Image:
  """Any mode as RGB: transparency over white, 16-bit gray by its range."""
  if image.mode.startswith('I;16') or image.mode == 'I':
    # `convert` would clip, not scale, and leave most of such a picture white.
    gray = np.asarray(image).astype(np.float64) / 257
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(ground, image)
  return image.convert('RGB')


def fit(image: Image.Image, height: int, width: int) -> tuple[np.ndarray, int]:
  """A picture in a frame of one size, its aspect kept.

  It fills the frame's height, or its width where it is the wider one, and
  stands at the left; a wide one in the middle of the height. The rest has the
  median colour of the picture's border, so that no edge shows where it ends.

  Args:
    image: RGB.
    height: of the frame, in pixels.
    width: of the frame.

  Returns:
    uint8 `(height, width, 3)`, and the width of the picture in it. A picture of
    the frame's own size comes back as it is.
  """
  scale = min(height / image.height, width / image.width)
  size = (
    min(width, max(1, round(scale * image.width))),
    min(height, max(1, round(scale * image.height))),
  )
  if size != image.size:
    image = image.resize(size, Image.Resampling.BICUBIC)
  pixels = np.asarray(image)
  if size == (width, height):
    return pixels, width
  border = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
  framed = np.empty((height, width, 3), np.uint8)
  framed[:] = np.median(np.concatenate(border), axis=0)
  top = (height - size[1]) // 2
  framed[top : top + size[1], : size[0]] = pixels
  return framed, size[0]
