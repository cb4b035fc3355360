"""Opens a folder of the user's images of text, some of which have labels.

  DIR/**/*.png, .jpg, .jpeg, .bmp, .webp, .gif
  DIR/labels.csv      columns `file,text`; images without a row have no label.
                      `ssljax.data.labels` reads other tables and names, too

Every image is decoded when the folder is opened, so that a broken image is
reported before any training starts.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tqdm

from ssljax.data import images, sources, workers
from ssljax.data.frame import Fitted, Frame, fitted
from ssljax.data.label_files import is_label_file
from ssljax.data.label_tables import LABELS, Label
from ssljax.data.labels import read_labels, shorten
from ssljax.data.splits import divided
from ssljax.errors import UserError, check_known

# A larger share of unusable files stops the run instead of leaving them out.
BAD_SHARE = 0.01
SPLITS = ('unlabeled', 'train', 'validation', 'test')


class FileSource:
  """Labelled and unlabelled image files, decoded anew at every access.

  Examples and their `gather` are as `ssljax.data.sources` describes them.
  """

  layouts = ('images',)

  def __init__(
    self,
    directory: pathlib.Path,
    names: Sequence[str],
    index: Sequence[int],
    labels: dict[str, Label],
    frame: Frame,
  ):
    """Takes the files of one split.

    Args:
      directory: the folder.
      names: the files of the split, relative to the folder.
      index: the `index` of each example.
      labels: the labels by file name.
      frame: what every picture is fitted to.
    """
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
        f'{self.name(position)} was an image when {self._directory} was '
        f'opened, but it cannot be read now: {error}.'
      ) from None
    return {
      'image': pixels,
      'index': np.int32(self._index[position]),
      'text': self._text(position),
      'layout': np.int32(0),
      'width': np.int32(width),
    }

  def gather(self, positions: sources.Positions) -> dict[str, np.ndarray]:
    return sources.stack([self[int(position)] for position in positions])

  def describe(self, position: int) -> sources.Description:
    width = int(self[position]['width'])  # which is known of the pixels only
    return sources.Description(self.name(position), self._text(position), width)

  def name(self, position: int) -> str:
    """The file's name, and the row of its label."""
    name = self._names[position]
    label = self._labels.get(name)
    return f'{name} ({label.where})' if label else name

  def _text(self, position: int) -> str:
    label = self._labels.get(self._names[position])
    return label.text if label else ''


class Folder(NamedTuple):
  """An opened folder.

  Attributes:
    directory: the path of the folder.
    splits: the positions in `names` of each split's images; splits without
      images are left out. The labelled images are divided between `train` and
      `test`, or as the user has divided them, who may also have `validation`.
      `unlabeled` has every image that is not held out, labelled or not.
    names: the files of all images, relative to the folder, sorted.
    labels: the labels by file name.
    fitted: the frame that the images are fitted to, and how they stand in it.
    characters: the given charset, or the sorted characters of all labels.
    max_length: the given maximum length, or the length of the longest label.
    contents: a digest of the files and the labels; it changes when the folder
      does.
    skipped: (file, reason) of the files that are not used.
    memory: the most bytes of decoded images that a split may hold in memory.
    warnings: lines for the user about what was guessed or mended.
  """

  directory: pathlib.Path
  splits: dict[str, list[int]]
  names: list[str]
  labels: dict[str, Label]
  fitted: Fitted
  characters: str
  max_length: int
  contents: str
  skipped: list[tuple[str, str]]
  memory: int
  warnings: tuple[str, ...] = ()

  def open(self, split: str) -> sources.Source:
    """Opens a split, decoded into memory if it takes at most `memory` bytes.

    Raises:
      UserError: the split is unknown or has no images.
    """
    check_known('split', split, SPLITS)
    if split not in self.splits:
      raise UserError(
        f'Found {len(self.labels)} labelled images in {self.directory}, and '
        f'none for {split!r}; expected a {LABELS} there with the columns '
        'file,text and one row for each labelled image, such as 7.png,4812. '
        'The split test needs at least two rows and a holdout above 0, or '
        'images that you put into it. Label some images, or run the '
        'pretraining alone with --config.recipe="(\'pretrain\',)".'
      )
    index = self.splits[split]
    names = [self.names[place] for place in index]
    frame = self.fitted.frame
    source = FileSource(self.directory, names, index, self.labels, frame)
    called = [source.name(place) for place in range(len(source))]
    return sources.held(
      source, size=frame.size, memory=self.memory, names=called
    )


def open_folder(
  directory: str | pathlib.Path,
  *,
  height: int = 0,
  width: int = 0,
  charset: str = '',
  max_length: int = 0,
  labels: str = '',
  holdout: float = 0.1,
  memory: int = 2**30,
  progress: bool = True,
) -> Folder:
  """Decodes every image of a folder once, reads its labels and makes splits.

  Args:
    directory: the folder.
    height: the height of the frame that every picture is fitted to, in pixels;
      0 chooses it as `ssljax.data.frame` says.
    width: the frame's width, in pixels; 0 chooses it.
    charset: the characters that labels may have; '' allows every character.
      A space inside a label is a character like any other.
    max_length: the most characters that a label may have; 0 allows any length.
    labels: where the labels are, as `labels.read_labels` describes it.
    holdout: the share of the labelled images that become the test split, where
      the user has not divided them. A hash of its name decides about each
      image, so adding images to the folder hardly changes the choice among the
      others.
    memory: the most bytes of decoded images that a split may hold in memory.
    progress: whether to show a progress bar.

  Raises:
    UserError: the folder does not exist or has no images, too many of its
      files cannot be read as images, rows of labels.csv cannot be used, or
      `holdout` is not a share.
  """
  if not 0 <= holdout <= 1:
    raise UserError(
      f'Found holdout {holdout}; expected 0 to 1, the share of the labelled '
      'images that are kept for testing.'
    )
  directory = pathlib.Path(directory)
  files = list_files(directory)
  # Labels come first: their errors then show up before the slow decoding.
  read = read_labels(directory, set(files), charset, max_length, labels)
  sizes = {}

  def look(file: str) -> None:
    sizes[file] = images.read_image(directory / file).size

  skipped = unreadable(look, files, progress=progress)
  check_skipped(directory, skipped, len(files))
  bad = {file for file, _ in skipped}
  names = [file for file in files if file not in bad]
  usable = set(names)
  known = {name: label for name, label in read.found.items() if name in usable}
  splits, said = divided(names, known, read.splits, holdout)
  texts = [label.text for label in known.values()]
  return Folder(
    directory=directory,
    splits=splits,
    names=names,
    labels=known,
    fitted=fitted([sizes[name] for name in names], height=height, width=width),
    characters=charset or ''.join(sorted(set(''.join(texts)))),
    max_length=max_length or max(map(len, texts), default=0),
    contents=with_splits(digest(directory, names, known), read.splits),
    skipped=skipped,
    memory=memory,
    warnings=(*read.warnings, *said),
  )


def with_splits(contents: str, splits: Mapping[str, str]) -> str:
  """A digest of the contents and of the splits that a table gives, if any."""
  if not splits:
    return contents
  whole = json.dumps([contents, sorted(splits.items())])
  return hashlib.sha256(whole.encode()).hexdigest()[:12]


def list_files(directory: pathlib.Path) -> list[str]:
  """Lists the files of a folder, except labels and hidden files.

  A link to a file counts as a file, even if its target is missing, so that a
  broken link is reported. Links to folders are not followed.

  Returns:
    Sorted paths, relative to the folder.

  Raises:
    UserError: the folder does not exist or has no such files.
  """
  if not directory.is_dir():
    what = 'a file' if directory.exists() else 'nothing'
    raise UserError(
      f'Found {what} at {directory}; expected a folder of images. Check the '
      'path.'
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
    and not is_label_file(path.as_posix())
  )
  if not files:
    raise UserError(
      f'Found no images in {directory}; expected files of '
      f'{", ".join(images.FORMATS)} in it or in its subfolders. Put images '
      'there, or name another folder.'
    )
  return files


def unreadable(
  read: Callable[[str], object], files: Sequence[str], *, progress: bool = True
) -> list[tuple[str, str]]:
  """Calls `read` on every file, in threads, and collects the failures.

  Returns:
    (file, reason) for each file for which `read` raised a `BadImage`.
  """

  def reason(file: str) -> str:
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


def check_skipped(
  directory: pathlib.Path, skipped: Sequence[tuple[str, str]], total: int
) -> None:
  """Raises a UserError if more than `BAD_SHARE` of the files are skipped.

  A few bad files may be left out silently, but many of them mean that
  something else is wrong, such as the folder.
  """
  if len(skipped) <= BAD_SHARE * total:
    return
  raise UserError(
    f'Found {len(skipped)} of {total} files in {directory} that cannot be '
    f'used; expected at most {BAD_SHARE:.0%}. Repair or remove them:\n  '
    + shorten([f'{file}: {why}' for file, why in skipped])
  )


def digest(
  directory: pathlib.Path, names: Sequence[str], labels: Mapping[str, Label]
) -> str:
  """Hashes the names and the bytes of all files, and their labels.

  Returns:
    The first 12 hexadecimal digits of the SHA-256.
  """
  found = hashlib.sha256()
  for name in names:
    text = labels[name].text if name in labels else ''
    # A name may hold bytes that are not valid UTF-8.
    found.update(f'{name}\0{text}\0'.encode(errors='surrogateescape'))
    found.update(hashlib.sha256((directory / name).read_bytes()).digest())
  return found.hexdigest()[:12]
