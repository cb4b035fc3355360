"""The data of a run, by the options of `config.data`: rendered or a folder."""

import functools
import pathlib
from typing import Protocol

import numpy as np

from ssljax.data import cache, folder, sources, text_images, workers
from ssljax.data.clean import no_masks
from ssljax.data.image_sets import open_images
from ssljax.data.render import CHARSETS, render_masks


class Dataset(Protocol):
  """What a run needs of its data.

  Attributes:
    splits: their names; those that begin with `test` are only ever read.
    resolved: options of `config.data` as the data itself decides them.
    skipped: (file, reason) of what could not be used.

  `masks` gives uint8 (count, height, width), where each image of a split shows
  its text. UserError where nobody knows.
  """

  splits: tuple[str, ...]
  resolved: dict
  skipped: list[tuple[str, str]]

  def open(self, split: str) -> sources.Source: ...

  def masks(self, split: str) -> np.ndarray: ...


class Rendered:
  """Images that the renderer makes, as soon as one of them is asked for."""

  def __init__(self, *, data_dir: str, memory: int, counts, **recipe):
    self.splits = tuple(split for split, count in counts.items() if count)
    self._counts, self._folder = counts, pathlib.Path(data_dir).expanduser()
    self.resolved, self.skipped = {}, []
    self._memory = memory
    self._prepare = functools.partial(
      text_images.prepare, data_dir=data_dir, counts=counts, **recipe
    )
    # The stages of a run share their splits; in memory, each is decoded once.
    self.open = functools.cache(self._open)
    self.masks = functools.cache(self._masks)

  @functools.cached_property
  def _builder(self):
    return self._prepare()

  def _open(self, split: str) -> sources.Source:
    return sources.open_split(self._builder, split, memory=self._memory)

  def _masks(self, split: str) -> np.ndarray:
    config, count = self._builder.builder_config, self._counts[split]
    return cache.kept(
      self._folder / 'text_masks' / f'{config.name}_{split}.npy',
      lambda: workers.rendered(
        render_masks, count, config.recipe(), split, what=f'masks of {split}'
      ),
      shape=(count, config.height, config.width),
      dtype=np.uint8,
    )


class Own:
  """A person's own images, all of them looked at here."""

  def __init__(self, *, charset: str, **options):
    found = folder.open_folder(
      charset=CHARSETS.get(charset, charset), **options
    )
    self.splits, self.skipped = found.splits, found.skipped
    self.resolved = {
      # Without labels nothing is read, and any charset will do.
      'charset': charset or found.characters or 'digits',
      'max_length': found.max_length,
      'contents': found.contents,
    }
    self.open = functools.cache(found.open)

  def masks(self, split: str) -> np.ndarray:
    return no_masks()


def open_dataset(options: dict, *, data_dir: str) -> Dataset:
  """Opens the data that `config.data` describes.

  Args:
    options: the `name` of a set of images with classes; or, of text, the
      `directory` and how to read it, or the recipe of rendered images.
    data_dir: where rendered images are kept.

  Raises:
    UserError: images, labels or options that cannot be used.
  """
  options = {key: value for key, value in options.items() if key != 'contents'}
  if 'name' in options:
    options.pop('classes', None)  # the data's to say, and not here
    return open_images(data_dir=data_dir, **options)
  if options.get('directory'):
    return Own(**options)
  del options['max_length']
  return Rendered(data_dir=data_dir, **options)
