"""Opens a folder of the user's images in which each folder is a class.

  DIR/<class>/**/*.png      a hash of the name chooses the split of an image:
                            test for 20 % of the images, validation for 10 %
  DIR/train/<class>/*.png   the user chose the splits; DIR/validation/ and
                            DIR/test/ look the same
  DIR/*.png                 images without a class: all of them train

Every image is decoded when the folder is opened, so that a broken image is
reported before any training starts.
"""

import collections
import functools
import pathlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssljax.data import images, reading
from ssljax.data.files import check_skipped, list_files, printed
from ssljax.data.image_sources import ImageSource
from ssljax.data.labels import shorten
from ssljax.data.splits import held_out, split_named
from ssljax.errors import UserError

SPLITS = ('train', 'validation', 'test')
FEW = 5  # a class of fewer images to learn from is worth a warning
VALIDATION, TEST = 0.1, 0.2  # as shares of the images that have a class


class Place(NamedTuple):
  """The split and the class of an image file; `name` is the class, or ''."""

  file: str
  split: str
  name: str


def open_classes(
  directory: str | pathlib.Path,
  *,
  stored: int,
  memory: int,
  progress: bool = True,
) -> tuple[
  dict[str, Callable[[], ImageSource]],
  tuple[str, ...],
  str,
  list[tuple[str, str]],
  list[str],
  list[tuple[int, int]],
]:
  """Decodes every image of a folder once; sorts them into splits and classes.

  Args:
    directory: the folder.
    stored: the side of the squares that images are cut to, in pixels.
    memory: the most bytes of decoded images to hold. A larger folder is decoded
      anew at every access.
    progress: whether to show a progress bar.

  Returns:
    The arguments of `image_sets.Images`: a function that opens each split, the
    names of the classes, a digest of the contents, a list of (file, reason)
    for the files that are not used, and warnings; and (width, height) of each
    picture. The files that are not used cannot be read as images, or are images
    in `validation` or `test` that have no class.

  Raises:
    UserError: the folder does not exist or has no images, too many of its
      files cannot be read as images, its folders can be understood in more
      than one way, or given splits leave `train` empty or without an image of
      some class.
  """
  directory = pathlib.Path(directory)
  files = list_files(directory)
  found = reading.read_files(
    directory,
    files,
    functools.partial(_square, stored),
    size=3 * stored * stored,
    memory=memory,
    progress=progress,
  )
  check_skipped(directory, found.skipped, len(files))
  places = _places(directory, found.names)
  used = [place.name != '' or place.split == 'train' for place in places]
  skipped = found.skipped + [
    (
      file,
      f'found no class for this image of {split}; expected it in a folder '
      'named after its class; move it there',
    )
    for (file, split, _), use in zip(places, used, strict=True)
    if not use
  ]
  classes = sorted({place.name for place in places if place.name})
  openers = {}
  for split in SPLITS:
    rows = [
      row
      for row, (place, use) in enumerate(zip(places, used, strict=True))
      if use and place.split == split
    ]
    if rows:
      chosen = [places[row] for row in rows]
      pixels = None if found.pixels is None else found.pixels[rows]
      openers[split] = functools.partial(
        _source, directory, chosen, classes, stored, pixels
      )
  return (
    openers,
    tuple(classes),
    reading.digest(
      [place.file for place, use in zip(places, used, strict=True) if use],
      [
        each.digest
        for each, use in zip(found.readings, used, strict=True)
        if use
      ],
    ),
    [(printed(file), why) for file, why in skipped],
    [
      *_few_warning(places, classes),
      *_test_warning(classes, openers),
      *reading.blank_warning(found.blank, len(found.names)),
    ],
    [each.size for each, use in zip(found.readings, used, strict=True) if use],
  )


def _few_warning(places: Sequence[Place], classes: Sequence[str]) -> list[str]:
  """A line that names the classes with few images to learn from."""
  counts = collections.Counter(
    place.name for place in places if place.split == 'train'
  )
  few = [name for name in classes if counts[name] < FEW]
  if not few:
    return []
  named = [f'{printed(name)} with {counts[name]}' for name in few[:8]]
  more = ', ...' if len(few) > 8 else ''
  return [
    f'{len(few)} of {len(classes)} classes have fewer than {FEW} images to '
    f'learn from: {", ".join(named)}{more}. Add images, or leave them out.'
  ]


def _test_warning(classes: Sequence[str], splits: Collection[str]) -> list[str]:
  """A line if the user's splits leave nothing to test with."""
  if not classes or 'test' in splits:
    return []
  return [
    'Found no folder of images to test with, so no accuracy can be given. Add '
    'one called test, or rename the folder of the validation images to test.'
  ]


def middle_square(image: Image.Image, size: int) -> np.ndarray:
  """Cuts the largest square from the middle of an RGB image and resizes it.

  The square is cut before it is resized, because a narrow strip would otherwise
  grow to more pixels than fit in memory.

  Returns:
    uint8 (size, size, 3).
  """
  side = min(image.size)
  left, top = ((length - side) // 2 for length in image.size)
  box = (left, top, left + side, top + side)
  return np.asarray(
    image.resize((size, size), Image.Resampling.BICUBIC, box=box)
  )


def _square(stored: int, image: Image.Image) -> tuple[np.ndarray, int]:
  return middle_square(image, stored), stored


def _source(
  directory: pathlib.Path,
  places: Sequence[Place],
  classes: Sequence[str],
  stored: int,
  pixels: np.ndarray | None,
) -> ImageSource:
  names = [printed(place.file) for place in places]

  def read(position: int) -> np.ndarray:
    try:
      image = images.read_image(directory / places[position].file)
    except images.BadImage as error:
      raise UserError(
        f'{names[position]} was an image when {directory} was opened, but it '
        f'cannot be read now: {error}.'
      ) from None
    return middle_square(image, stored)

  number = {name: place for place, name in enumerate(classes)}
  labels = [number.get(place.name, -1) for place in places]
  return ImageSource(read if pixels is None else pixels, labels, names)


def _places(directory: pathlib.Path, files: list[str]) -> list[Place]:
  """Finds the split and class of each file from its folders and its name."""
  folders = {file: pathlib.PurePosixPath(file).parts[:-1] for file in files}
  if _has_splits(directory, folders.values()):
    places = [
      Place(file, split_named(inside[0]), ''.join(inside[1:2]))
      for file, inside in folders.items()
    ]
    _check_given(directory, places)
    return places
  labelled = [file for file, inside in folders.items() if inside]
  test = _drawn(labelled, TEST)
  either = _drawn(labelled, TEST + VALIDATION)

  def split(file: str) -> str:
    if file in test:
      return 'test'
    return 'validation' if file in either else 'train'

  return [
    Place(file, split(file), inside[0] if inside else '')
    for file, inside in folders.items()
  ]


def _has_splits(
  directory: pathlib.Path, folders: Iterable[tuple[str, ...]]
) -> bool:
  """Tells whether the outermost folders are splits rather than classes."""
  folders = list(folders)
  inside = [names for names in folders if names and split_named(names[0])]
  outermost = {names[0] if names else '' for names in folders}
  others = {name for name in outermost if not split_named(name)}
  if not inside or not others:
    return bool(inside)
  if all(len(names) == 1 for names in inside):
    return False  # classes that happen to bear the names of splits
  found = sorted({names[0] for names in inside})
  raise UserError(
    f'Found folders inside {", ".join(found)}, as if these were splits, and '
    'also images in:\n  '
    + shorten(sorted(name or str(directory) for name in others))
    + f'\nExpected either only {", ".join(SPLITS)}, each with one folder per '
    'class, or only folders of classes. Rename or move some folders.'
  )


def _drawn(files: list[str], share: float) -> set[str]:
  """Draws a share of the files by a hash of their names.

  The draw of one file does not depend on the other files, so adding files
  leaves the earlier ones where they are (`held_out` names the exceptions).
  """
  # A name may hold bytes that are not valid UTF-8; `held_out` would fail on
  # them.
  safe = {
    file.encode(errors='surrogateescape').decode('latin-1'): file
    for file in files
  }
  return {safe[name] for name in held_out(safe, share)}


def _check_given(directory: pathlib.Path, places: list[Place]) -> None:
  """Raises a UserError unless `train` has images, and some of every class."""
  train = {place.name for place in places if place.split == 'train'}
  if not train:
    raise UserError(
      f'Found no training image in {directory}; expected some in its folder '
      'train. Move images there.'
    )
  for split in SPLITS[1:]:
    unknown = {place.name for place in places if place.split == split}
    unknown -= train | {''}
    if unknown:
      raise UserError(
        f'Found classes in {split} of {directory} of which train has no image; '
        'expected the same names as in train. Rename these folders, or add '
        'images of these classes to train:\n  ' + shorten(sorted(unknown))
      )
