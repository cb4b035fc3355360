"""Reads and decodes each image of a folder once, on all cores."""

import contextlib
import functools
import hashlib
import pathlib
import sys
import warnings
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tqdm
from PIL import Image

from ssljax.data import images, workers
from ssljax.data.files import printed

CHUNK = 32  # the files that a worker decodes at a time
# Threads are held up by Python's lock on small images, but start at once.
MANY = 2000  # the files from which on processes take less time
BLANK = 8  # a picture whose values differ by at most this shows nothing

Cut = Callable[[Image.Image], tuple[np.ndarray, int]]


class Reading(NamedTuple):
  """What was read of one file.

  Attributes:
    bad: why it cannot be used; '' if it can.
    size: (width, height) of the picture, in pixels.
    digest: the SHA-256 of the file.
    pixels: uint8 (height, width, 3), the picture as it was cut; None where
      pixels are not kept.
    shown: columns of `pixels` that show the picture.
    text: rows of `pixels` from the first that shows something to the last; 0 if
      the picture shows nothing.
  """

  bad: str
  size: tuple[int, int] = (0, 0)
  digest: bytes = b''
  pixels: np.ndarray | None = None
  shown: int = 0
  text: int = 0


class Contents(NamedTuple):
  """What was read of a folder's files.

  Attributes:
    names: the files that can be used, as they were given.
    skipped: (file, reason) of the others.
    readings: of each of `names`, without the pixels.
    pixels: uint8 (count, height, width, 3); None where pixels are not kept.
  """

  names: list[str]
  skipped: list[tuple[str, str]]
  readings: list[Reading]
  pixels: np.ndarray | None

  @property
  def blank(self) -> list[str]:
    """The files whose pictures show nothing."""
    pairs = zip(self.names, self.readings, strict=True)
    return [name for name, reading in pairs if not reading.text]


def sizes_of(
  directory: pathlib.Path, files: Sequence[str], *, progress: bool = True
) -> tuple[dict[str, tuple[int, int]], list[tuple[str, str]]]:
  """Looks at the head of every file, which takes little time.

  Returns:
    The size of each picture, by its file, and (file, reason) of the files that
    cannot be used.
  """

  sizes, skipped = {}, []
  # Threads would take longer, because they would wait for Python's lock.
  with _bar('looking at', len(files), progress) as bar:
    for file in files:
      bar.update()
      try:
        sizes[file] = images.size_of(directory / file)
      except images.BadImage as error:
        skipped.append((file, str(error)))
  return sizes, skipped


def read_files(
  directory: pathlib.Path,
  files: Sequence[str],
  cut: Cut,
  *,
  size: int,
  memory: int,
  progress: bool = True,
  helpers: Sequence[workers.Worker] = (),
) -> Contents:
  """Reads and decodes every file once, on all cores.

  Args:
    directory: the folder.
    files: the files, relative to the folder.
    cut: brings an RGB image into the form that is kept; it returns uint8
      (height, width, 3) and the columns of it that show the picture. Worker
      processes import it by its name.
    size: the bytes of an image in this form.
    memory: the most bytes of images to keep; with more, none is kept.
    progress: whether to show a progress bar.
    helpers: worker processes that `helpers_for` has started.
  """
  keep = size * len(files) <= memory
  names, skipped, readings, pixels = [], [], [], None
  found = _readings(directory, files, cut, keep, helpers)
  bar = _bar('decoding', len(files), progress)
  with contextlib.closing(found), bar:
    for file, reading in zip(files, found, strict=True):
      bar.update()
      if reading.bad:
        skipped.append((file, reading.bad))
        continue
      if reading.pixels is not None:
        if pixels is None:
          pixels = np.empty((len(files), *reading.pixels.shape), np.uint8)
        pixels[len(names)] = reading.pixels
      names.append(file)
      readings.append(reading._replace(pixels=None))
  if pixels is not None:
    pixels = pixels[: len(names)]
  return Contents(names, skipped, readings, pixels)


def helpers_for(
  files: Sequence[str],
) -> contextlib.AbstractContextManager[list[workers.Worker]]:
  """The worker processes that so many files are worth, which may be none.

  They start while this process still looks at the heads of the files.
  """
  cores = workers.available_cores()
  return workers.started(cores if cores > 1 and len(files) > MANY else 0)


def _readings(
  directory: pathlib.Path,
  files: Sequence[str],
  cut: Cut,
  keep: bool,
  helpers: Sequence[workers.Worker],
) -> Generator[Reading, None, None]:
  """The reading of each file, in order, from processes or from threads."""
  cores = workers.available_cores()
  if cores == 1 or len(files) <= MANY:
    read = functools.partial(read_file, cut=cut, keep=keep)
    with ThreadPoolExecutor(cores) as threads:
      yield from threads.map(read, (directory / file for file in files))
    return
  tasks = (
    (directory, files[start : start + CHUNK], cut, keep)
    for start in range(0, len(files), CHUNK)
  )
  with contextlib.closing(
    workers.ordered_map(read_chunk, tasks, processes=cores, workers=helpers)
  ) as chunks:
    for chunk in chunks:
      yield from chunk


def read_chunk(
  task: tuple[pathlib.Path, Sequence[str], Cut, bool],
) -> list[Reading]:
  """`read_file` of several files; the task of a worker process."""
  # Pillow warns of odd EXIF and the like without naming the file.
  warnings.filterwarnings('ignore', module='PIL')
  directory, files, cut, keep = task
  return [read_file(directory / file, cut=cut, keep=keep) for file in files]


def read_file(path: pathlib.Path, *, cut: Cut, keep: bool) -> Reading:
  """Reads and decodes one file."""
  try:
    data = images.read_bytes(path)
    image = images.read_image(data)
  except images.BadImage as error:
    return Reading(str(error))
  pixels, shown = cut(image)
  return Reading(
    bad='',
    size=image.size,
    digest=hashlib.sha256(data).digest(),
    pixels=pixels if keep else None,
    shown=shown,
    text=_text_rows(pixels),
  )


def _text_rows(pixels: np.ndarray) -> int:
  """Rows from the first that shows something to the last; 0 for one colour.

  A row shows something if its values differ by at least half as much as those
  of the whole picture.
  """

  def spreads(place: int) -> tuple[int, np.ndarray]:
    channel = pixels[..., place]
    high, low = channel.max(axis=1), channel.min(axis=1)
    return int(high.max()) - int(low.min()), high - low

  whole, of_rows = spreads(1)
  if whole <= BLANK:  # rarely, only the colours besides green differ
    whole, of_rows = max(spreads(0), spreads(2), key=lambda found: found[0])
  if whole <= BLANK:
    return 0
  rows = np.flatnonzero(of_rows >= whole / 2)
  return int(rows[-1] - rows[0] + 1) if len(rows) else len(pixels)


def digest(
  names: Sequence[str],
  digests: Sequence[bytes],
  texts: Sequence[str] | None = None,
) -> str:
  """Hashes the names and the contents of all files, and their labels.

  Args:
    names: the files.
    digests: the SHA-256 of each of them.
    texts: the label of each of them, '' for none; None if there are no labels.

  Returns:
    The first 12 hexadecimal digits of the SHA-256.
  """
  found = hashlib.sha256()
  for name, content, text in zip(
    names, digests, texts or [''] * len(names), strict=True
  ):
    # A name may hold bytes that are not valid UTF-8.
    found.update(f'{name}\0{text}\0'.encode(errors='surrogateescape'))
    found.update(content)
  return found.hexdigest()[:12]


def blank_warning(blank: Collection[str], total: int) -> list[str]:
  """A line that names the pictures that show nothing, if there are some."""
  if not blank:
    return []
  named = ', '.join(printed(name) for name in list(blank)[:8])
  more = ', ...' if len(blank) > 8 else ''
  return [
    f'{len(blank)} of {total:,} pictures show nothing, because they have only '
    f'one colour: {named}{more}. Look at them, and remove them if they are '
    'empty.'
  ]


def _bar(what: str, total: int, progress: bool) -> tqdm.tqdm:
  return tqdm.tqdm(
    total=total,
    desc=f'{what} images',
    unit=' images',
    disable=not progress,
    # A file or a CI log gets few lines instead of a bar that moves.
    mininterval=0.1 if sys.stderr.isatty() else 10,
  )
