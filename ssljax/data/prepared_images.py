"""Opens sets of tensorflow-datasets (tfds) that the user has prepared.

Nothing is downloaded, and reading the files does not need TensorFlow.
"""

import functools
import hashlib
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder, registered

from ssljax.data import cache, images
from ssljax.data.classes import middle_square
from ssljax.data.image_sources import ImageSource
from ssljax.errors import UserError, suggest

VALIDATION = 0.1  # the share of `train` that becomes validation if need be
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
BLOCK = 1024  # records that are read at once to get their labels


def open_prepared(
  name: str, *, data_dir: str, stored: int, memory: int
) -> tuple[dict[str, Callable[[], ImageSource]], tuple[str, ...], str]:
  """Opens a set by its name, such as `cifar10` or `imagenette/320px-v2`.

  If the set's own `test` has labels, it becomes `test`. Otherwise (ImageNet)
  the set's `validation` becomes `test`. `validation` is the set's own, unless
  it has none or `test` has taken it: then a tenth of `train`, drawn with a
  fixed seed, becomes `validation` and leaves `train`.

  Args:
    name: the name of the set.
    data_dir: the folder in which it was prepared.
    stored: the side of the squares that images are cut to, in pixels.
    memory: the most bytes of decoded images that a split may hold in memory.
      A larger split is decoded anew at every access.

  Returns:
    The arguments of `image_sets.Images`: a function that opens each split, the
    names of the classes, and a string that differs between sets with different
    contents.

  Raises:
    UserError: the set is unknown, has not been prepared, or has no labelled
      images that can be used.
  """
  root = pathlib.Path(data_dir).expanduser().absolute()
  builder = _builder(name, root)
  _check(name, builder, root)
  counts = {
    split: info.num_examples for split, info in builder.info.splits.items()
  }
  test = _test_split(name, builder, counts)

  @functools.cache
  def whole(split: str) -> ImageSource:
    return _source(builder, root, split, counts[split], stored)

  openers = {'train': lambda: whole('train').held(memory)}
  openers['validation'] = lambda: whole('validation').held(memory)
  if test == 'validation' or 'validation' not in counts:
    order = np.random.default_rng(0).permutation(counts['train'])
    cut = len(order) - round(VALIDATION * len(order))

    def part(positions: np.ndarray) -> ImageSource:
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


def _builder(name: str, root: pathlib.Path) -> Any:
  """The tfds builder of a set's files, whichever version is there."""
  try:
    return read_only_builder.builder_from_files(name, data_dir=str(root))
  except (registered.DatasetNotFoundError, ValueError):
    pass  # tfds raises a ValueError for a malformed name
  family = name.partition('/')[0].partition(':')[0]
  found = sorted(
    str(path.parent.relative_to(root))
    for path in (root / family).rglob('dataset_info.json')
    if family.isidentifier()  # '..' would lead out of the folder
  )
  if found:
    raise UserError(
      f'Found {", ".join(found)} in {root}, but not {name}; expected the name '
      'of a set that is there. Use one of these, without its version.'
    )
  if family not in tfds.list_builders(with_community_datasets=False):
    raise UserError(
      f'Found no data set {name!r} in {root}; expected one of '
      f'{", ".join(KNOWN)} or another set of tensorflow-datasets.'
      + suggest(name.lower(), KNOWN)
    )
  raise UserError(
    f'Found no {name} in {root}; expected the prepared set there. '
    + _how_to_prepare(name, root)
  )


def _how_to_prepare(name: str, root: pathlib.Path) -> str:
  program = (
    'import tensorflow_datasets as tfds; '
    f'tfds.builder({name!r}, data_dir={str(root)!r}, '
    "file_format='array_record').download_and_prepare()"
  )
  return (
    'Prepare it once, in a separate Python environment, because only this step '
    'needs TensorFlow:\n'
    '  pip install tensorflow tensorflow-datasets array-record '
    f'importlib_resources\n  python -c "{program}"'
  )


def _check(name: str, builder: Any, root: pathlib.Path) -> None:
  """Raises a UserError unless the files hold images with classes."""
  features, known = builder.info.features, tfds.features
  wanted = {'image': known.Image, 'label': known.ClassLabel}
  for feature, kind in wanted.items():
    if feature not in features or not isinstance(features[feature], kind):
      raise UserError(
        f'Found the features {", ".join(features)} in {name}; expected an '
        'image, and a label that is a class. Choose a set for classification.'
      )
  found = builder.info.file_format
  if found != tfds.core.FileFormat.ARRAY_RECORD:
    raise UserError(
      f'Found {name} as {found.value} in {builder.data_dir}; expected '
      'array_record, because it can be read in any order. Move this folder '
      'away. ' + _how_to_prepare(name, root)
    )


def _test_split(name: str, builder: Any, counts: dict[str, int]) -> str:
  for split in ('test', 'validation'):
    # The labels of ImageNet's `test` are not public, and -1 in its files.
    if counts.get(split) and _records(builder, split)[0]['label'] >= 0:
      if counts.get('train'):
        return split
      break
  raise UserError(
    f'Found the splits {", ".join(counts)} in {name}; expected train, and test '
    'or validation with labels. Choose a set that has them.'
  )


def _records(builder: Any, split: str) -> Any:
  # An image stays encoded until it is read, so that reading only the labels of
  # a split decodes no image.
  return builder.as_data_source(
    split, decoders={'image': tfds.decode.SkipDecoding()}
  )


def _source(
  builder: Any, root: pathlib.Path, split: str, count: int, stored: int
) -> ImageSource:
  records = _records(builder, split)

  def read(position: int) -> np.ndarray:
    with Image.open(io.BytesIO(records[position]['image'])) as image:
      return middle_square(images.to_rgb(image), stored)

  def labels() -> np.ndarray:
    found = np.empty(count, np.int32)
    for start in range(0, count, BLOCK):
      places = range(start, min(start + BLOCK, count))
      block = records.__getitems__(places)
      found[start : places.stop] = [record['label'] for record in block]
    return found

  # Getting the labels takes reading the whole split (minutes for ImageNet), so
  # they are kept in a file.
  info = pathlib.Path(builder.data_dir) / 'dataset_info.json'
  key = f'{builder.data_dir} {info.stat().st_mtime_ns} {info.read_text()}'
  digest = hashlib.sha256(key.encode()).hexdigest()[:12]
  path = root / 'labels' / f'{builder.name}_{digest}_{split}.npy'
  kept = cache.kept(path, labels, shape=(count,), dtype=np.int32)
  return ImageSource(read, np.array(kept))
