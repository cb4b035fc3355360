"""Sets of tensorflow-datasets that a person has prepared, from their files.

Nothing is downloaded and nothing of TensorFlow is needed to read them.
"""

import functools
import hashlib
import io
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ssljax.data import cache, images
from ssljax.data.classes import middle_square
from ssljax.data.image_sources import ImageSource
from ssljax.errors import UserError, suggest

VALIDATION = 0.1  # the share of `train` that validates where nothing else does
KNOWN = (
  'digits',
  'glyphs',
  'folder',
  'cifar10',
  'cifar100',
  'mnist',
  'stl10',
  'imagenet2012',
)
BLOCK = 1024  # records that are read at a time for their labels


def open_prepared(
  name: str, *, data_dir: str, stored: int, memory: int
) -> tuple[dict[str, Callable[[], ImageSource]], tuple[str, ...], str]:
  """Finds a set by its name, as `cifar10` or `imagenette/320px-v2`.

  `test` is the set's own, or its `validation` where it has no `test` with
  labels (ImageNet); `validation` is then, or where there is none, the last
  tenth of a fixed order of `train`.

  Args:
    name: of the set.
    data_dir: where it was prepared.
    stored: side of the squares that images are cut to, in pixels.
    memory: the most bytes of decoded images that a split may hold.

  Returns:
    What `image_sets.Images` takes: what opens each split, the classes, and
    what tells this set from others.

  Raises:
    UserError: an unknown set, or one that is not there or cannot be used.
  """
  root = pathlib.Path(data_dir).expanduser().absolute()
  builder = _builder(name, root)
  _check(name, builder, root)
  counts = {
    split: info.num_examples for split, info in builder.info.splits.items()
  }
  test = _test_split(name, builder, counts)

  @functools.cache
  def whole(split):
    return _source(builder, root, split, counts[split], stored)

  openers = {'train': lambda: whole('train').held(memory)}
  openers['validation'] = lambda: whole('validation').held(memory)
  if test == 'validation' or 'validation' not in counts:
    order = np.random.default_rng(0).permutation(counts['train'])
    cut = len(order) - round(VALIDATION * len(order))

    def part(positions):
      return whole('train').part(np.sort(positions)).held(memory)

    openers['train'] = lambda: part(order[:cut])
    openers['validation'] = lambda: part(order[cut:])
    if cut == len(order):
      del openers['validation']
  openers['test'] = lambda: whole(test).held(memory)
  contents = [builder.info.full_name, *map(str, counts.values())]
  return (
    openers,
    tuple(builder.info.features['label'].names),
    ' '.join(contents),
  )


def _builder(name: str, root: pathlib.Path):
  """What reads a set's files, of whichever version is there."""
  try:
    return tfds.core.read_only_builder.builder_from_files(
      name, data_dir=str(root)
    )
  except (tfds.core.registered.DatasetNotFoundError, ValueError):
    pass  # a name that is none is a ValueError
  family = name.partition('/')[0].partition(':')[0]
  found = sorted(
    str(path.parent.relative_to(root))
    for path in (root / family).rglob('dataset_info.json')
    if family.isidentifier()  # '..' is elsewhere
  )
  if found:
    raise UserError(
      f'Found {", ".join(found)} in {root}, and not {name}; expected one of '
      'these as the name, without its version.'
    )
  if family not in tfds.list_builders(with_community_datasets=False):
    raise UserError(
      f'Found no data set {name!r} in {root}; expected one of '
      f'{", ".join(KNOWN)} or another name of tensorflow-datasets.'
      + suggest(name.lower(), KNOWN)
    )
  raise UserError(
    f'Found no {name} in {root}; expected it there, prepared. '
    + _how_to_prepare(name, root)
  )


def _how_to_prepare(name: str, root: pathlib.Path) -> str:
  program = (
    'import tensorflow_datasets as tfds; '
    f'tfds.builder({name!r}, data_dir={str(root)!r}, '
    "file_format='array_record').download_and_prepare()"
  )
  return (
    'Prepare it once, in an environment of its own, for this alone takes '
    'TensorFlow:\n  pip install tensorflow tensorflow-datasets array-record '
    f'importlib_resources\n  python -c "{program}"'
  )


def _check(name: str, builder, root: pathlib.Path) -> None:
  """UserError unless these are images with classes that can be read here."""
  features, known = builder.info.features, tfds.features
  wanted = {'image': known.Image, 'label': known.ClassLabel}
  for feature, kind in wanted.items():
    if feature not in features or not isinstance(features[feature], kind):
      raise UserError(
        f'Found the features {", ".join(features)} in {name}; expected an '
        'image and a label that is one of some classes. Choose a set for '
        'classification.'
      )
  found = builder.info.file_format
  if found != tfds.core.FileFormat.ARRAY_RECORD:
    raise UserError(
      f'Found {name} as {found.value} in {builder.data_dir}; expected '
      'array_record, which can be read in any order. Move that folder away. '
      + _how_to_prepare(name, root)
    )


def _test_split(name: str, builder, counts: dict[str, int]) -> str:
  for split in ('test', 'validation'):
    # The labels of ImageNet's `test` are not public.
    if counts.get(split) and _records(builder, split)[0]['label'] >= 0:
      if counts.get('train'):
        return split
      break
  raise UserError(
    f'Found the splits {", ".join(counts)} in {name}; expected train, and test '
    'or validation with labels. Choose a set that has them.'
  )


def _records(builder, split: str):
  # Images stay as they are in the file until one is asked for.
  return builder.as_data_source(
    split, decoders={'image': tfds.decode.SkipDecoding()}
  )


def _source(builder, root, split: str, count: int, stored: int) -> ImageSource:
  records = _records(builder, split)

  def read(position):
    with Image.open(io.BytesIO(records[position]['image'])) as image:
      return middle_square(images.to_rgb(image), stored)

  def labels():
    found = np.empty(count, np.int32)
    for start in range(0, count, BLOCK):
      places = range(start, min(start + BLOCK, count))
      block = records.__getitems__(places)
      found[start : places.stop] = [record['label'] for record in block]
    return found

  # To know them takes reading all of the set, minutes where it is ImageNet.
  info = pathlib.Path(builder.data_dir) / 'dataset_info.json'
  key = f'{builder.data_dir} {info.stat().st_mtime_ns} {info.read_text()}'
  digest = hashlib.sha256(key.encode()).hexdigest()[:12]
  path = root / 'labels' / f'{builder.name}_{digest}_{split}.npy'
  kept = cache.kept(path, labels, shape=(count,), dtype=np.int32)
  return ImageSource(read, np.array(kept))
