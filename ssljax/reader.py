"""A trained run, for use: `ssljax.load(workdir).recognize(images)`."""

import functools
import os
import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageOps

from ssljax import build
from ssljax.checkpoint import read
from ssljax.data import images as images_lib
from ssljax.data.classes import middle_square
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
    charset: what its head can read; None of a run on images with classes.
    height, width: in pixels, of the frame that every image is fitted to: text
      keeps its aspect and is padded, of other images the middle is cut out.
  """

  def __init__(self, config, stage: str, charset: Charset | None, state):
    self.config, self.stage, self.charset = config, stage, charset
    shape = build.preprocessing(config)
    self.height, self.width = shape['height'], shape['width']
    method = build.method(config, config[stage])
    variables = jax.device_put((state['params'], state['method_state']))

    def compiled(function):
      # Variables as an argument: as constants they would be compiled in.
      return functools.partial(jax.jit(function), *variables)

    self._encode = compiled(method.encode)
    self._predict = compiled(method.predict) if reads(config, stage) else None

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
      images: one or a sequence of several: paths, PIL images, uint8 arrays
        `(height, width)` or `(height, width, 1, 3 or 4)`; or several in one
        array `(count, height, width, 1, 3 or 4)`. Of any size; each is fitted
        to the frame, its aspect kept.

    Returns:
      A list, also for one image. The confidence is that of `Charset.greedy`.

    Raises:
      UserError: what is no image, or a run that has not learned to read.
    """
    if self._predict is None:
      best = preferred(self.config, self.config.recipe)
      remedy = f'Use ssljax.load(workdir, stage={best!r}).'
      if not reads(self.config, best):
        remedy = 'This run has none; run a recipe that learns to read.'
      raise UserError(
        f'Found stage {self.stage!r}, which has no head to read with; expected '
        f'one that was trained on labels. {remedy}'
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
    pictures = [picture(image) for image in listed(images)]
    if self.charset is None:
      found = [
        (middle_square(image, self.width), np.int32(self.width))
        for image in pictures
      ]
    else:
      found = [
        images_lib.fit(image, self.height, self.width) for image in pictures
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
      results.append(np.asarray(function(part[rows]))[: len(part)])
    return np.concatenate(results)


def listed(images) -> list:
  """One image or several as a list."""
  if isinstance(images, str | os.PathLike | Image.Image):
    return [images]
  if hasattr(images, '__array__'):  # other libraries' arrays have it too
    images = np.asarray(images)
    if images.ndim in (2, 3):
      return [images]
  try:
    return list(images)
  except TypeError:
    raise refusal(images) from None


def picture(image) -> Image.Image:
  """A path, a PIL image or an array as RGB; UserError for anything else."""
  if isinstance(image, str | os.PathLike):
    try:
      return images_lib.read_image(image)
    except images_lib.BadImage as error:
      raise UserError(f'{os.fspath(image)}: {error}') from None
  if isinstance(image, Image.Image) and all(image.size):
    # As a path's, or a photograph would read differently when opened before.
    return images_lib.to_rgb(ImageOps.exif_transpose(image))
  if not hasattr(image, '__array__'):
    raise refusal(image)
  array = np.asarray(image)
  if array.ndim == 3 and array.shape[-1] == 1:
    array = array[..., 0]
  known = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
  if array.dtype != np.uint8 or not known or not array.size:
    raise refusal(array)
  return images_lib.to_rgb(Image.fromarray(array))


def refusal(found) -> UserError:
  """What to raise for something that is no image."""
  name = f'{found!r:.80}'
  if isinstance(found, np.ndarray):
    name = f'an array of shape {found.shape} and dtype {found.dtype}'
  return UserError(
    f'Found {name}; expected a path, a PIL image or a uint8 array (height, '
    'width) or (height, width, 1, 3 or 4), or several in a list. Values in '
    '[0, 1] become uint8 by (255 * x).astype(np.uint8).'
  )


def load(workdir, *, stage: str | None = None) -> Reader:
  """Opens a trained run.

  Args:
    workdir: what a run printed as `Trained run`, or a stage's folder in it.
    stage: of its recipe; by default the one that the recipe is for.

  Raises:
    UserError: no run, no such stage, or one that has not run to its end.
  """
  workdir = pathlib.Path(workdir).absolute()
  if stage is None and not is_run(workdir) and is_run(workdir.parent):
    workdir, stage = workdir.parent, workdir.name
  config = run_config(workdir)
  recipe = config['recipe']
  finished = [each for each in recipe if is_finished(workdir / each)]
  if stage is None:
    stage = config.get('product')
    # A recipe may have been cut short, or be for no stage in particular.
    if stage not in recipe:
      stage = preferred(config, finished or recipe)
  check_known('stage', stage, recipe)
  if stage not in finished:
    raise UserError(
      f'Found {workdir / stage} unfinished; expected a stage that has run to '
      'its end. Run the command that made it again, which goes on.'
    )
  saved = read(workdir / stage / 'checkpoints', 'params', 'method_state')
  config = ConfigDict(saved.metadata['config'])
  characters = saved.metadata.get('characters')  # of text only
  charset = Charset(characters) if characters else None
  return Reader(config, stage, charset, saved.state)


def is_run(folder: pathlib.Path) -> bool:
  return (folder / 'config.json').is_file()


def is_finished(folder: pathlib.Path) -> bool:
  return (folder / 'stage.json').is_file()


def run_config(workdir: pathlib.Path) -> dict:
  """What `main` wrote there; UserError for a folder of anything else."""
  if not is_run(workdir):
    raise UserError(
      f'Found no config.json in {workdir}; expected the folder of a run, which '
      'python -m ssljax.main prints as "Trained run".'
    )
  path = workdir / 'config.json'
  try:
    config = read_json(path)
    # Other programs have a config.json too; ours describes its stages.
    preferred(config, config['recipe'])
  except (KeyError, TypeError, ValueError):
    raise UserError(
      f'Found no recipe with its stages in {path}; expected the config of a '
      'run of ssljax. Name the folder of one.'
    ) from None
  return config


def reads(config, stage: str) -> bool:
  """Whether a stage has learned to read."""
  return config[stage]['method']['name'] == 'recognize'


def preferred(config, stages) -> str:
  """Of some stages the last that reads, from parts that were trained before."""
  return max(
    reversed(stages),
    key=lambda each: (reads(config, each), bool(config[each]['take'])),
  )
