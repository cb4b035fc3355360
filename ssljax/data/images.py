"""Reads image files of any kind and brings them into one size.

The content of a file decides what it is, not its name. The user's files have
every size and mode, and some are broken. Whatever goes wrong with a file is
raised as a `BadImage`, whose text says what to do.
"""

import contextlib
import io
import math
import os
import pathlib
import stat
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssljax.data import workers
from ssljax.data.colours import to_rgb
from ssljax.data.magic import FORMATS, HEAD, kind_of
from ssljax.errors import UserError

# The most bytes that a file may have, and that decoding it may take. Pillow's
# limit counts pixels, of which some modes take five times as much as others.
MEMORY = 3 * 2**28
# What EXIF calls the orientations, and how a picture is turned upright.
ORIENTATION = 0x0112
TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# The most bytes of a pixel while a picture of this mode is decoded and
# converted, as measured. Pillow keeps RGB in four bytes. Each of the following
# takes four more: turning a picture, a colour profile, a progressive JPEG.
BYTES = {'RGB': 4, '1': 5, 'L': 5, 'P': 5, 'I;16': 10, 'I;16B': 10, 'RGBA': 16}
OTHER_BYTES, FURTHER_BYTES = 20, 4
FURTHER = {'exif', 'icc_profile', 'progressive'}


class Room:
  """Memory that threads share while each decodes a picture.

  Small pictures are decoded at once, as many as there are threads; photographs
  wait for each other, or the memory would grow with the number of cores.
  """

  def __init__(self, size: int):
    self._size, self._used = size, 0
    self._freed = threading.Condition()

  @contextlib.contextmanager
  def taken(self, needed: int) -> Iterator[None]:
    """Waits until so many bytes are free, or all are."""
    with self._freed:
      self._freed.wait_for(
        lambda: not self._used or self._used + needed <= self._size
      )
      self._used += needed
    try:
      yield
    finally:
      with self._freed:
        self._used -= needed
        self._freed.notify_all()


# Blocks of Pillow's usual size are small enough for the C library to keep in
# each thread after a photograph is gone. Larger blocks go back to the system.
_core: Any = Image.core
_core.set_block_size(2**26)
ROOM = Room(2**26 + 2**24 * workers.available_cores())


class BadImage(UserError):
  """A file that cannot be used, and why; the caller adds the file's name."""


def read_image(file: str | os.PathLike[str] | bytes | BinaryIO) -> Image.Image:
  """Reads an image to its end and returns the picture as RGB.

  The picture is turned upright by its EXIF orientation. An animation gives its
  first frame, a TIFF its first page.

  Args:
    file: a path, the bytes of a file, or a file opened for reading bytes.

  Raises:
    BadImage: the content is no image of `FORMATS`, the file ends early, or the
      picture would take more memory than `MEMORY` or has more pixels than
      Pillow's limit. Nothing else that a decoder raises gets out.
  """
  if isinstance(file, str | os.PathLike):
    file = read_bytes(file)
  with _decoders_errors():
    data = file if isinstance(file, bytes) else file.read()
    with _opened(io.BytesIO(data)) as image, ROOM.taken(_check_size(image)):
      # Only here is the file read to its end.
      image.load()
      return to_rgb(upright(image))


def size_of(path: str | os.PathLike[str]) -> tuple[int, int]:
  """The (width, height) of a picture, upright, as the head of its file says.

  `read_image` may still find another size, because the orientation of a PNG may
  stand at its end.

  Raises:
    BadImage: as `read_image`, for what the head of the file tells.
  """
  _check_file(path)
  with _decoders_errors(), open(path, 'rb') as file, _opened(file) as image:
    _check_size(image)
    wide, tall = image.size
    # Asked for what it lacks, Pillow would decode a PNG to its end.
    known = image.format != 'PNG' or 'exif' in image.info
    turned = known and _orientation(image) in (5, 6, 7, 8)
    return (tall, wide) if turned else (wide, tall)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
  """The content of a regular file; a pipe or a device is never opened.

  Raises:
    BadImage: there is no such file, or the file is too large or cannot be read.
  """
  _check_file(path)
  with _decoders_errors():
    return pathlib.Path(path).read_bytes()


def upright(image: Image.Image) -> Image.Image:
  """Turns a picture as its EXIF says, if the EXIF can be understood at all."""
  turn = TURNS.get(_orientation(image))
  return image if turn is None else image.transpose(turn)


def _check_file(path: str | os.PathLike[str]) -> None:
  try:
    found = os.stat(path)
  except (OSError, ValueError) as error:
    if os.path.islink(path):
      raise BadImage(
        'found a link that leads to no file; mend or remove it'
      ) from None
    why = getattr(error, 'strerror', None) or error
    raise BadImage(f'found it unreadable ({why}); check the path') from None
  if not stat.S_ISREG(found.st_mode):
    kinds = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe'}
    kind = kinds.get(stat.S_IFMT(found.st_mode), 'a device or a socket')
    if not os.access(path, os.R_OK):
      kind += ' that may not be opened'
    raise BadImage(f'found {kind}; expected a file')
  if found.st_size > MEMORY:
    raise BadImage(
      f'found a file of {found.st_size / 2**20:,.0f} MB; expected at most '
      f'{MEMORY / 2**20:,.0f} MB; make the image smaller'
    )


@contextlib.contextmanager
def _decoders_errors() -> Iterator[None]:
  """Raises whatever a decoder raises as a BadImage."""
  try:
    yield
  except BadImage:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise BadImage(
      f'found more than {Image.MAX_IMAGE_PIXELS:,} pixels; make the image '
      'smaller'
    ) from None
  except UnidentifiedImageError:
    raise BadImage('found its first bytes damaged; replace it') from None
  except MemoryError:
    raise BadImage(
      'found too little memory to decode it; make the image smaller'
    ) from None
  # Decoders meet broken files with errors of many kinds, struct.error and
  # TypeError among them.
  except Exception as error:
    why = getattr(error, 'strerror', None) or error
    why = str(why).strip() or type(error).__name__
    raise BadImage(f'found it unreadable ({why}); replace it') from None


def _opened(file: BinaryIO) -> Image.Image:
  """Opens an image by its first bytes; only the head of it is read."""
  kind = kind_of(file.read(HEAD))
  file.seek(0)
  if kind not in FORMATS:
    raise BadImage(
      f'found {kind or "no image"} in it; expected one of '
      f'{", ".join(FORMATS)}; {"convert" if kind else "replace"} the file'
    )
  # Pillow's decoders of other formats are left out: nobody needs them, and
  # each may have bugs of its own.
  return Image.open(file, formats=(kind,))


def _check_size(image: Image.Image) -> int:
  """The bytes that decoding a picture takes; refuses a picture of too many."""
  # Pillow only warns up to twice its limit, and a warnings filter that makes
  # this an error is not safe in threads.
  pixels = image.width * image.height
  if pixels > (Image.MAX_IMAGE_PIXELS or math.inf):
    raise Image.DecompressionBombError
  further = FURTHER_BYTES * len(FURTHER & image.info.keys())
  needed = pixels * (BYTES.get(image.mode, OTHER_BYTES) + further)
  if needed > MEMORY:
    raise BadImage(
      f'found {image.width:,} x {image.height:,} pixels, which take '
      f'{needed / 2**20:,.0f} MB to decode; expected at most '
      f'{MEMORY / 2**20:,.0f} MB; make the image smaller'
    )
  return needed


def _orientation(image: Image.Image) -> int:
  """What EXIF says of the orientation; 1, upright, if it says nothing known."""
  # Cameras and programs write EXIF of every kind, and Pillow raises what it
  # meets there.
  try:
    found = image.getexif().get(ORIENTATION)
    return found if found in TURNS else 1
  except Exception:
    return 1


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
  # The median, which NumPy would compute ten times more slowly.
  ordered = np.sort(np.concatenate(border), axis=0).astype(int)
  median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2
  framed = np.empty((height, width, 3), np.uint8)
  framed[:] = median
  top = (height - size[1]) // 2
  framed[top : top + size[1], : size[0]] = pixels
  return framed, size[0]
