"""A trained run, for use: `ssljax.load(workdir).recognize(images)`."""

import functools
import os
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ssljax import build
from ssljax.checkpoint import read
from ssljax.data import images as images_lib
from ssljax.errors import UserError, check_known
from ssljax.log import read_json
from ssljax.text import Charset, shown_frames

# Batches are filled up to one of these, so that a function is compiled three
# times at most, however many images come at once.
BUCKETS = (1, 8, 64)


class Reader:
  """A trained stage.

  Attributes:
    stage: its name.
    config: of its run.
    charset: what its head can read.
    height, width: in pixels, of the frame that every image is fitted to.
  """

  def __init__(self, config, stage: str, charset: Charset, state):
    self.config, self.stage, self.charset = config, stage, charset
    self.height, self.width = config.data.height, config.data.width
    method = build.method(config, config[stage])
    variables = jax.device_put((state['params'], state['method_state']))

    def compiled(function):
      # Variables as an argument: as constants they would be compiled in.
      return functools.partial(jax.jit(function), *variables)

    self._encode = compiled(method.encode)
    self._predict = method.predict and compiled(method.predict)

  def encode(self, images) -> np.ndarray:
    """Features, float32 `(n, d)`, or `(n, time, d)` of a text encoder.

    The last frames of an image that does not fill the frame's width show its
    padding.

    Args:
      images: one or several; see `recognize`.
    """
    pixels, _ = self._fitted(images)
    return self._batched(self._encode, pixels).astype(np.float32)

  def recognize(self, images) -> list[tuple[str, float]]:
    """The text in each image, and the confidence of its reading, 0 to 1.

    Args:
      images: one, or a sequence or array of several: paths, PIL images, uint8
        arrays `(height, width)`, `(height, width, 1, 3 or 4)`. Of any size;
        each is fitted to the frame, its aspect kept.

    Returns:
      A list, also for one image.

    Raises:
      UserError: what is no image, or a run that has not learned to read.
    """
    if self._predict is None:
      raise UserError(
        f'Found stage {self.stage!r}, which has no head to read with; expected '
        'one that was trained on labels. Load another: '
        f'ssljax.load(workdir, stage=...), with one of '
        f'{", ".join(self.config.recipe)}.'
      )
    pixels, widths = self._fitted(images)
    if not len(pixels):
      return []
    logits = self._batched(self._predict, pixels)
    valid = shown_frames(widths, frames=logits.shape[1], width=self.width)
    return self.charset.greedy(logits, valid)

  def _fitted(self, images) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.empty((0, self.height, self.width, 3), np.uint8)
    widths = np.empty(0, np.int32)
    found = [
      images_lib.fit(picture(image), self.height, self.width)
      for image in listed(images)
    ]
    if found:
      pixels, widths = (np.stack(column) for column in zip(*found, strict=True))
    return pixels, widths

  def _batched(self, function, pixels: np.ndarray) -> np.ndarray:
    """The function's results, over batches of the sizes in `BUCKETS`."""
    if not len(pixels):
      # Shapes without a computation.
      like = jax.ShapeDtypeStruct((1, *pixels.shape[1:]), pixels.dtype)
      shape = jax.eval_shape(function, like).shape
      return np.empty((0, *shape[1:]), np.float32)
    results = []
    for start in range(0, len(pixels), BUCKETS[-1]):
      part = pixels[start : start + BUCKETS[-1]]
      size = next(size for size in BUCKETS if size >= len(part))
      rows = np.arange(size).clip(max=len(part) - 1)
      results.append(np.asarray(function(jnp.asarray(part[rows])))[: len(part)])
    return np.concatenate(results)


def listed(images) -> Sequence:
  """One image or several as a sequence."""
  single = isinstance(images, str | os.PathLike | Image.Image)
  if isinstance(images, np.ndarray) and images.ndim <= 3:
    single = images.ndim < 3 or images.shape[-1] in (1, 3, 4)
  return [images] if single else list(images)


def picture(image) -> Image.Image:
  """A path, a PIL image or an array as RGB; UserError for anything else."""
  if isinstance(image, str | os.PathLike):
    try:
      return images_lib.read_image(image)
    except images_lib.BadImage as error:
      raise UserError(f'{os.fspath(image)}: {error}') from None
  if isinstance(image, Image.Image):
    return images_lib.to_rgb(image)
  array = np.asarray(image)
  if array.ndim == 3 and array.shape[-1] == 1:
    array = array[..., 0]
  known = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
  if array.dtype != np.uint8 or not known or not array.size:
    raise UserError(
      f'Found {type(image).__name__} of shape {array.shape} and dtype '
      f'{array.dtype}; expected a path, a PIL image or a uint8 array (height, '
      'width), (height, width, 1, 3 or 4). Values in [0, 1] become uint8 by '
      '(255 * x).astype(np.uint8).'
    )
  return images_lib.to_rgb(Image.fromarray(array))


def load(workdir, *, stage: str | None = None) -> Reader:
  """Opens a trained run.

  Args:
    workdir: what a run printed as `Trained run`.
    stage: of its recipe; by default the one that the recipe is for.

  Raises:
    UserError: no run, no such stage, or one that has not run to its end.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / 'config.json'
  if not path.is_file():
    raise UserError(
      f'Found no config.json in {workdir}; expected the folder of a run, which '
      'python -m ssljax.main prints as "Trained run".'
    )
  config = ConfigDict(read_json(path))
  if 'recipe' not in config:
    raise UserError(
      f'Found no recipe in {path}; expected the config of a run of ssljax.'
    )
  if stage is None:
    # A recipe may have been cut short.
    stage = (
      config.product if config.product in config.recipe else config.recipe[-1]
    )
  check_known('stage', stage, config.recipe)
  if not (workdir / stage / 'stage.json').is_file():
    raise UserError(
      f'Found {workdir / stage} unfinished; expected a stage that has run to '
      'its end. Run the command that made it again, which goes on.'
    )
  saved = read(workdir / stage / 'checkpoints', 'params', 'method_state')
  charset = Charset(saved.metadata['characters'])
  return Reader(config, stage, charset, saved.state)
