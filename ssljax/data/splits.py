"""Splits a folder's images into training, validation and test sets.

The user may have chosen the splits: by a column of the labels, or by folders
called train, val and test. Otherwise a hash of its name decides whether a
labelled image tests.
"""

import hashlib
import pathlib
from collections.abc import Collection, Mapping, Sequence

# What the user may call a split; capitals do not matter.
WORDS = {
  'train': ('train', 'training', 'tr'),
  'validation': ('validation', 'val', 'valid', 'dev', 'eval'),
  'test': ('test', 'testing', 'tst'),
}


def split_named(word: str) -> str:
  """The split that a word of the user names, or ''."""
  word = word.strip().casefold()
  return next((split for split in WORDS if word in WORDS[split]), '')


def split_of_folder(file: str) -> str:
  """The split that a file's outermost folder names, or ''."""
  parts = pathlib.PurePosixPath(file).parts
  return split_named(parts[0]) if len(parts) > 1 else ''


def own_splits(
  names: Collection[str], given: Mapping[str, str]
) -> dict[str, str]:
  """The split of each image, as far as the user says it.

  Args:
    names: of all images.
    given: the splits of some of them, by a column of the labels. They count
      more than folders.

  Returns:
    'train', 'validation' or 'test' by name; {} if no image is of the last two,
    because there is then nothing to hold out.
  """
  found = {name: given.get(name) or split_of_folder(name) for name in names}
  found = {name: split for name, split in found.items() if split}
  return found if {'validation', 'test'} & set(found.values()) else {}


def divided(
  names: Sequence[str],
  labelled: Collection[str],
  given: Mapping[str, str],
  holdout: float,
) -> tuple[dict[str, list[int]], list[str]]:
  """The positions of the images of each split, and what to tell the user.

  Args:
    names: of all images.
    labelled: those that have a label.
    given: the splits of some of the images, by a column of the labels.
    holdout: the share of the labelled images that test where the user chose no
      splits.

  Returns:
    `train`, `validation` and `test` with their labelled images, and `unlabeled`
    with every image that is to be trained on, labelled or not. A split without
    images is left out.
  """
  said, own = [], own_splits(names, given)
  held = {name for name, split in own.items() if split != 'train'}
  if own and not held & set(labelled):
    said.append(
      f'The {len(held)} images of your splits validation and test have no '
      'label, so they are not used, and other images are held out.'
    )
    of = dict.fromkeys(held_out(set(labelled), holdout), 'test')
  elif own:
    of = {name: own[name] for name in held & set(labelled)}
    counts = {split: 0 for split in WORDS}
    for name in labelled:
      counts[of.get(name, 'train')] += 1
    shown = ', '.join(f'{count} {split}' for split, count in counts.items())
    said.append(
      f'Your own splits are used, with these labelled images: {shown}. No '
      'others are held out.'
    )
    if not counts['test']:
      said.append(
        'None of them test, so the table of results has no figure; the figures '
        "of validation are in each stage's stage.json. Call that split test to "
        'have them in the table.'
      )
    if bare := len(held - set(labelled)):
      said.append(
        f'{bare} images of your splits validation and test have no label, so '
        'they are not used.'
      )
  else:
    of = dict.fromkeys(held_out(set(labelled), holdout), 'test')
  splits = {'unlabeled': [], 'train': [], 'validation': [], 'test': []}
  for place, name in enumerate(names):
    if name not in held and name not in of:
      splits['unlabeled'].append(place)
    if name in labelled:
      splits[of.get(name, 'train')].append(place)
  return {split: at for split, at in splits.items() if at}, said


def held_out(names: Collection[str], share: float) -> set[str]:
  """Chooses the labelled images that are kept for testing.

  An image is chosen if the hash of its name, as a fraction of the largest
  hash, is below `share`. If `share` is above 0, at least one of two or more
  images is chosen; in any case one is left to train on.
  """

  def place(name: str) -> int:
    # A name may hold bytes that are not valid UTF-8.
    data = name.encode(errors='surrogateescape')
    return int.from_bytes(hashlib.sha256(data).digest()[:8])

  chosen = {name for name in names if place(name) < share * 2**64}
  order = sorted(names, key=place)
  if share > 0 and not chosen:
    chosen = set(order[:1])
  if len(names) < 2:
    return set()
  return chosen - {order[-1]}
