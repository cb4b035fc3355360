"""Opens a folder of the user's images of text, some of which have labels.

  DIR/**/*.png, ...   PNG, JPEG, BMP, WebP, GIF and TIFF, by their content
  DIR/labels.csv      columns `file,text`; images without a row have no label.
                      `ssljax.data.labels` reads other tables and names, too

Every image is decoded when the folder is opened, so that a broken image is
reported before any training starts.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ssljax.data import reading, sources
from ssljax.data.file_source import FileSource, held
from ssljax.data.files import check_skipped, list_files, printed
from ssljax.data.frame import Fitted, fitted, low_text
from ssljax.data.label_tables import LABELS, Label
from ssljax.data.labels import read_labels
from ssljax.data.splits import divided
from ssljax.errors import UserError, check_known

SPLITS = ('unlabeled', 'train', 'validation', 'test')


class Folder(NamedTuple):
  """An opened folder.

  Attributes:
    directory: the path of the folder.
    splits: the positions in `names` of each split's images; splits without
      images are left out. The labelled images are divided between `train` and
      `test`, or as the user has divided them, who may also have `validation`.
      `unlabeled` has every image that is not held out, labelled or not.
    names: the files of all images, relative to the folder, sorted.
    sizes: (width, height) of each image in its file, in pixels.
    labels: the labels by file name.
    fitted: the frame that the images are fitted to, and how they stand in it.
    characters: the given charset, or the sorted characters of all labels.
    max_length: the given maximum length, or the length of the longest label.
    contents: a digest of the files and the labels; it changes when the folder
      does.
    skipped: (file, reason) of the files that are not used.
    widths: the columns of the frame that each image fills.
    rows: the rows of the frame from the first to the last that show something
      of each image; 0 for an image of one colour.
    held: all images, decoded, if they take at most the given memory.
    warnings: lines about what was guessed or mended, or may be wrong.
  """

  directory: pathlib.Path
  splits: dict[str, list[int]]
  names: list[str]
  sizes: list[tuple[int, int]]
  labels: dict[str, Label]
  fitted: Fitted
  characters: str
  max_length: int
  contents: str
  skipped: list[tuple[str, str]]
  widths: list[int]
  rows: list[int]
  held: sources.MemorySource | None
  memory: int
  warnings: tuple[str, ...] = ()

  def open(self, split: str) -> sources.Source:
    """Opens a split, from memory if the images are held there.

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
    if self.held is not None:
      return sources.Subset(self.held, index)
    return FileSource(
      self.directory,
      [self.names[place] for place in index],
      index,
      self.labels,
      self.fitted.frame,
      [self.widths[place] for place in index],
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
    memory: the most bytes of decoded images to hold. A larger folder is decoded
      anew at every access.
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
  found, fit = decoded(
    directory,
    files,
    height=height,
    width=width,
    memory=memory,
    progress=progress,
  )
  names = found.names
  usable = set(names)
  known = {name: label for name, label in read.found.items() if name in usable}
  splits, said = divided(names, known, read.splits, holdout)
  texts = [label.text for label in known.values()]
  sizes = [each.size for each in found.readings]
  rows = [each.text for each in found.readings]
  contents = reading.digest(
    names,
    [each.digest for each in found.readings],
    [known[name].text if name in known else '' for name in names],
  )
  return Folder(
    directory=directory,
    splits=splits,
    names=names,
    sizes=sizes,
    labels=known,
    fitted=fit,
    characters=charset or ''.join(sorted(set(''.join(texts)))),
    max_length=max_length or max(map(len, texts), default=0),
    contents=with_splits(contents, read.splits),
    skipped=[(printed(file), why) for file, why in found.skipped],
    widths=[each.shown for each in found.readings],
    rows=rows,
    held=held(found, known),
    memory=memory,
    warnings=(
      *read.warnings,
      *said,
      *low_text(sizes, rows, fit.frame),
      *reading.blank_warning(found.blank, len(names)),
    ),
  )


def with_splits(contents: str, splits: Mapping[str, str]) -> str:
  """A digest of the contents and of the splits that a table gives, if any."""
  if not splits:
    return contents
  whole = json.dumps([contents, sorted(splits.items())])
  return hashlib.sha256(whole.encode()).hexdigest()[:12]


def decoded(
  directory: pathlib.Path,
  files: Sequence[str],
  *,
  height: int,
  width: int,
  memory: int,
  progress: bool,
) -> tuple[reading.Contents, Fitted]:
  """Chooses the frame by the heads of the files, and decodes them into it.

  Raises:
    UserError: too many of the files cannot be used.
  """
  with reading.helpers_for(files) as helpers:
    sizes, skipped = reading.sizes_of(directory, files, progress=progress)
    check_skipped(directory, skipped, len(files))
    fit = fitted([*sizes.values()], height=height, width=width)
    while True:
      found = reading.read_files(
        directory,
        [*sizes],
        fit.frame.cut,
        size=fit.frame.size,
        memory=memory,
        progress=progress,
        helpers=helpers,
      )
      bad = sorted(skipped + found.skipped)
      check_skipped(directory, bad, len(files))
      real = [each.size for each in found.readings]
      exact = fitted(real, height=height, width=width)
      if exact.frame == fit.frame:
        return found._replace(skipped=bad), exact
      # The rare head that says another size, or a file that is broken further
      # on, has changed the frame.
      fit = exact
