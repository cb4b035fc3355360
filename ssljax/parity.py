"""How far an export is from the network that was exported, on which images."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax.data import datasets
from ssljax.data.files import list_files
from ssljax.errors import UserError
from ssljax.reports.readings import columns_of

TEST = 'test'  # the split whose labels judge an export of fewer bits

# How far the two may be apart. float32 decides about the outputs: the variances
# of a GroupNorm are differences of large numbers, and their rounding differs.
CLOSE = 1e-4  # of the largest output
SURE = 1e-3  # between two confidences
LOST = 0.005  # of the images, which fewer bits may read otherwise


class Parity(NamedTuple):
  """How far an export is from the network that was exported.

  Attributes:
    images: how many both have seen.
    outputs: the largest difference of two logits, or of two features, over the
      largest of them.
    confidence: the largest difference of two confidences.
    texts: images of which both say the same; None of an encoder.
  """

  images: int
  outputs: float
  confidence: float = 0.0
  texts: int | None = None

  @property
  def good(self) -> bool:
    close = self.outputs <= CLOSE and self.confidence <= SURE
    return close and self.texts in (None, self.images)

  def __str__(self) -> str:
    near = f'outputs within {self.outputs:.1e} of the largest'
    if self.texts is None:
      return f'{self.images} images: {near}'
    return (
      f'{self.texts} of {self.images} texts are equal; {near}, confidences '
      f'within {self.confidence:.1e}'
    )


class Loss(NamedTuple):
  """What fewer bits cost, on the images that it was measured on.

  Attributes:
    images: how many.
    labelled: whether they are test images, whose labels say what they show.
      If not, the readings of the run are taken to be right.
    before: the share of them that the run reads right.
    after: the share of them that the export reads right.
  """

  images: int
  labelled: bool
  before: float
  after: float

  @property
  def good(self) -> bool:
    return self.images > 0 and self.before - self.after < LOST

  def __str__(self) -> str:
    if self.labelled:
      return (
        f'exact match {self.after:.3f}, in float32 {self.before:.3f}, on '
        f'{self.images:,} test images of the run'
      )
    return f'reads {self.after:.3f} of {self.images:,} images as float32 does'


def loss(
  wanted: Sequence[str], found: Sequence[str], labels: Sequence[str] | None
) -> Loss:
  """What an export has lost.

  Args:
    wanted: what the run reads.
    found: what the export reads.
    labels: what the images show; None if it is not known.
  """
  right = wanted if labels is None else labels
  before, after = (
    float(
      np.mean([text == each for text, each in zip(read, right, strict=True)])
    )
    if right
    else 0.0
    for read in (wanted, found)
  )
  return Loss(len(right), labels is not None, before, after)


def pictures(
  data: Mapping[str, Any],
  images: str | os.PathLike[str] | None,
  *,
  data_dir: str,
  most: int,
) -> list[Any]:
  """Some images to compare on: files of a folder, or those of the run.

  Args:
    data: of the run's config, with the full path of its directory.
    images: the folder; None for those of the run.
    data_dir: where the run's rendered data is kept.
    most: how many images.
  """
  named = images or data.get('directory')
  if not named:
    dataset = datasets.open_dataset(data, data_dir=data_dir)
    source = dataset.open(dataset.splits[0])
    return list(source.gather(range(min(most, len(source))))['image'])
  place = pathlib.Path(named).expanduser()
  if not place.is_dir():
    raise UserError(
      f'Found no folder {place}; expected images to compare the export on. '
      'Name some by --images=DIR.'
    )
  files = list_files(place)
  return [place / name for name in files[:: -(-len(files) // most) or 1]]


def tested(
  data: Mapping[str, Any], folder: pathlib.Path, *, data_dir: str
) -> tuple[list[Any], list[str]]:
  """The run's test images, which no stage has learned from, and their labels.

  Args:
    data: of the run's config, with the full path of its directory.
    folder: of the stage that reads.
    data_dir: where the run's rendered data is kept.
  """
  if not data.get('directory'):
    dataset = datasets.open_dataset(data, data_dir=data_dir)
    if TEST not in dataset.splits:
      return [], []
    source = dataset.open(TEST)
    found = source.gather(range(len(source)))
    return list(found['image']), [str(text) for text in found['text']]
  # What the run itself has tested, whatever became of the folder since.
  path, place = folder / 'predictions.csv', pathlib.Path(data['directory'])
  if not path.exists():
    return [], []
  columns = columns_of(path)
  rows = zip(
    *(columns[name] for name in ('split', 'file', 'label')), strict=True
  )
  pairs = [
    (place / file, label)
    for split, file, label in rows
    if split == TEST and label and (place / file).is_file()
  ]
  return [file for file, _ in pairs], [label for _, label in pairs]


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
  """The largest difference, over the largest value."""
  far = np.abs(found - wanted).max(initial=0)
  return float(far / np.abs(wanted).max(initial=1e-9))
