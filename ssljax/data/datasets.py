"""Opens the data of a run as the options in `config.data` describe it."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ssljax.data import cache, sources, workers
from ssljax.data.image_sets import open_images
from ssljax.data.own import Own
from ssljax.data.render import render_masks
from ssljax.data.survey import Survey


class Dataset(Protocol):
  """The interface through which a run reads its data.

  Attributes:
    splits: the names of the splits. A split whose name begins with `test` is
      never trained on.
    resolved: the options of `config.data` that the data itself decides, such
      as the charset of the user's labels.
    skipped: (file, reason) for each file that is not used.
    note: a line for the console about what was chosen; '' for none.
    warnings: lines for the console about what was guessed or mended, or may be
      wrong.

  `open` returns the examples of a split. `masks` returns uint8 (count, height,
  width), 255 where an image of the split shows text; it raises a UserError if
  the images were not rendered. `files` returns the files that the examples of a
  split were read from, in order; it is empty if they are not files of the user.
  `survey` says what the user's folder holds; None if there is no such folder.
  """

  splits: tuple[str, ...]
  resolved: dict
  skipped: list[tuple[str, str]]
  note: str
  warnings: tuple[str, ...]

  def open(self, split: str) -> sources.Source: ...

  def masks(self, split: str) -> np.ndarray: ...

  def files(self, split: str) -> Sequence[str]: ...

  def survey(self) -> Survey | None: ...


class Rendered:
  """Images of text that the renderer makes when the first split is opened."""

  def __init__(
    self,
    *,
    data_dir: str,
    memory: int,
    counts: Mapping[str, int],
    **recipe: Any,
  ):
    self.splits = tuple(split for split, count in counts.items() if count)
    self._counts, self._folder = counts, pathlib.Path(data_dir).expanduser()
    self.resolved, self.skipped, self.note = {}, [], ''
    self.warnings: tuple[str, ...] = ()
    self._memory = memory
    self._recipe = {'data_dir': data_dir, 'counts': counts, **recipe}
    # The stages of a run share these caches, so that a split is decoded into
    # memory only once.
    self.open = functools.cache(self._open)
    self.masks = functools.cache(self._masks)

  def files(self, split: str) -> Sequence[str]:
    return ()

  def survey(self) -> None:
    return None

  @functools.cached_property
  def _builder(self) -> Any:
    # tensorflow-datasets is imported where it is used, because loading a
    # trained run does without it.
    from ssljax.data import text_images

    return text_images.prepare(**self._recipe)

  def _open(self, split: str) -> sources.Source:
    return sources.open_split(
      self._builder,
      split,
      memory=self._memory,
      folder=self._folder / 'text_decoded',
    )

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


def open_dataset(options: Mapping[str, Any], *, data_dir: str) -> Dataset:
  """Opens the data that `config.data` describes.

  Args:
    options: the fields of `config.data`. A `name` selects a set of images with
      classes, and its other options are arguments of `open_images`. Without a
      name the images show text: a `directory` selects the user's own images,
      with the arguments of `Own`; otherwise the options are the recipe
      of images to render.
    data_dir: the folder in which rendered and prepared images are kept.

  Raises:
    UserError: images, labels or options cannot be used.
  """
  options = {key: value for key, value in options.items() if key != 'contents'}
  if 'name' in options:
    options.pop('classes', None)  # the data itself decides them
    return open_images(data_dir=data_dir, **options)
  if options.get('directory'):
    return Own(data_dir=data_dir, **options)
  del options['max_length']
  return Rendered(data_dir=data_dir, **options)
