"""What a run tells before its first step: images, labels, stages and cost.

The text fits on a screen. It stops nothing: it says what a person would rather
know before the hours than after them.
"""

import collections
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ssljax.data.files import printed
from ssljax.data.survey import Survey
from ssljax.reports.tables import FEWEST, TOO_FEW

SHOWN = 40  # the most characters, classes or names that a line lists
NAMES = 3  # the most files that a line names
RARE = 5  # a character that fewer training labels show is rare
# Characters that a person who types a label takes for each other.
ALIKE = ('0OoQD', '1lI|', '2Zz', '5Ss', '6Gb', '8B', '9gq', 'cC', 'vuV', 'xX')


def render(*blocks: Iterable[str]) -> str:
  """Joins blocks of lines; further lines of a block are indented."""
  found = []
  for block in blocks:
    first, *others = block
    found += [first, *(f'  {line}' for line in others)]
  return '\n'.join(found) + '\n'


def image_lines(survey: Survey) -> list[str]:
  """The images of a folder: used and skipped, their sizes and their frame."""
  skipped = ''
  if survey.skipped:
    names = _some([name for name, _ in survey.skipped])
    skipped = f', {len(survey.skipped):,} skipped ({names}; see skipped.csv)'
  height, width = survey.frame
  lines = [
    f'Images of {survey.directory}: '
    f'{len(survey.images) + len(survey.skipped):,} found, '
    f'{len(survey.images):,} used{skipped}'
  ]
  wide, tall = np.array(survey.sizes).T
  sizes = f'sizes in pixels: {_range(wide)} wide, {_range(tall)} high; '
  if survey.classes:
    squares = f'the network sees the middle of each, {width} wide and high'
    return [*lines, sizes + squares]
  lines.append(
    sizes + f'the frame that all are fitted to: {width} wide, {height} high'
  )
  lines.append(f'in the frame their text is {_range(survey.rows)} rows high')
  return lines


def rendered_lines(
  splits: Mapping[str, int], frame: tuple[int, int]
) -> list[str]:
  """Images that are no files of the user.

  Args:
    splits: the number of images of each split.
    frame: (height, width) of each.
  """
  said = ', '.join(f'{count:,} {split}' for split, count in splits.items())
  return [f'Images: {said}; {frame[1]} wide, {frame[0]} high']


def label_lines(survey: Survey, *, rendered: bool = False) -> list[str]:
  """The labels of a folder: how many, of what, and how they are split.

  Args:
    survey: the folder.
    rendered: whether rendered text shows every character in training too.
  """
  labels = survey.labels
  share = f'{len(labels):,} of {len(survey.images):,} images'
  if not labels:
    return [f'Labels: none of {len(survey.images):,} images']
  if survey.classes:
    counts = collections.Counter(labels.values())
    lines = [f'Labels: {share}, in {len(counts):,} classes', _counted(counts)]
  else:
    lengths = collections.Counter(map(len, labels.values()))
    said = ', '.join(f'{key} ({lengths[key]:,})' for key in sorted(lengths)[:9])
    lines = [f'Labels: {share}; characters in a label (labels): {said}']
    lines += _characters(survey, rendered)
  return lines + _splits(survey.splits)


def _characters(survey: Survey, rendered: bool) -> list[str]:
  """How often each character is seen, and which will be hard or impossible."""
  files: dict[str, list[str]] = collections.defaultdict(list)
  trained = collections.Counter()
  counts = collections.Counter()
  for split, labels in survey.splits.items():
    for name, text in labels.items():
      counts.update(text)
      for character in set(text):
        files[character].append(name)
        trained[character] += split == 'train'
  lines = [f'{len(counts):,} characters (times): {_counted(counts)}']
  unseen = [each for each in sorted(counts) if not trained[each]]
  if unseen and trained.total() and not rendered:
    lines.append(
      'in no training label, so never read: '
      + listed(f'{each!r} ({_some(files[each])})' for each in unseen)
    )
  once = [each for each in sorted(counts) if counts[each] == 1]
  if once:
    lines.append(
      'seen once: ' + listed(_once(each, counts, files) for each in once)
    )
  rare = [
    each
    for each in sorted(counts)
    if counts[each] > 1 and 0 < trained[each] < RARE
  ]
  if rare and not rendered:
    lines.append(
      f'rare, in fewer than {RARE} training labels: '
      + listed(f'{each!r} ({trained[each]})' for each in rare)
    )
  return lines


def _once(
  character: str, counts: Mapping[str, int], files: Mapping[str, list[str]]
) -> str:
  """A character that is seen once, its file, and what it may be a typo for."""
  near = [
    f'{other!r} ({counts[other]:,} times)'
    for group in ALIKE
    if character in group
    for other in group
    if other != character and counts[other] > 1
  ]
  beside = f', beside {", ".join(near)}: is that meant?' if near else ''
  return f'{character!r} ({_some(files[character])}{beside})'


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """How the labels are split, and what figures of so many images can say."""
  said = ', '.join(
    f'{len(labels):,} {split}' for split, labels in splits.items()
  )
  lines = [f'split: {said}']
  tests = {
    name: each for name, each in splits.items() if name.startswith('test')
  }
  if not tests:
    return [*lines, 'no test images: no figure can be given']
  for name, labels in tests.items():
    count = len(labels)
    images = f'{count:,} {name} image{"s" if count > 1 else ""}'
    if count < FEWEST:
      lines.append(
        f'{images}: {TOO_FEW}; a figure needs at least {FEWEST}, better 100'
      )
    else:
      # The half of a 95 % interval of a share of one half.
      spread = 0.98 / math.sqrt(count)
      lines.append(
        f'{images} tell a share of right readings to within {spread:.2f}'
      )
  return lines


def _range(values: Sequence[int] | np.ndarray) -> str:
  """'30 to 900 (median 120)', or the one value that there is."""
  low, high = min(values), max(values)
  if low == high:
    return f'{low}'
  return f'{low} to {high} (median {np.median(values):.0f})'


def _some(names: Sequence[str]) -> str:
  """The first names, and how many there are beside them."""
  shown = [printed(pathlib.PurePath(each).as_posix()) for each in names]
  more = f' and {len(names) - NAMES:,} more' if len(names) > NAMES else ''
  return ', '.join(shown[:NAMES]) + more


def listed(items: Iterable[str]) -> str:
  """The first items, and how many there are beside them."""
  items = list(items)
  more = f' and {len(items) - SHOWN:,} more' if len(items) > SHOWN else ''
  return ', '.join(items[:SHOWN]) + more


def _counted(counts: Mapping[str, int]) -> str:
  """'0 (12), 1 (10)' of characters or classes, in their order."""
  return listed(f'{key} ({counts[key]:,})' for key in sorted(counts))
