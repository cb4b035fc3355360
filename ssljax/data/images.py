"""Reads image files of any kind and brings them into one mode and size.

The user's files have every size and mode, and some are broken. Whatever goes
wrong with a file is raised as a `BadImage`, whose text says what to do.
"""

import math
import os
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
  """A file that cannot be used, and why; the caller adds the file's name."""


def read_image(file: str | os.PathLike[str]) -> Image.Image:
  """Reads a file to its end and returns the picture as RGB.

  The picture is turned upright by its EXIF orientation. An animation gives its
  first frame.

  Raises:
    BadImage: the suffix is not in `FORMATS`, the content is of another format
      or not an image, the file ends early, or the image has more pixels than
      Pillow's limit.
  """
  path = pathlib.Path(file)
  expected = FORMATS.get(path.suffix.lower())
  if expected is None:
    raise BadImage(
      f'found a {path.suffix or "file without suffix"}; expected one of '
      f'{", ".join(FORMATS)}; convert the file'
    )
  try:
    # Pillow's decoders of other formats are left out: nobody needs them, and
    # each may have bugs of its own.
    with Image.open(path, formats=tuple(set(FORMATS.values()))) as image:
      # Phones write MPO files: a JPEG with further pictures after it.
      found = 'JPEG' if image.format == 'MPO' else image.format
      if found != expected:
        raise BadImage(
          f'found {found} in a {path.suffix}; rename the file to match'
        )
      # Pillow only warns up to twice its limit, and a warnings filter that
      # makes this an error is not safe in threads.
      if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
      # Only here is the file read to its end.
      return to_rgb(ImageOps.exif_transpose(image))
  except BadImage:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise BadImage(
      f'found more than {Image.MAX_IMAGE_PIXELS:,} pixels; make the image '
      'smaller'
    ) from None
  except UnidentifiedImageError:
    raise BadImage(f'found no {expected} image in it; replace it') from None
  except (OSError, SyntaxError, ValueError, EOFError) as error:
    raise BadImage(f'found it unreadable ({error}); replace it') from None


def to_rgb(image: Image.Image) -> Image.Image:
  """Converts an image of any mode to RGB.

  Transparent pixels show white. 16-bit gray is scaled to 8 bits.
  """
  if image.mode.startswith('I;16') or image.mode == 'I':
    # `convert` would clip the values instead of scaling them, which leaves
    # most of such a picture white.
    gray = np.asarray(image).astype(np.float64) / 257
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(ground, image)
  return image.convert('RGB')


def size_in(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
  """(width, height) of a picture of this (width, height) in a frame."""
  wide, tall = size
  scale = min(height / tall, width / wide)
  return (
    min(width, max(1, round(scale * wide))),
    min(height, max(1, round(scale * tall))),
  )


def fit(image: Image.Image, height: int, width: int) -> tuple[np.ndarray, int]:
  """Resizes a picture to fit a frame, without changing its aspect ratio.

  The picture fills the height of the frame and stands at its left. A picture
  that would then be too wide fills the width instead, and stands in the middle
  of the height. The rest of the frame gets the median colour of the picture's
  border, so that there is no edge where the picture ends.

  Args:
    image: RGB.
    height: the frame's height, in pixels.
    width: the frame's width, in pixels.

  Returns:
    uint8 `(height, width, 3)`, and the width of the picture in it. A picture
    that already has the size of the frame is returned unchanged.
  """
  size = size_in(image.size, height, width)
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
