"""A trained run, for use: `ssljax.load(workdir).recognize(images)`."""

import itertools
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import jax
import numpy as np

from ssljax import best as best_lib
from ssljax import decoding, process, shipped, trained
from ssljax.checkpoint import read
from ssljax.core import Method
from ssljax.data import inputs
from ssljax.decoding import Reading
from ssljax.errors import UserError, check_known
from ssljax.programs import CHUNK, Program
from ssljax.records import read_json
from ssljax.tasks import Task
from ssljax.text import Charset, shown_frames
from ssljax.workdir import check_finished, is_finished, is_run

ERRORS = ('raise', 'skip')


class Reader:
  """A trained stage.

  Threads may share it. It can be pickled, which keeps the folder of the run and
  the name of the stage, and processes that were started by spawn can use it.

  Attributes:
    folder: of the stage, or of the export.
    stage: its name.
    config: of its run, as a dict.
    charset: the characters that its head can read; None of a run on images
      with classes.
    height: in pixels, of the frame that every image is fitted to. Text keeps
      its aspect and is padded; of other images the middle is cut out.
    width: of the frame, in pixels.
    temperature: by which the logits are divided, so that the confidence is the
      share of such readings that are right; 1 if the run has not chosen one.
    method: what was trained.
    variables: its params and its state, on the device.
    figures: of its stage, as `stage.json` has them.
    stride: the columns of a frame; None of features without time.
    part: 'reader', or 'encoder' if nothing else was exported.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    stage: str,
    task: Task,
    method: Method,
    variables: tuple[Any, ...],
    run: Mapping[str, Any],
    figures: Mapping[str, Any],
    part: str = 'reader',
    best: bool = False,
  ):
    """Takes a stage, its method, and the config of its run; see `load`."""
    process.check_not_forked()
    self.folder, self.stage, self._best = folder, stage, best
    self.charset, self._fit = task.charset, task.fit
    self.config, self.part = run, part
    shape = task.metadata['preprocessing']
    self.height, self.width = shape['height'], shape['width']
    self.figures = figures
    self.temperature = figures.get('calibration', {}).get('temperature', 1.0)
    self.method = method
    self.variables = jax.device_put(variables)
    self.stride = trained.stride_of(run, stage)
    size = self.height, self.width
    self._encode = Program(method.encode, self.variables, size)
    self._predict = None
    can_read = task.charset is not None and method.learns_labels
    if can_read and method.predict is not None and part == 'reader':
      self._predict = Program(
        method.predict, self.variables, size, stride=self.stride
      )

  def __reduce__(self):
    if shipped.is_export(self.folder):
      return reopened, (self.folder,)
    return reopened, (self.folder.parent, self.stage, self._best)

  def encode(self, images: Any) -> np.ndarray:
    """Features, float32 `(n, d)`, or `(n, time, d)` of a text encoder.

    A text encoder does not see the padding of an image that does not fill the
    frame's width; the features of such frames are zeros.

    Args:
      images: one or several; see `recognize`.
    """
    process.check_not_forked()
    found = []
    for chunk in self.fitted(images):
      raise_first(chunk)
      found.append(self.features(*stacked(chunk)))
    if found:
      return np.concatenate(found)
    return np.empty((0, *self._encode.shape), np.float32)

  @overload
  def recognize(
    self, images: Any, *, errors: Literal['raise'] = 'raise', **options: Any
  ) -> list[Reading]: ...

  @overload
  def recognize(
    self, images: Any, *, errors: str, **options: Any
  ) -> list[Reading | None]: ...

  def recognize(
    self, images: Any, *, errors: str = 'raise', **options: Any
  ) -> Sequence[Reading | None]:
    """The text in each image, and the confidence of its reading, 0 to 1.

    Args:
      images: one or several: paths, the bytes of files, open files, PIL images,
        uint8 arrays `(height, width)` or `(height, width, 1, 3 or 4)`; several
        in one array `(count, height, width, 1, 3 or 4)`, a list or a generator,
        which is read piece by piece. A folder stands for its images, in the
        order of their names. Images of any size are fitted to the frame, their
        aspect kept.
      errors: 'raise' to raise the first image's error, 'skip' to give None in
        the place of an image that cannot be read.
      **options: as for `outcomes`.

    Returns:
      A list, also for one image. A `Reading` unpacks as (text, confidence).

    Raises:
      UserError: what is no image, a run that has not learned to read, or a
        constraint that no text satisfies.
    """
    check_known('errors', errors, ERRORS)
    found = []
    for outcome in self.outcomes(images, **options):
      if not isinstance(outcome, UserError):
        found.append(outcome)
      elif errors == 'raise':
        raise outcome
      else:
        found.append(None)
    return found

  def outcomes(
    self,
    images: Any,
    *,
    top: int = 1,
    charset: str = '',
    length: int | tuple[int, int] | None = None,
    pattern: str = '',
    lexicon: Iterable[str] | None = None,
    min_confidence: float = 0.0,
  ) -> Iterator[Reading | UserError]:
    """The reading of each image, or the error that says why it has none.

    They come while the images are read, so that any number fits in memory.

    Args:
      images: as for `recognize`.
      top: how many texts each reading has as its alternatives, if several.
      charset: the only characters that may be read, or a charset's name.
      length: the number of characters, or the fewest and the most of them.
      pattern: a sign for each character, as D for a digit; see `Constraint`.
      lexicon: the only texts that may be read.
      min_confidence: a reading that is less sure is '', with its confidence;
        what would have been read is its first alternative.
    """
    process.check_not_forked()
    known, predict = self._readable()
    constraint = decoding.Constraint(
      charset=charset,
      lengths=(length, length) if isinstance(length, int) else length,
      pattern=pattern,
      lexicon=None if lexicon is None else tuple(lexicon),
    )
    for note in decoding.check(constraint, known):
      warnings.warn(note, stacklevel=2)

    def readings() -> Iterator[Reading | UserError]:
      for chunk in self.fitted(images):
        fitted = [each for each in chunk if not isinstance(each, UserError)]
        found = iter(())
        if fitted:
          pixels, widths = stacked(fitted)
          logits = predict(pixels, widths)
          valid = shown_frames(widths, frames=logits.shape[1], width=self.width)
          found = iter(
            decoding.decode(
              logits,
              valid,
              known,
              top=top,
              constraint=constraint,
              temperature=self.temperature,
            )
          )
        for each in chunk:
          if isinstance(each, UserError):
            yield each
          else:
            yield unless_doubtful(next(found), min_confidence)

    return readings()

  def features(self, pixels: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """float32 `(n, d)` or `(n, time, d)` of 1 to 64 images from `fitted`."""
    return self._encode(pixels, widths).astype(np.float32)

  def logits(self, pixels: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """float32 `(n, frames, classes)` of 1 to 64 images from `fitted`."""
    return self._readable()[1](pixels, widths)

  def _readable(self) -> tuple[Charset, Program]:
    """What reading needs; refuses a stage that cannot read."""
    if self._predict is not None and self.charset is not None:
      return self.charset, self._predict
    if self.part != 'reader':
      raise UserError(
        f'Found {self.folder}, an export of an encoder alone; expected one of '
        'a reader. Export the run without --part.'
      )
    best = trained.preferred(self.config, self.config['recipe'])
    remedy = f'Use ssljax.load(workdir, stage={best!r}).'
    if not trained.reads(self.config, best):
      remedy = 'This run has none; run a recipe that learns to read.'
    raise UserError(
      f'Found stage {self.stage!r}, which has no head to read with; expected '
      f'a stage that was trained on labels. {remedy}'
    )

  def fitted(self, images: Any) -> Iterator[list[Any]]:
    """Images fitted to the frame, with their widths, or errors; 64 a time."""
    fitted = inputs.prepared(
      inputs.each(images), lambda image: self._fit(inputs.picture(image))
    )
    while chunk := list(itertools.islice(fitted, CHUNK)):
      yield chunk


def stacked(chunk: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
  pixels, widths = zip(*chunk, strict=True)
  return np.stack(pixels), np.array(widths, np.int32)


def raise_first(chunk: Iterable[Any]) -> None:
  for each in chunk:
    if isinstance(each, UserError):
      raise each


def unless_doubtful(reading: Reading, least: float) -> Reading:
  """The reading, or '' with its confidence if that is below the least."""
  if reading.confidence >= least:
    return reading
  alternatives = reading.alternatives or (tuple(reading),)
  return Reading('', reading.confidence, (), alternatives)


class Unopened:
  """What unpickling a `Reader` gives where it cannot be opened.

  It raises the error when it is used. Raised while unpickling, the error would
  end the worker of a `multiprocessing.Pool`, which would then wait for ever.
  """

  def __init__(self, error: UserError):
    self._error = error

  def encode(self, images: Any):
    raise self._error

  def recognize(self, images: Any, **options: Any):
    raise self._error

  def outcomes(self, images: Any, **options: Any):
    raise self._error


def reopened(
  workdir: pathlib.Path, stage: str | None = None, best: bool = False
) -> Reader | Unopened:
  """What a pickled `Reader` becomes."""
  try:
    return load(workdir, stage=stage, best=best)
  except UserError as error:
    return Unopened(error)


def load(
  workdir: str | os.PathLike[str],
  *,
  stage: str | None = None,
  best: bool = False,
) -> Reader:
  """Opens a trained run, or an export of one.

  What it compiles is kept in `compiled` of $SSLJAX_DATA_DIR, by default
  ~/.cache/ssljax, so that the next process starts sooner, unless
  JAX has a compilation cache already.

  Args:
    workdir: what a run printed as `Trained run`, or a stage's folder in it; or
      an export as safetensors or StableHLO.
    stage: of its recipe; by default the one that the recipe is for.
    best: whether to read the checkpoint that was the best by validation, which
      a run keeps with --config.keep_best; by default the last.

  Raises:
    UserError: no run, no such stage, or one that has not run to its end.
  """
  process.check_not_forked()
  folder = pathlib.Path(workdir).expanduser().absolute()
  if shipped.is_export(folder):
    return _exported(folder, stage, best)
  if stage is None and not is_run(folder) and is_run(folder.parent):
    folder, stage = folder.parent, folder.name
  run = trained.described(folder)
  recipe = run['recipe']
  finished = [each for each in recipe if is_finished(folder / each)]
  if stage is None:
    stage = str(run.get('product'))
    # A recipe may have been cut short, or be for no stage in particular.
    if stage not in recipe:
      stage = trained.preferred(run, finished or recipe)
  check_known('stage', stage, recipe)
  check_finished(folder / stage)
  kept = best_lib.FOLDER if best else 'checkpoints'
  saved = read(folder / stage / kept, 'params', 'method_state')
  # What it was trained by, whatever has become of `config.json` since.
  config, task, method = trained.made(saved.metadata, stage)
  return Reader(
    folder / stage,
    stage=stage,
    task=task,
    method=method,
    variables=(saved.state['params'], saved.state['method_state']),
    run=config,
    figures=read_json(folder / stage / 'stage.json'),
    best=best,
  )


def _without_features(*arguments: Any) -> jax.Array:
  raise UserError(
    'Found a program that gives texts alone; expected one that gives features. '
    'Export the run by --part=encoder, or by --format=safetensors.'
  )


def _exported(folder: pathlib.Path, stage: str | None, best: bool) -> Reader:
  """Opens the folder of an export."""
  found = shipped.described(folder)
  if best or stage not in (None, found.get('stage')):
    raise UserError(
      f'Found an export of the stage {found.get("stage")!r}; expected no other '
      'stage or checkpoint to be asked for. Leave it out, or load the run.'
    )
  config, task, method = trained.made(found, found['stage'])
  if found.get('names') == 'torch':
    images = jax.ShapeDtypeStruct(
      (1, found['height'], found['width'], 3), np.float32
    )
    encoder = trained.encoder_of(config, found['stage'])
    like = jax.eval_shape(encoder.init, jax.random.key(0), images)
    variables = shipped.torch_variables_in(folder, like)
  elif found['format'] == 'safetensors':
    variables = shipped.variables_in(folder)
  else:
    variables, function = (), shipped.function_in(folder)
    if found['part'] == 'encoder':
      method = method._replace(encode=function)
    else:
      method = method._replace(encode=_without_features, predict=function)
  return Reader(
    folder,
    stage=found['stage'],
    task=task,
    method=method,
    variables=variables,
    run=config,
    figures=found['figures'],
    part=found['part'],
  )
