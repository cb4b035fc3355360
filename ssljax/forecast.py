"""What a run is about to do: the summary before its first step."""

import functools
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import core
from ssljax.data.datasets import Dataset
from ssljax.data.survey import Survey
from ssljax.reports import plans, sheet, summary
from ssljax.reports.plans import Machine, Plan
from ssljax.stage import Resolved, Stage

# Below so many FLOPs a run takes seconds, and measuring would take as long.
WORTH_MEASURING = 5e10
PICTURES = 12
MEASURED = 0.5  # seconds that the convolution runs for
SHARE = 0.4  # of a convolution's speed that a step reaches


def summarize(
  recipe: Resolved,
  *,
  folder: pathlib.Path,
  dataset: Dataset,
  survey: Survey | None,
) -> str:
  """The summary of a run as text.

  Args:
    recipe: the run's stages.
    folder: of the run.
    dataset: the run's data.
    survey: what the user's folder holds.
  """
  blocks = []
  if survey is None and recipe.stages:
    first = recipe.stages[0].example['image'].shape
    counts = {
      split: len(dataset.open(split))
      for stage in recipe.stages
      for split in splits_of(stage)
    }
    blocks.append(summary.rendered_lines(counts, (first[1], first[2])))
  if survey is not None:
    shown = any(
      stage.method.labelled and not dataset.files(split)
      for stage in recipe.stages
      for split in splits_of(stage)
    )
    shows = f'{folder / "pictures.png"} shows some as the network sees them'
    blocks.append([*summary.image_lines(survey), shows])
    blocks.append(
      summary.label_lines(survey, rendered=shown and not survey.classes)
    )
  ahead = planned(recipe.stages)
  flops = sum(plan.flops for plan in ahead)
  machine = Machine(
    speed=expected_speed(flops),
    free=shutil.disk_usage(existing(folder)).free,
    memory=memory(),
  )
  left = {stage.name for stage in recipe.stages}
  finished = [name for name in recipe.methods if name not in left]
  blocks.append(
    plans.stage_lines(
      ahead,
      machine,
      finished=finished,
      decoded=decoded(recipe.stages, dataset),
    )
  )
  return summary.render(*blocks)


def draw(
  path: pathlib.Path, *, dataset: Dataset, survey: Survey | None
) -> None:
  """Draws twelve of the user's pictures as the network sees them.

  They are evenly spread over the folder. The labelled ones have their label or
  their class below.
  """
  if survey is None:
    return
  split = 'unlabeled' if 'unlabeled' in dataset.splits else dataset.splits[0]
  source, files = dataset.open(split), dataset.files(split)
  even = np.linspace(0, len(source) - 1, min(PICTURES, len(source)))
  places: list[int] = even.round().astype(int).tolist()
  images = source.gather(places)['image']
  labels = survey.labels
  names = [
    files[place] if files else source.describe(place).name for place in places
  ]
  captions = [(labels.get(name, ''), name) for name in names]
  sheet.pictures(images, captions, path)


def splits_of(stage: Stage) -> list[str]:
  """The splits of the data that a stage learns from with their labels."""
  data = stage.metadata['config'][stage.name]['data']
  return data['split'].split('+')


def planned(stages: Sequence[Stage]) -> list[Plan]:
  """What the stages take; equal stages are measured once."""
  sizes: dict[str, int] = {}
  found = []
  for stage in stages:
    described = stage.metadata['config'][stage.name]
    key = repr([described[part] for part in ('method', 'optimizer', 'views')])
    key += repr(sorted(stage.example.items()))
    if key not in sizes:
      sizes[key] = state_bytes(stage)
    done = min(saved_step(stage.folder), stage.steps)
    saves = min(stage.keep, -(-stage.steps // stage.checkpoint_every) or 1)
    saves += bool(stage.keep_best)
    found.append(
      Plan(
        name=stage.name,
        method=described['method']['name'],
        steps=stage.steps,
        done=done,
        batch_size=stage.batch_size,
        asked=described['batch_size'],
        examples=len(stage.source),
        labels=len(stage.labels) if stage.method.labelled else 0,
        flops=stage.flops * (stage.steps - done) / max(1, stage.steps),
        saved=saves * sizes[key],
        state=sizes[key],
      )
    )
  return found


def state_bytes(stage: Stage) -> int:
  """The bytes of a stage's `TrainState`, found without a computation."""
  create = functools.partial(
    core.create_state, method=stage.method, optimizer=stage.optimizer
  )
  state = jax.eval_shape(create, jax.random.key(0), stage.example)
  sizes = [
    leaf.size * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(state._replace(key=()))
  ]
  return sum(sizes)


def saved_step(folder: pathlib.Path) -> int:
  """The newest step that a stage's folder holds; 0 for none."""
  steps = [
    int(path.name)
    for path in (folder / 'checkpoints').glob('*')
    if path.name.isdigit()
  ]
  return max(steps, default=0)


def decoded(stages: Sequence[Stage], dataset: Dataset) -> int:
  """The bytes of the images that the stages keep in memory."""
  found: dict[str, int] = {}
  for stage in stages:
    image = stage.example['image']
    size = int(np.prod(image.shape[1:]))
    config = stage.metadata['config']
    held = config['data'].get('memory', 2**30)
    data = config[stage.name]['data']
    for split in splits_of(stage) + (data.get('unlabelled') or '').split('+'):
      if split and split not in found:
        total = size * len(dataset.open(split))
        found[split] = total if total <= held else 0
  return sum(found.values())


def existing(folder: pathlib.Path) -> pathlib.Path:
  """The folder, or the nearest one above it that exists."""
  folder = folder.absolute()
  return next(each for each in (folder, *folder.parents) if each.exists())


def memory() -> int:
  """The bytes of memory of the machine; 0 where it does not say."""
  try:
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  except (AttributeError, OSError, ValueError):
    return 0


@functools.cache
def speed() -> float:
  """FLOPs a second that a step may reach: a share of a convolution's, now.

  Two convolutions and their gradient run for half a second. Steps of
  `configs/simclr_ocr.py` reached 0.2 to 0.6 of their speed on 2 CPU cores,
  because views, normalisation and attention move more memory for their FLOPs.
  """

  def loss(kernels, images):
    for kernel in kernels:
      images = jax.lax.conv_general_dilated(
        images,
        kernel,
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
      images = jax.nn.gelu(images)
    return jnp.mean(images**2)

  images = jnp.ones((8, 16, 48, 32))
  kernels = [jnp.ones((3, 3, 32, 64)) / 300, jnp.ones((3, 3, 64, 64)) / 300]
  compiled = jax.jit(jax.grad(loss)).lower(kernels, images).compile()
  counted: Any = compiled.cost_analysis()
  jax.block_until_ready(compiled(kernels, images))
  calls, begun = 0, time.perf_counter()
  while (spent := time.perf_counter() - begun) < MEASURED:
    jax.block_until_ready(compiled(kernels, images))
    calls += 1
  return SHARE * calls * float(counted['flops']) / spent


class Pace:
  """How long a run still takes: as forecast, and corrected as its stages run.

  Args:
    stages: that are left, in order.
    clock: the time in seconds.
  """

  def __init__(
    self,
    stages: Sequence[Stage],
    clock: Callable[[], float] = time.perf_counter,
  ):
    self._flops = {stage.name: stage.flops for stage in stages}
    # The time of the first stage is never asked for.
    self._speed = expected_speed(sum([*self._flops.values()][1:]))
    self._clock = clock
    self._later = self._of_step = 0.0

  def begin(self, stage: Stage) -> None:
    """The stage that runs from now on; those before it are done."""
    names = list(self._flops)
    after = names[names.index(stage.name) + 1 :]
    self._later = sum(self._flops[name] for name in after)
    self._of_step = self._flops[stage.name] / max(1, stage.steps)
    self._first: tuple[int, float] | None = None

  def read(self, done: int) -> None:
    """Corrects the speed by the steps of the stage that have run.

    The first steps also compile, so time is measured from the first call on.

    Args:
      done: the steps that have run; their results have been waited for.
    """
    now = self._clock()
    if self._first is None:
      self._first = done, now
    elif done > self._first[0] and self._of_step and now > self._first[1]:
      steps, seconds = done - self._first[0], now - self._first[1]
      self._speed = self._of_step * steps / seconds

  @property
  def later(self) -> float | None:
    """The seconds of the stages after this one; None if nothing tells them."""
    if not self._later:
      return 0.0
    return self._later / self._speed if self._speed else None


def expected_speed(flops: float) -> float | None:
  """`speed`, if so many FLOPs take long enough to be forecast."""
  return speed() if flops > WORTH_MEASURING else None
