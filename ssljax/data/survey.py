"""What a folder of the user's images holds, for the summary before a run."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Survey(NamedTuple):
  """The user's images and labels.

  Attributes:
    directory: the folder, as the user wrote it.
    images: the names of the images that are used.
    skipped: (file, reason) of the files that are not used.
    sizes: (width, height) of each picture before it is fitted to the frame.
    rows: the rows of the frame that the text of each picture has, from the
      first to the last that shows something; empty for pictures of no text.
    frame: (height, width) of what the network sees.
    splits: for each split in which labels count, the labels by file name: the
      text, or the class.
    classes: whether the labels are classes, and not text.
  """

  directory: str
  images: Sequence[str]
  skipped: Sequence[tuple[str, str]]
  sizes: Sequence[tuple[int, int]]
  rows: Sequence[int]
  frame: tuple[int, int]
  splits: Mapping[str, Mapping[str, str]]
  classes: bool = False

  @property
  def labels(self) -> dict[str, str]:
    """All labels by file name."""
    return {
      name: label
      for split in self.splits.values()
      for name, label in split.items()
    }

  def facts(self) -> dict[str, dict]:
    """By what a later run can tell whether images or labels have changed.

    The full path of the folder stands beside, for other commands.
    """
    labels = self.labels
    pairs = [text for pair in sorted(labels.items()) for text in pair]
    return {
      'directory': {'path': os.path.abspath(self.directory)},
      'images': {'count': len(self.images), 'digest': _digest(self.images)},
      'labels': {'count': len(labels), 'digest': _digest(pairs)},
    }


def _digest(words: Iterable[str]) -> str:
  found = hashlib.sha256()
  for word in words:
    # A name may hold bytes that are not valid UTF-8.
    found.update(f'{word}\0'.encode(errors='surrogateescape'))
  return found.hexdigest()[:12]
