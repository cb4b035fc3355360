"""Sets of images with classes, by name: digits, glyphs, a folder, any of tfds.

`train` is what a method learns from, with or without the labels; `test` is read
once a stage is done.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from ssljax.data import cache, glyphs, workers
from ssljax.data.classes import open_classes
from ssljax.data.clean import no_masks
from ssljax.data.image_sources import ImageSource
from ssljax.data.prepared_images import open_prepared
from ssljax.errors import UserError, check_known

SPLITS = ('train', 'validation', 'test')
DIGITS = {'train': 1200, 'validation': 197, 'test': 400}
DIGIT_SIZES = (8, 16, 32)
GLYPHS = {'train': 20_000, 'validation': 2_000, 'test': 2_000}


class Images:
  """An opened set; a split is read when it is asked for, and then kept.

  Attributes:
    splits: names of those that have images.
    resolved: what `config.data` learns from it: the names of the classes, and
      what tells its contents from others.
    skipped: (file, reason) of files that are not used.
  """

  def __init__(
    self,
    openers: Mapping[str, Callable[[], ImageSource]],
    classes: Sequence[str],
    contents: str,
    skipped: Sequence[tuple[str, str]] = (),
    masks: Callable[[str], np.ndarray] | None = None,
  ):
    self.splits = tuple(openers)
    self.resolved = {'classes': tuple(classes), 'contents': contents}
    self.skipped = list(skipped)
    self._openers = openers
    # The stages of a run share their splits.
    self.open = functools.cache(self._open)
    self.masks = functools.cache(masks or (lambda split: no_masks()))

  def _open(self, split: str) -> ImageSource:
    check_known('split', split, self.splits)
    source = self._openers[split]()
    source.classes = self.resolved['classes']
    return source


def open_images(
  *,
  name: str,
  data_dir: str,
  size: int = 0,
  stored: int = 0,
  seed: int = 0,
  counts: Mapping[str, int] | None = None,
  directory: str = '',
  memory: int = 2**30,
) -> Images:
  """Opens a set.

  Args:
    name: 'digits' (scikit-learn's), 'glyphs', 'folder', or the name of a set
      of tensorflow-datasets that has been prepared in `data_dir`.
    data_dir: where glyphs are kept and prepared sets are found.
    size: of an image that a stage sees, in pixels: 8, 16 or 32 for 'digits',
      48 for 'glyphs'; 0 for the smallest of these.
    stored: side of the squares that other images are cut to, of which a stage
      takes its views; `size` if 0.
    seed: of the glyphs, and of how digits are split.
    counts: glyphs of each split; `GLYPHS` if there are none.
    directory: of 'folder'.
    memory: the most bytes of decoded images that a split may hold.

  Raises:
    UserError: a set that is not there, or cannot be used.
  """
  if not 0 <= seed < 2**32:
    raise UserError(f'Found seed {seed}; expected 0 <= seed < 2**32.')
  if name == 'digits':
    return _digits(size or DIGIT_SIZES[0], seed)
  if name == 'glyphs':
    return _glyphs(size, seed, counts or GLYPHS, data_dir, memory)
  stored = stored or size
  if stored < 1:
    raise UserError(
      f'Found size {size} and stored {stored} for {name}; expected the side of '
      'an image in pixels, as size=64.'
    )
  if name == 'folder':
    if not directory:
      raise UserError(
        'Found no directory for the images of a folder; expected one, as '
        'directory=DIR.'
      )
    directory = pathlib.Path(directory).expanduser()
    return Images(*open_classes(directory, stored=stored, memory=memory))
  return Images(
    *open_prepared(name, data_dir=data_dir, stored=stored, memory=memory)
  )


def _digits(size: int, seed: int) -> Images:
  """1,797 gray images of 8x8, made larger where asked for."""
  if size not in DIGIT_SIZES:
    raise UserError(
      f'Found size {size} for digits; expected one of '
      f'{", ".join(map(str, DIGIT_SIZES))}.'
    )
  digits = load_digits()
  gray = np.round(digits.images * (255 / 16)).astype(np.uint8)

  def enlarge(image):
    image = Image.fromarray(image).resize((size, size), Image.BILINEAR)
    return np.asarray(image.convert('RGB'))

  def source(positions):
    pixels = np.stack([enlarge(image) for image in gray[positions]])
    return ImageSource(pixels, digits.target[positions])

  parts = np.split(
    _stratified(digits.target, seed), np.cumsum([*DIGITS.values()])[:-1]
  )
  openers = {
    split: functools.partial(source, part)
    for split, part in zip(DIGITS, parts, strict=True)
  }
  return Images(
    openers, [str(name) for name in digits.target_names], f'split by {seed}'
  )


def _stratified(labels: np.ndarray, seed: int) -> np.ndarray:
  """A random order in which any stretch has each class by its share."""
  order = np.random.default_rng(seed).permutation(len(labels))
  place = np.empty(len(labels))
  for label in np.unique(labels):
    own = labels[order] == label
    place[own] = (np.arange(own.sum()) + 0.5) / own.sum()
  return order[np.argsort(place, kind='stable')]


def _glyphs(size: int, seed: int, counts, data_dir: str, memory: int) -> Images:
  if size not in (0, glyphs.SIZE):
    raise UserError(
      f'Found size {size} for glyphs; expected {glyphs.SIZE}, as they are '
      'drawn. Leave --config.data.size as it is.'
    )
  for split, count in counts.items():
    check_known('split', split, glyphs.SPLITS)
    if not 0 <= count < 2**32:
      raise UserError(
        f'Found {count} glyphs for {split!r}; expected 0 or more.'
      )
  folder = pathlib.Path(data_dir).expanduser() / 'glyphs'

  def source(split, count):
    pixels = cache.kept(
      folder / f'version{glyphs.VERSION}_seed{seed}_{split}_{count}.npy',
      lambda: glyphs.render_split(seed=seed, split=split, count=count),
      shape=(count, glyphs.SIZE, glyphs.SIZE, 3),
      dtype=np.uint8,
    )
    if pixels.nbytes <= memory:
      pixels = np.array(pixels)
    return ImageSource(pixels, glyphs.labels_of(count))

  openers = {
    split: functools.partial(source, split, counts[split])
    for split in glyphs.SPLITS
    if counts.get(split)
  }

  def masks(split):
    count = counts[split]
    return cache.kept(
      folder / f'version{glyphs.VERSION}_seed{seed}_{split}_{count}_masks.npy',
      lambda: workers.rendered(
        glyphs.render_masks, count, seed, split, what=f'masks of {split}'
      ),
      shape=(count, glyphs.SIZE, glyphs.SIZE),
      dtype=np.uint8,
    )

  return Images(
    openers, glyphs.CLASSES, f'version {glyphs.VERSION}', masks=masks
  )
