"""A trained run, for use: `ssljax.load(workdir).recognize(images)`."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageOps

from ssljax import build, tasks
from ssljax.checkpoint import read
from ssljax.core import Method
from ssljax.data import images as images_lib
from ssljax.errors import UserError, check_known
from ssljax.records import read_json
from ssljax.tasks import Task
from ssljax.text import shown_frames
from ssljax.workdir import check_finished, is_finished, is_run

# Batches are filled up to one of these, so that a function is compiled three
# times at most, however many images come at once.
BUCKETS = (1, 8, 64)


class Reader:
  """A trained stage.

  Attributes:
    stage: its name.
    config: of its run, as a dict.
    charset: the characters that its head can read; None of a run on images
      with classes.
    height, width: in pixels, of the frame that every image is fitted to. Text
      keeps its aspect and is padded; of other images the middle is cut out.
  """

  def __init__(
    self,
    stage: str,
    *,
    task: Task,
    method: Method,
    state: Mapping[str, Any],
    run: Mapping[str, Any],
  ):
    """Takes a trained method and the config that it was trained by."""
    self.stage, self.charset, self._fit = stage, task.charset, task.fit
    self.config = run
    shape = task.metadata['preprocessing']
    self.height, self.width = shape['height'], shape['width']
    variables = jax.device_put((state['params'], state['method_state']))

    def compiled(function):
      # Variables as an argument: as constants they would be compiled in.
      return functools.partial(jax.jit(function), *variables)

    self._encode = compiled(method.encode)
    can_read = task.charset is not None and method.learns_labels
    self._predict = compiled(method.predict) if can_read else None

  def encode(self, images: Any) -> np.ndarray:
    """Features, float32 `(n, d)`, or `(n, time, d)` of a text encoder.

    A text encoder does not see the padding of an image that does not fill the
    frame's width; the features of such frames are zeros.

    Args:
      images: one or several; see `recognize`.
    """
    return self._batched(self._encode, *self._fitted(images)).astype(np.float32)

  def recognize(self, images: Any) -> list[tuple[str, float]]:
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
    if self._predict is None or self.charset is None:
      best = preferred(self.config, self.config['recipe'])
      remedy = f'Use ssljax.load(workdir, stage={best!r}).'
      if not reads(self.config, best):
        remedy = 'This run has none; run a recipe that learns to read.'
      raise UserError(
        f'Found stage {self.stage!r}, which has no head to read with; expected '
        f'a stage that was trained on labels. {remedy}'
      )
    pixels, widths = self._fitted(images)
    if not len(pixels):
      return []
    logits = self._batched(self._predict, pixels, widths)
    valid = shown_frames(widths, frames=logits.shape[1], width=self.width)
    return self.charset.greedy(logits, valid)

  def _fitted(self, images) -> tuple[np.ndarray, np.ndarray]:
    found = [self._fit(picture(image)) for image in listed(images)]
    if not found:
      pixels = np.empty((0, self.height, self.width, 3), np.uint8)
      return pixels, np.empty(0, np.int32)
    pixels, widths = zip(*found, strict=True)
    return np.stack(pixels), np.array(widths, np.int32)

  def _batched(
    self, function, pixels: np.ndarray, widths: np.ndarray
  ) -> np.ndarray:
    """The function's results, over batches of the sizes in `BUCKETS`."""
    if not len(pixels):
      # Shapes without a computation.
      like = [
        jax.ShapeDtypeStruct((1, *each.shape[1:]), each.dtype)
        for each in (pixels, widths)
      ]
      shape = jax.eval_shape(function, *like).shape
      return np.empty((0, *shape[1:]), np.float32)
    results = []
    for start in range(0, len(pixels), BUCKETS[-1]):
      count = min(len(pixels) - start, BUCKETS[-1])
      size = next(size for size in BUCKETS if size >= count)
      rows = start + np.arange(size).clip(max=count - 1)
      results.append(np.asarray(function(pixels[rows], widths[rows]))[:count])
    return np.concatenate(results)


def listed(images: Any) -> list:
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


def picture(image: Any) -> Image.Image:
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


def refusal(found: Any) -> UserError:
  """What to raise for something that is no image."""
  name = f'{found!r:.80}'
  if isinstance(found, np.ndarray):
    name = f'an array of shape {found.shape} and dtype {found.dtype}'
  return UserError(
    f'Found {name}; expected a path, a PIL image or a uint8 array (height, '
    'width) or (height, width, 1, 3 or 4), or several in a list. Values in '
    '[0, 1] become uint8 by (255 * x).astype(np.uint8).'
  )


def load(
  workdir: str | os.PathLike[str], *, stage: str | None = None
) -> Reader:
  """Opens a trained run.

  Args:
    workdir: what a run printed as `Trained run`, or a stage's folder in it.
    stage: of its recipe; by default the one that the recipe is for.

  Raises:
    UserError: no run, no such stage, or one that has not run to its end.
  """
  folder = pathlib.Path(workdir).absolute()
  if stage is None and not is_run(folder) and is_run(folder.parent):
    folder, stage = folder.parent, folder.name
  run = described(folder)
  recipe = run['recipe']
  finished = [each for each in recipe if is_finished(folder / each)]
  if stage is None:
    stage = str(run.get('product'))
    # A recipe may have been cut short, or be for no stage in particular.
    if stage not in recipe:
      stage = preferred(run, finished or recipe)
  check_known('stage', stage, recipe)
  check_finished(folder / stage)
  saved = read(folder / stage / 'checkpoints', 'params', 'method_state')
  # What it was trained by, whatever has become of `config.json` since.
  trained = saved.metadata['config']
  task = tasks.make(trained)
  method = method_of(trained, stage, task)
  return Reader(stage, task=task, method=method, state=saved.state, run=trained)


def method_of(run: Mapping[str, Any], stage: str, task: Task) -> Method:
  networks = build.networks(run)
  return build.method(run[stage], networks=networks, task=task)


def described(folder: pathlib.Path) -> dict[str, Any]:
  """The config that `main` wrote into a run's folder.

  Raises:
    UserError: a folder of anything else.
  """
  if not is_run(folder):
    raise UserError(
      f'Found no config.json in {folder}; expected the folder of a run, which '
      'python -m ssljax.main prints as "Trained run".'
    )
  path, run = folder / 'config.json', {}
  try:
    run = read_json(path)
    # Other programs have a config.json too; ours describes its stages.
    stages = run['recipe'] if run['data'] else ()
    named = [run[stage]['method']['name'] for stage in stages]
  except (KeyError, TypeError, ValueError):
    named = []
  if not named:
    raise UserError(
      f'Found no recipe with its stages in {path}; expected the config of a '
      'run of ssljax. Name the folder of one.'
    )
  return run


def reads(run: Mapping[str, Any], stage: str) -> bool:
  """Whether a stage of a run learns to read text."""
  task = tasks.make(run)
  try:
    method = method_of(run, stage, task)
  except UserError:
    return False  # of a method that is not here
  return task.charset is not None and method.learns_labels


def preferred(run: Mapping[str, Any], stages: Sequence[str]) -> str:
  """Of some stages the last that reads, from parts that were trained before."""
  return max(
    reversed(stages),
    key=lambda each: (reads(run, each), bool(run[each]['take'])),
  )
