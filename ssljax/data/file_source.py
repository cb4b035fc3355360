"""A source of the user's image files, decoded at each access or held."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ssljax.data import images, reading, sources
from ssljax.data.files import printed
from ssljax.data.frame import Frame
from ssljax.data.label_tables import Label
from ssljax.errors import UserError


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
    widths: Sequence[int],
  ):
    """Takes the files of one split.

    Args:
      directory: the folder.
      names: the files of the split, relative to the folder.
      index: the `index` of each example.
      labels: the labels by file name.
      frame: what every picture is fitted to.
      widths: the columns that each picture fills.
    """
    self._directory, self._frame, self._widths = directory, frame, widths
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
    width = self._widths[position]
    return sources.Description(self.name(position), self._text(position), width)

  def name(self, position: int) -> str:
    """The file's name, and the row of its label."""
    return called(self._names[position], self._labels)

  def _text(self, position: int) -> str:
    label = self._labels.get(self._names[position])
    return label.text if label else ''


def called(name: str, labels: Mapping[str, Label]) -> str:
  """What messages call a file: its name, and the row of its label."""
  label = labels.get(name)
  name = printed(name)
  return f'{name} ({label.where})' if label else name


def held(
  found: reading.Contents, labels: Mapping[str, Label]
) -> sources.MemorySource | None:
  """All images of a folder as a source in memory, if their pixels were kept."""
  if found.pixels is None:
    return None
  count = len(found.names)
  texts = [labels[name].text if name in labels else '' for name in found.names]
  columns = {
    'image': found.pixels,
    'index': np.arange(count, dtype=np.int32),
    'text': np.array(texts),
    'layout': np.zeros(count, np.int32),
    'width': np.array([each.shown for each in found.readings], np.int32),
  }
  names = [called(name, labels) for name in found.names]
  return sources.MemorySource(columns, FileSource.layouts, names)
