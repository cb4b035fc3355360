"""Opens sets of images with classes: digits, glyphs, a folder, or a tfds set.

A method learns from `train`, with or without its labels. `test` is read once,
when a stage is done.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ssljax.data import cache, glyphs, workers
from ssljax.data.classes import open_classes
from ssljax.data.clean import no_masks
from ssljax.data.image_sources import ImageSource
from ssljax.data.survey import Survey
from ssljax.errors import UserError, check_known

SPLITS = ('train', 'validation', 'test')
DIGITS = {'train': 1200, 'validation': 197, 'test': 400}
DIGIT_SIZES = (8, 16, 32)
GLYPHS = {'train': 20_000, 'validation': 2_000, 'test': 2_000}


class Images:
  """An opened set; each split is read when it is first opened, and then kept.

  Attributes:
    splits: the names of the splits that have images.
    resolved: the options of `config.data` that the set itself decides:
      `classes`, their names, and `contents`, a string that differs between
      sets with different contents.
    skipped: (file, reason) of files that are not used.
    note: empty, because nothing is chosen.
    warnings: lines about what may be wrong with the images.
  """

  note = ''
  warnings: tuple[str, ...] = ()

  def __init__(
    self,
    openers: Mapping[str, Callable[[], ImageSource]],
    classes: Sequence[str],
    contents: str,
    skipped: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    masks: Callable[[str], np.ndarray] | None = None,
    directory: str = '',
    sizes: Sequence[tuple[int, int]] = (),
  ):
    """Takes what opens each split, and what describes the set.

    Args:
      openers: for each split, a function that reads it.
      classes: the names of the classes.
      contents: a string that differs between sets with different contents.
      skipped: (file, reason) of files that are not used.
      warnings: lines about what may be wrong with the images.
      masks: uint8 (count, height, width) of a split, by its name; leave it out
        if the images were not rendered.
      directory: the user's folder; '' if the images are of none.
      sizes: (width, height) of each of the user's pictures, in pixels.
    """
    self.splits = tuple(openers)
    self._classes = tuple(classes)
    self.resolved = {'classes': self._classes, 'contents': contents}
    self.skipped, self.warnings = list(skipped), tuple(warnings)
    self._openers, self._directory, self._sizes = openers, directory, sizes
    # The stages of a run share this cache, so a split is read only once.
    self.open = functools.cache(self._open)
    self.masks = functools.cache(masks or (lambda split: no_masks()))

  def files(self, split: str) -> Sequence[str]:
    return ()  # only the readings of text are listed by file

  def survey(self) -> Survey | None:
    if not self._directory:
      return None
    opened = {split: self.open(split) for split in self.splits}
    names = {
      split: [source.describe(place).name for place in range(len(source))]
      for split, source in opened.items()
    }
    frame = opened['train'][0]['image'].shape[:2]
    return Survey(
      directory=self._directory,
      images=sorted(name for split in names.values() for name in split),
      skipped=self.skipped,
      sizes=self._sizes,
      rows=(),
      frame=(int(frame[0]), int(frame[1])),
      splits={
        split: {
          name: self._classes[label]
          for name, label in zip(names[split], source.labels, strict=True)
          if label >= 0
        }
        for split, source in opened.items()
      },
      classes=True,
    )

  def _open(self, split: str) -> ImageSource:
    check_known('split', split, self.splits)
    source = self._openers[split]()
    source.classes = self._classes
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
  """Opens a set of images with classes.

  Args:
    name: 'digits' (scikit-learn's), 'glyphs', 'folder', or the name of a set
      of tensorflow-datasets that has been prepared in `data_dir`.
    data_dir: the folder where glyphs are kept and prepared sets are found.
    size: the side of the images that a stage sees, in pixels: 8, 16 or 32 for
      'digits' and 48 for 'glyphs'; with 0 the smallest of these.
    stored: the side, in pixels, of the squares that the images of a folder or
      a prepared set are cut to; a stage crops its views from them. 0 means
      `size`.
    seed: renders the glyphs, and splits the digits.
    counts: the number of glyphs in each split; `GLYPHS` by default.
    directory: the folder, for 'folder'.
    memory: the most bytes of decoded images that a split may hold in memory.

  Raises:
    UserError: the set does not exist, or an option does not fit it.
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
      'an image in pixels. Set it, for example size=64.'
    )
  if name == 'folder':
    if not directory:
      raise UserError(
        'Found no directory for the data set folder; expected the path of one. '
        'Set it with directory=DIR.'
      )
    path = pathlib.Path(directory).expanduser()
    found = open_classes(path, stored=stored, memory=memory)
    return Images(*found[:5], directory=directory, sizes=found[5])
  from ssljax.data.prepared_images import open_prepared

  return Images(
    *open_prepared(name, data_dir=data_dir, stored=stored, memory=memory)
  )


def _digits(size: int, seed: int) -> Images:
  """scikit-learn's 1,797 gray digits of 8x8 pixels, enlarged to `size`."""
  if size not in DIGIT_SIZES:
    raise UserError(
      f'Found size {size} for digits; expected one of '
      f'{", ".join(map(str, DIGIT_SIZES))}.'
    )
  from sklearn.datasets import load_digits

  digits: Any = load_digits()  # a tuple only with return_X_y
  gray = np.round(digits.images * (255 / 16)).astype(np.uint8)

  def enlarge(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image.convert('RGB'))

  def source(positions: np.ndarray) -> ImageSource:
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
  """A random order of which every stretch has each class by its share."""
  order = np.random.default_rng(seed).permutation(len(labels))
  place = np.empty(len(labels))
  for label in np.unique(labels):
    own = labels[order] == label
    place[own] = (np.arange(own.sum()) + 0.5) / own.sum()
  return order[np.argsort(place, kind='stable')]


def _glyphs(
  size: int, seed: int, counts: Mapping[str, int], data_dir: str, memory: int
) -> Images:
  if size not in (0, glyphs.SIZE):
    raise UserError(
      f'Found size {size} for glyphs; expected {glyphs.SIZE}, the only size '
      'that they are drawn in. Leave --config.data.size as it is.'
    )
  for split, count in counts.items():
    check_known('split', split, glyphs.SPLITS)
    if not 0 <= count < 2**32:
      raise UserError(
        f'Found {count} glyphs for {split!r}; expected 0 or more.'
      )
  folder = pathlib.Path(data_dir).expanduser() / 'glyphs'

  def source(split: str, count: int) -> ImageSource:
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

  def masks(split: str) -> np.ndarray:
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
