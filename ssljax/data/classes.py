"""A folder of a person's own images, whose folders are their classes.

  DIR/<class>/**/*.png      by their names, a fifth tests, a tenth validates
  DIR/train/<class>/*.png   as given, with DIR/validation/ and DIR/test/
  DIR/*.png                 without a class: all are to learn from

Every image is decoded when the folder is opened, so that a broken one is known
before any training.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssljax.data import folder, images
from ssljax.data.image_sources import ImageSource
from ssljax.data.labels import held_out, shorten
from ssljax.errors import UserError

SPLITS = ('train', 'validation', 'test')
VALIDATION, TEST = 0.1, 0.2  # shares of the images that have a class


class Place(NamedTuple):
  """Where an image belongs; `name` is its class, or ''."""

  file: str
  split: str
  name: str


def open_classes(
  directory, *, stored: int, memory: int, progress: bool = True
) -> tuple[
  dict[str, Callable[[], ImageSource]],
  tuple[str, ...],
  str,
  list[tuple[str, str]],
]:
  """Looks at all of a folder.

  Args:
    directory: the folder.
    stored: side of the squares that pictures are cut to, in pixels.
    memory: the most bytes of decoded images that a split may hold.
    progress: whether to show a bar.

  Returns:
    What `image_sets.Images` takes: what opens each split, the classes, a digest
    of the contents, and (file, reason) of what is not used: files that are no
    images, and images without a class that would validate or test.

  Raises:
    UserError: no folder, no images, too many files that are none, or folders
      that can be read in more than one way.
  """
  directory = pathlib.Path(directory)
  files = folder.list_files(directory)
  skipped = folder.unreadable(
    lambda file: middle_square(images.read_image(directory / file), stored),
    files,
    progress=progress,
  )
  folder.check_skipped(directory, skipped, len(files))
  bad = {file for file, _ in skipped}
  places = _places(directory, [file for file in files if file not in bad])
  used = [place for place in places if place.name or place.split == 'train']
  skipped += [
    (file, f'found no folder of a class in {split}; put it into one')
    for file, split, name in places
    if not name and split != 'train'
  ]
  classes = sorted({place.name for place in used if place.name})
  openers = {}
  for split in SPLITS:
    chosen = [place for place in used if place.split == split]
    if chosen:
      openers[split] = functools.partial(
        _source, directory, chosen, classes, stored, memory
      )
  digest = folder.digest(directory, [place.file for place in used], {})
  return openers, tuple(classes), digest, skipped


def middle_square(image: Image.Image, size: int) -> np.ndarray:
  """uint8 (size, size, 3): the middle of an RGB image, its shorter side whole.

  Cut before it is resized: a narrow strip would else grow beyond all memory.
  """
  side = min(image.size)
  left, top = ((length - side) // 2 for length in image.size)
  box = (left, top, left + side, top + side)
  return np.asarray(
    image.resize((size, size), Image.Resampling.BICUBIC, box=box)
  )


def _source(directory, places, classes, stored, memory) -> ImageSource:
  names = [place.file for place in places]

  def read(position):
    try:
      image = images.read_image(directory / names[position])
    except images.BadImage as error:
      raise UserError(
        f'{names[position]} was an image when {directory} was opened, and is '
        f'none now: {error}.'
      ) from None
    return middle_square(image, stored)

  number = {name: place for place, name in enumerate(classes)}
  labels = [number.get(place.name, -1) for place in places]
  return ImageSource(read, labels, names).held(memory)


def _places(directory: pathlib.Path, files: list[str]) -> list[Place]:
  """Which split and class each file is of, by its folders and its name."""
  folders = {file: pathlib.PurePosixPath(file).parts[:-1] for file in files}
  if _has_splits(directory, folders.values()):
    places = [
      Place(file, inside[0], inside[1] if len(inside) > 1 else '')
      for file, inside in folders.items()
    ]
    _check_given(directory, places)
    return places
  labelled = [file for file, inside in folders.items() if inside]
  test = _drawn(labelled, TEST)
  either = _drawn(labelled, TEST + VALIDATION)

  def split(file):
    if file in test:
      return 'test'
    return 'validation' if file in either else 'train'

  return [
    Place(file, split(file), inside[0] if inside else '')
    for file, inside in folders.items()
  ]


def _has_splits(directory, folders: Iterable[tuple[str, ...]]) -> bool:
  """Whether the outermost folders are splits rather than classes."""
  folders = list(folders)
  inside = [names for names in folders if names and names[0] in SPLITS]
  others = {names[0] if names else '' for names in folders} - {*SPLITS}
  if not inside or not others:
    return bool(inside)
  if all(len(names) == 1 for names in inside):
    return False  # classes that happen to be called so, beside other classes
  found = sorted({names[0] for names in inside})
  raise UserError(
    f'Found the folders {", ".join(found)} with folders in them, and beside '
    'them images in:\n  '
    + shorten(sorted(name or str(directory) for name in others))
    + f'\nExpected either {", ".join(SPLITS)} alone, each with folders of its '
    'classes, or folders of classes alone. Rename or move them.'
  )


def _drawn(files: list[str], share: float) -> set[str]:
  """A share of the files, by their names alone: more files change no other."""
  # A name may hold bytes that are no text, which `held_out` could not hash.
  safe = {
    file.encode(errors='surrogateescape').decode('latin-1'): file
    for file in files
  }
  return {safe[name] for name in held_out(dict.fromkeys(safe), share)}


def _check_given(directory: pathlib.Path, places: list[Place]) -> None:
  """UserError unless there is something to learn from, of every class."""
  train = {place.name for place in places if place.split == 'train'}
  if not train:
    raise UserError(
      f'Found no image to learn from in {directory}; expected some in its '
      'folder train.'
    )
  for split in SPLITS[1:]:
    unknown = {place.name for place in places if place.split == split}
    unknown -= train | {''}
    if unknown:
      raise UserError(
        f'Found classes in {directory / split} of which train has no image; '
        'expected the same names. Rename them, or add images of them:\n  '
        + shorten(sorted(unknown))
      )
