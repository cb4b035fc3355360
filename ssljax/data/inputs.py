"""What users give as images, one after the other: paths, bytes, arrays, ...

Nothing is held longer than it is needed, so a generator may go on for ever.
"""

import collections
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ssljax.data import images as images_lib
from ssljax.data import workers
from ssljax.data.files import list_files, printed
from ssljax.errors import UserError

Made = TypeVar('Made')
BYTES = (bytes, bytearray, memoryview)
PATHS = (str, os.PathLike)
AHEAD = 64  # the images that are decoded before they are asked for
AHEAD_BYTES = 2**25  # the most bytes of files that wait for that


def each(images: Any) -> Iterator[Any]:
  """One image or several, one after the other.

  A folder stands for its images, in the order of their names. A folder that has
  none gives the `UserError` that says so, in its place.

  Raises:
    UserError: what is neither an image nor several.
  """
  given: Any = images
  if hasattr(images, '__array__') and not isinstance(images, Image.Image):
    given = np.asarray(images)  # other libraries' arrays have it too
    several = given.ndim not in (2, 3)
  else:
    one = (*PATHS, *BYTES, Image.Image)
    several = not isinstance(images, one) and not hasattr(images, 'read')
  try:
    items: Iterator[Any] = iter(given) if several else iter([given])
  except TypeError:
    raise refusal(given) from None
  return _opened(items)


def _opened(items: Iterator[Any]) -> Iterator[Any]:
  for item in items:
    if not isinstance(item, PATHS) or not os.path.isdir(item):
      yield item
      continue
    folder = pathlib.Path(os.fsdecode(item))
    try:
      found: Any = [folder / name for name in list_files(folder)]
    except UserError as error:
      found = [error]
    yield from found


def prepared(
  items: Iterable[Any], prepare: Callable[[Any], Made]
) -> Iterator[Made | UserError]:
  """`prepare` of each item, in order; its `UserError` where it raises one.

  Files are prepared in threads, ahead of their use. Other items are prepared
  when they come, because a generator may close or reuse them afterwards.
  """

  def outcome(item: Any) -> Made | UserError:
    if isinstance(item, UserError):
      return item
    try:
      return prepare(item)
    except UserError as error:
      return error

  with ThreadPoolExecutor(workers.available_cores()) as threads:
    waiting, held = collections.deque(), 0
    try:
      for item in items:
        size = len(item) if isinstance(item, BYTES) else 0
        if isinstance(item, (*PATHS, *BYTES)):
          waiting.append((threads.submit(outcome, item).result, size))
        else:
          found = outcome(item)
          waiting.append((lambda found=found: found, size))
        held += size
        while len(waiting) > AHEAD or held > AHEAD_BYTES:
          result, size = waiting.popleft()
          held -= size
          yield result()
      for result, _ in waiting:
        yield result()
    finally:
      threads.shutdown(cancel_futures=True)


def picture(image: Any) -> Image.Image:
  """A path, the bytes of a file, an open file, a PIL image or an array as RGB.

  Raises:
    UserError: for anything else, and for what cannot be read as an image.
  """
  try:
    if isinstance(image, PATHS):
      return images_lib.read_image(os.fsdecode(image))
    if isinstance(image, BYTES):
      return images_lib.read_image(bytes(image))
    if isinstance(image, Image.Image) and all(image.size):
      # As a path's, or a photograph would read differently when opened before.
      return images_lib.to_rgb(images_lib.upright(image))
    if hasattr(image, 'read') and not isinstance(image, Image.Image):
      return images_lib.read_image(_content(image))
  except images_lib.BadImage as error:
    raise UserError(f'{_called(image)}: {error}') from None
  if not hasattr(image, '__array__'):
    raise refusal(image)
  array = np.asarray(image)
  if array.ndim == 3 and array.shape[-1] == 1:
    array = array[..., 0]
  known = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
  if array.dtype != np.uint8 or not known or not array.size:
    raise refusal(array)
  return images_lib.to_rgb(Image.fromarray(array))


def _content(file: Any) -> bytes:
  """All bytes of an open file, wherever its position is."""
  try:
    if hasattr(file, 'seekable') and file.seekable():
      file.seek(0)
    content = file.read()
  except (OSError, ValueError) as error:  # a closed file raises a ValueError
    raise images_lib.BadImage(f'found it unreadable ({error})') from None
  if not isinstance(content, bytes):
    raise images_lib.BadImage("found a file of text; open it by open(p, 'rb')")
  return content


def _called(image: Any) -> str:
  """What an error calls an image."""
  if isinstance(image, PATHS):
    return printed(os.fsdecode(image))
  if isinstance(image, BYTES):
    return f'{len(image):,} bytes'
  name = getattr(image, 'name', None)
  return printed(name) if isinstance(name, str) else f'a {type(image).__name__}'


def refusal(found: Any) -> UserError:
  """What to raise for something that is no image."""
  name = f'{found!r:.80}'
  if isinstance(found, np.ndarray):
    name = f'an array of shape {found.shape} and dtype {found.dtype}'
  return UserError(
    f'Found {name}; expected a path, the bytes of a file, an open file, a PIL '
    'image or a uint8 array (height, width) or (height, width, 1, 3 or 4), or '
    'several in a list. Values in [0, 1] become uint8 by '
    '(255 * x).astype(np.uint8).'
  )
