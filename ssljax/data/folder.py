"""A folder of a person's own images, and what some of them say.

  DIR/**/*.png, .jpg, .jpeg, .bmp, .webp, .gif
  DIR/labels.csv      columns `file,text`; images without a row have no label

Every image is decoded when the folder is opened, so that a broken one is known
before any training.
"""

import hashlib
import pathlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tqdm

from ssljax.data import images, sources, workers
from ssljax.data.labels import LABELS, Label, held_out, read_labels, shorten
from ssljax.errors import UserError, check_known

BAD_SHARE = 0.01  # of the files; more of them stop the run


class Frame(NamedTuple):
  """The size that every picture is fitted to."""

  height: int
  width: int

  def read(self, path: pathlib.Path) -> tuple[np.ndarray, int]:
    """uint8 pixels (height, width, 3) and the width that shows the picture."""
    return images.fit(images.read_image(path), *self)


class FileSource:
  """Images that every access decodes; `gather` stacks as other sources do."""

  layouts = ('images',)

  def __init__(
    self,
    directory: pathlib.Path,
    names: Sequence[str],
    index: Sequence[int],
    labels: dict[str, Label],
    frame: Frame,
  ):
    self._directory, self._frame = directory, frame
    self._names, self._index, self._labels = names, index, labels

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, position: int) -> dict:
    if not 0 <= position < len(self):
      raise IndexError(
        f'Found position {position}; expected 0 to {len(self) - 1}.'
      )
    path = self._directory / self._names[position]
    try:
      pixels, width = self._frame.read(path)
    except images.BadImage as error:
      raise UserError(
        f'{self.name_of(position)} was an image when {self._directory} was '
        f'opened, and is none now: {error}.'
      ) from None
    return {
      'image': pixels,
      'index': np.int32(self._index[position]),
      'text': self.text_of(position),
      'layout': np.int32(0),
      'width': np.int32(width),
    }

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    return sources.stack([self[int(position)] for position in positions])

  def layout_of(self, position: int) -> int:
    del position
    return 0

  def text_of(self, position: int) -> str:
    label = self._labels.get(self._names[position])
    return label.text if label else ''

  def width_of(self, position: int) -> int:
    return int(self[position]['width'])

  def name_of(self, position: int) -> str:
    name = self._names[position]
    label = self._labels.get(name)
    return f'{name} ({LABELS} row {label.row})' if label else name


class Folder(NamedTuple):
  """An opened folder.

  Attributes:
    directory: where it is.
    splits: those that have images, each with their positions among all.
      `train` and `test` share the labelled ones; `unlabeled` has every image
      but those of `test`.
    names: of all images, relative to the folder, sorted.
    labels: by name.
    frame: what they are fitted to.
    characters: the given charset, or all that the labels hold, sorted.
    max_length: the given one, or the longest label's.
    contents: a digest of files and labels, which tells whether the
      folder is still the same.
    skipped: (file, reason) of the files that are not used.
    memory: the most bytes of decoded images that a split may hold.
  """

  directory: pathlib.Path
  splits: dict[str, list[int]]
  names: list[str]
  labels: dict[str, Label]
  frame: Frame
  characters: str
  max_length: int
  contents: str
  skipped: list[tuple[str, str]]
  memory: int

  def open(self, split: str) -> sources.Source:
    """The examples of a split, in memory where they fit there.

    Raises:
      UserError: an unknown split, or one without images.
    """
    check_known('split', split, ('unlabeled', 'train', 'test'))
    if split not in self.splits:
      raise UserError(
        f'Found {len(self.labels)} labelled images in {self.directory}, of '
        f'which none for {split!r}; expected a {LABELS} there with the columns '
        'file,text and a row for each labelled image, as 7.png,4812; for test, '
        'two rows at least and a holdout above 0. Label some, or pretrain '
        'alone: --config.recipe="(\'pretrain\',)".'
      )
    index = self.splits[split]
    names = [self.names[place] for place in index]
    source = FileSource(self.directory, names, index, self.labels, self.frame)
    if len(source) * self.frame.height * self.frame.width * 3 > self.memory:
      return source
    called = [source.name_of(place) for place in range(len(source))]
    return sources.in_memory(source, names=called)


def open_folder(
  directory,
  *,
  height: int,
  width: int,
  charset: str = '',
  max_length: int = 0,
  holdout: float = 0.1,
  memory: int = 2**30,
  progress: bool = True,
) -> Folder:
  """Reads all of a folder.

  Args:
    directory: the folder.
    height: of the frame that every picture is fitted to, in pixels.
    width: of the frame.
    charset: the characters of the labels; all that they hold, if ''. Labels
      are taken as they stand, spaces included.
    max_length: characters of the longest label; as the labels are, if 0.
    holdout: share of the labelled images that only test. Which ones depends on
      their names alone, so more images change little.
    memory: bytes of decoded images that a split may hold.
    progress: whether to show a bar.

  Raises:
    UserError: no folder, no images, too many files that are none, rows of
      labels.csv that cannot be used, or a share that is none.
  """
  if not 0 <= holdout <= 1:
    raise UserError(
      f'Found holdout {holdout}; expected 0 to 1, the share of the labelled '
      'images that only test.'
    )
  directory = pathlib.Path(directory)
  files = list_files(directory)
  # Before the images, which take longer.
  labels = read_labels(directory, set(files), charset, max_length)
  frame = Frame(height, width)
  skipped = unreadable(
    lambda file: frame.read(directory / file), files, progress=progress
  )
  check_skipped(directory, skipped, len(files))
  bad = {file for file, _ in skipped}
  names = [file for file in files if file not in bad]
  usable = set(names)
  labels = {name: label for name, label in labels.items() if name in usable}
  tested = held_out(labels, holdout)
  split_of = {
    'unlabeled': [name not in tested for name in names],
    'train': [name in labels and name not in tested for name in names],
    'test': [name in tested for name in names],
  }
  texts = [label.text for label in labels.values()]
  return Folder(
    directory=directory,
    splits={
      split: np.flatnonzero(chosen).tolist()
      for split, chosen in split_of.items()
      if any(chosen)
    },
    names=names,
    labels=labels,
    frame=frame,
    characters=charset or ''.join(sorted(set(''.join(texts)))),
    max_length=max_length or max(map(len, texts), default=0),
    contents=digest(directory, names, labels),
    skipped=skipped,
    memory=memory,
  )


def list_files(directory: pathlib.Path) -> list[str]:
  """All files but labels.csv and hidden ones, relative and sorted.

  Links to files are followed, and listed if they lead nowhere; links to folders
  are not entered.
  """
  if not directory.is_dir():
    what = 'a file' if directory.exists() else 'nothing'
    raise UserError(
      f'Found {what} at {directory}; expected a folder of images.'
    )
  found = [
    path.relative_to(directory)
    for path in directory.rglob('*')
    if path.is_file() or (path.is_symlink() and not path.exists())
  ]
  files = sorted(
    path.as_posix()
    for path in found
    if not any(part.startswith('.') for part in path.parts)
    and path.as_posix() != LABELS
  )
  if not files:
    raise UserError(
      f'Found no images in {directory}; expected files of '
      f'{", ".join(images.FORMATS)}, in it or in folders inside.'
    )
  return files


def unreadable(read, files, *, progress: bool = True) -> list[tuple[str, str]]:
  """(file, reason) of those that `read` refuses; every file is read."""

  def reason(file):
    try:
      read(file)
    except images.BadImage as error:
      return str(error)
    return ''

  bar = tqdm.tqdm(
    total=len(files),
    desc='looking at images',
    unit=' images',
    disable=not progress,
    # A file or a CI log gets few lines instead of a bar that moves.
    mininterval=0.1 if sys.stderr.isatty() else 10,
  )
  with bar, ThreadPoolExecutor(workers.available_cores()) as threads:
    found = []
    for file, why in zip(files, threads.map(reason, files), strict=True):
      if why:
        found.append((file, why))
      bar.update()
  return found


def check_skipped(directory, skipped, total: int) -> None:
  """Few bad files are left out; many mean that something else is wrong."""
  if len(skipped) <= BAD_SHARE * total:
    return
  raise UserError(
    f'Found {len(skipped)} of {total} files in {directory} that cannot be '
    f'used; expected at most {BAD_SHARE:.0%}. Repair or remove them:\n  '
    + shorten([f'{file}: {why}' for file, why in skipped])
  )


def digest(directory, names, labels) -> str:
  """12 hexadecimal digits of all files' names and bytes, and of the labels."""
  found = hashlib.sha256()
  for name in names:
    text = labels[name].text if name in labels else ''
    # A name may hold bytes that are no text.
    found.update(f'{name}\0{text}\0'.encode(errors='surrogateescape'))
    found.update(hashlib.sha256((directory / name).read_bytes()).digest())
  return found.hexdigest()[:12]
