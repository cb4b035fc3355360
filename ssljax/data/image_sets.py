"""Sets of images with classes, by name: digits, glyphs, a folder, any of tfds.

`train` is what a method learns from, with or without the labels; `test` is read
once a stage is done.
"""

import hashlib
import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

from ssljax.data import folder, glyphs, images
from ssljax.data.image_sources import ImageSource, square
from ssljax.errors import UserError, check_known, suggest

# The largest share of a set that its `validation` and `test` take where it
# comes without them.
VALIDATION, TEST = 0.1, 0.2
NAMES = ('digits', 'glyphs', 'folder')
KNOWN = (*NAMES, 'cifar10', 'cifar100', 'mnist', 'stl10', 'imagenet2012')


class Images:
  """An opened set.

  Attributes:
    splits: names of those that have images.
    resolved: what `config.data` learns from it.
    skipped: (file, reason) of files that are not used.
  """

  def __init__(self, sources, classes, *, contents='', skipped=()):
    self._sources = {
      split: source for split, source in sources.items() if len(source)
    }
    self.splits = tuple(self._sources)
    self.resolved = {'classes': tuple(classes), 'contents': contents}
    self.skipped = list(skipped)

  def open(self, split: str) -> ImageSource:
    check_known('split', split, self.splits)
    return self._sources[split]


def open_images(
  *,
  name: str,
  size: int,
  stored: int,
  seed: int = 0,
  counts: dict | None = None,
  directory: str = '',
  memory: int = 2**30,
  data_dir: str = '',
) -> Images:
  """Opens a set.

  Args:
    name: 'digits' (scikit-learn's), 'glyphs', 'folder', or the name of a set
      of tensorflow-datasets that has been prepared in `data_dir`.
    size: of an image that a stage sees, in pixels; 'digits' are made this
      large, 'glyphs' have 48.
    stored: side of the squares that images of files are cut to; views are cut
      from these.
    seed: of the glyphs, and of how digits are split.
    counts: glyphs of each split.
    directory: of 'folder'.
    memory: the most bytes of decoded images that a split may hold.
    data_dir: where tensorflow-datasets keeps what was prepared.

  Raises:
    UserError: a set that is not there, or cannot be used.
  """
  if name == 'digits':
    return _digits(size, seed)
  if name == 'glyphs':
    return _glyphs(size, seed, counts or {})
  if name == 'folder':
    return _folder(pathlib.Path(directory), stored, memory)
  return _prepared(name, data_dir, stored, memory)


def _digits(size: int, seed: int) -> Images:
  """1,797 gray 8x8 images: 1,200 to learn from, 197 and 400 to test."""
  digits = load_digits()
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(digits.target))
  values = np.round(digits.images * (255 / 16)).astype(np.uint8)

  def enlarge(image):
    image = Image.fromarray(image).resize((size, size), Image.BILINEAR)
    return np.asarray(image.convert('RGB'))

  pixels = np.stack([enlarge(image) for image in values])
  parts = np.split(order, [1200, 1397])
  sources = {
    split: ImageSource(pixels[part], digits.target[part])
    for split, part in zip(glyphs.SPLITS, parts, strict=True)
  }
  return Images(sources, map(str, digits.target_names))


def _glyphs(size: int, seed: int, counts) -> Images:
  if size != glyphs.SIZE:
    raise UserError(
      f'Found size {size} for glyphs; expected {glyphs.SIZE}, as they are '
      'drawn. Leave --config.data.size as it is.'
    )
  sources = {
    split: ImageSource(
      glyphs.render_split(seed=seed, split=split, count=count),
      glyphs.labels_of(count),
    )
    for split, count in counts.items()
  }
  return Images(sources, glyphs.CLASSES, contents=f'version {glyphs.VERSION}')


def _folder(directory: pathlib.Path, stored: int, memory: int) -> Images:
  """Images in folders of their classes, in `train`, `validation`, `test`.

  Without these three, a tenth of the images validates and a fifth tests, by
  their names; without folders of classes all images are to learn from.
  """
  files = folder.list_files(directory)

  def read(file):
    return square(images.read_image(directory / file), stored)

  skipped = folder.unreadable(read, files)
  folder.check_skipped(directory, skipped, len(files))
  bad = {file for file, _ in skipped}
  files = [file for file in files if file not in bad]
  paths = [pathlib.PurePosixPath(file).parts for file in files]
  given = {path[0] for path in paths if len(path) > 1} & set(glyphs.SPLITS)
  named = [path[1:-1] if path[0] in given else path[:-1] for path in paths]
  classes = sorted({name[0] for name in named if name})
  labels = [classes.index(name[0]) if name else -1 for name in named]
  splits = [
    path[0] if path[0] in given else _split_of(file, bool(name) and not given)
    for file, path, name in zip(files, paths, named, strict=True)
  ]
  sources = {}
  for split in glyphs.SPLITS:
    chosen = [place for place, each in enumerate(splits) if each == split]
    names = [files[place] for place in chosen]
    sources[split] = ImageSource(
      lambda position, names=names: read(names[position]),
      [labels[place] for place in chosen],
      names,
    ).held(memory)
  digest = folder.digest(directory, files, {})
  return Images(sources, classes, contents=digest, skipped=skipped)


def _split_of(file: str, labelled: bool) -> str:
  """Which split a file is in, by its name alone: more files change no other."""
  place = int(
    hashlib.sha256(file.encode(errors='surrogateescape')).hexdigest(), 16
  )
  share = place % 10_000 / 10_000
  if not labelled or share >= TEST + VALIDATION:
    return 'train'
  return 'test' if share < TEST else 'validation'


def _prepared(name: str, data_dir: str, stored: int, memory: int) -> Images:
  """A set of tensorflow-datasets, from its files; nothing is downloaded."""
  builder = _builder(name, data_dir)
  found = builder.info.splits
  if (
    'label' not in builder.info.features or 'image' not in builder.info.features
  ):
    raise UserError(
      f'Found features {", ".join(builder.info.features)} in {name}; expected '
      'image and label. Choose a set for classification.'
    )

  def source(split):
    skip = {'image': tfds.decode.SkipDecoding()}
    records = builder.as_data_source(split, decoders=skip)
    labels = [int(record['label']) for record in records]

    def read(position):
      with Image.open(io.BytesIO(records[position]['image'])) as image:
        return square(images.to_rgb(image), stored)

    return ImageSource(read, labels).held(memory)

  train, test = source('train'), 'test' if 'test' in found else 'validation'
  if test not in found:
    raise UserError(
      f'Found splits {", ".join(found)} in {name}; expected a test or a '
      'validation split beside train.'
    )
  # The last tenth of a fixed order, unless there is one.
  order = np.random.default_rng(0).permutation(len(train))
  cut = len(train) - round(VALIDATION * len(train))
  parts = {'train': train.part(np.sort(order[:cut]))}
  parts['validation'] = train.part(np.sort(order[cut:]))
  if test == 'test' and 'validation' in found:
    parts = {'train': train, 'validation': source('validation')}
  names = builder.info.features['label'].names
  sources = parts | {'test': source(test)}
  return Images(sources, names, contents=builder.info.full_name)


def _builder(name: str, data_dir: str):
  try:
    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
  except tfds.core.registered.DatasetNotFoundError:
    raise UserError(
      f'Found no data set {name!r}; expected {", ".join(NAMES)} or a name of '
      f'tensorflow-datasets.{suggest(name, KNOWN)}'
    ) from None
  if not pathlib.Path(builder.data_dir).is_dir():
    raise UserError(
      f'Found {name} not prepared in {data_dir}; expected '
      f'{builder.data_dir}. Prepare it once, with what it needs: python -c '
      f'"import tensorflow_datasets as tfds; tfds.data_source({name!r}, '
      f'data_dir={data_dir!r})"'
    )
  return builder
