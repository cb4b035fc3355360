"""Prepares the rendered images as a data set of tensorflow-datasets (tfds).

The files are in the ArrayRecord format. Neither writing nor reading them needs
TensorFlow.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import io
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from ssljax import bars, durable
from ssljax.data import render as render_lib
from ssljax.data import workers
from ssljax.data.layouts import LAYOUTS, SEEN_LAYOUTS, UNSEEN_LAYOUTS
from ssljax.data.render import CHARSETS, LENGTHS, SPLITS, VERSION
from ssljax.errors import UserError

CHUNK = 256  # the images that a worker renders at a time
# The images in a file; tfds holds a whole file in memory while it writes it.
SHARD = 32 * CHUNK
# For fewer images, starting the workers takes longer than they would save.
WORTH_WORKERS = 1024


@dataclasses.dataclass
class TextImagesConfig(tfds.core.BuilderConfig):
  """The recipe of a data set; `recipe_config` makes one and names it."""

  charset: str = 'digits'
  height: int = 32
  width: int = 96
  layouts: tuple[str, ...] = SEEN_LAYOUTS
  unseen_layouts: tuple[str, ...] = UNSEEN_LAYOUTS
  seed: int = 0
  lengths: tuple[int, int] = LENGTHS
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def recipe(self) -> dict[str, Any]:
    """The arguments of `render` that are the same for every image."""
    names = ('charset', 'height', 'width', 'seed')
    found = {
      **{name: getattr(self, name) for name in names},
      'layouts': tuple(self.layouts),
      'unseen_layouts': tuple(self.unseen_layouts),
    }
    # Left out by default: the name of a recipe is made of these, and recipes
    # from before there were other lengths keep theirs.
    if tuple(self.lengths) != LENGTHS:
      found['lengths'] = tuple(self.lengths)
    return found


def recipe_config(
  *, counts: Mapping[str, int], **recipe: Any
) -> TextImagesConfig:
  """Makes the config of a recipe, whose name no other recipe has.

  The name is also that of the folder, so two recipes never share one.

  Args:
    counts: the number of images in each split; splits without images are left
      out.
    **recipe: charset, height, width, layouts, unseen_layouts, seed and lengths,
      as for `render`.

  Raises:
    UserError: a split, charset or layout is unknown, a character cannot be
      drawn, or a number is out of range.
  """
  counts = {split: int(count) for split, count in counts.items() if count}
  for split, count in counts.items():
    if split not in SPLITS or count < 0:
      raise UserError(
        f'Found {count} images for split {split!r}; expected a positive number '
        f'for one of {", ".join(SPLITS)}.'
      )
  if not counts:
    raise UserError(
      'Found no images to render; expected a positive count for at least one '
      f'of the splits {", ".join(SPLITS)}.'
    )
  config = TextImagesConfig(name='', counts=counts, **recipe)
  render_lib.check_recipe(**config.recipe())
  key = json.dumps([VERSION, sorted(counts.items()), config.recipe()])
  digest = hashlib.sha256(key.encode()).hexdigest()[:10]
  charset = config.charset
  if charset not in CHARSETS:  # a folder's name cannot hold every character
    charset = f'{len(charset)}characters'
  config.name = (
    f'{charset}_{config.height}x{config.width}'
    f'_{len(config.layouts)}layouts_{sum(counts.values())}_{digest}'
  )
  config.description = f'{config.recipe()}, counts {counts}'
  return config


class TextImages(tfds.core.ShardBasedBuilder):
  """CAPTCHA-style text images; example i of a split is `render(index=i)`.

  This is a `ShardBasedBuilder`, because a `GeneratorBasedBuilder` shuffles the
  examples, which needs TensorFlow if a split is larger than 1 GB.
  """

  VERSION = tfds.core.Version(VERSION)
  builder_config: TextImagesConfig
  # Nothing is downloaded, so there are no checksums. If tfds looked for them,
  # it would import a package (importlib_resources) that it does not install.
  url_infos = None
  processes: int | None = None  # the workers that render; None for all cores
  progress: bool = True

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    shape = (config.height, config.width, 3)
    features = {
      'image': tfds.features.Image(shape=shape, encoding_format='png'),
      'index': tfds.features.Scalar(np.int32),
      'text': tfds.features.Text(),
      'layout': tfds.features.ClassLabel(names=list(LAYOUTS)),
      'extents': tfds.features.Tensor(
        shape=(config.lengths[1], 2), dtype=np.float32
      ),
    }
    info = tfds.core.DatasetInfo(
      builder=self,
      description='CAPTCHA-style text images, rendered by ssljax.',
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )
    # tfds would look for the data on its server, which is turned off, and each
    # time leave an empty temporary folder.
    info.initialize_from_bucket = lambda: None
    return info

  def _log_download_bytes(self) -> None:
    pass  # tfds would print that unknown bytes are being downloaded

  def _log_download_done(self) -> None:
    pass

  def _tasks(self) -> Iterator[tuple[dict[str, Any], str, int, int]]:
    recipe = self.builder_config.recipe()
    for split, count in self.builder_config.counts.items():
      for start in range(0, count, CHUNK):
        yield recipe, split, start, min(start + CHUNK, count)

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    total = sum(self.builder_config.counts.values())
    processes = self.processes or workers.available_cores()
    if total < WORTH_WORKERS:
      processes = 1
    chunks = workers.ordered_map(
      render_lib.render_chunk, self._tasks(), processes=processes
    )
    bar = bars.bar('rendering', total, unit='image', disable=not self.progress)
    # tfds writes the shards one after another, in the order of the tasks, so
    # one stream of chunks from one set of workers serves all shards.
    with bar as self._bar, contextlib.closing(chunks) as self._chunks:
      super()._download_and_prepare(dl_manager, download_config)

  def _shard_iterators_per_split(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {
      split: [
        functools.partial(self._shard, min(SHARD, count - start))
        for start in range(0, count, SHARD)
      ]
      for split, count in self.builder_config.counts.items()
    }

  def _shard(self, count: int):
    while count:
      chunk = next(self._chunks)
      for example in chunk:
        yield (
          example['index'],
          example | {'image': io.BytesIO(example['image'])},
        )
      count -= len(chunk)
      self._bar.update(len(chunk))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hides the warning of tfds about custom configs: every recipe is one."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _only_one(path: pathlib.Path) -> Iterator[None]:
  """Lets one process at a time enter; the system frees a dead one's lock."""
  with durable.writes(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('w')
  with file:
    with contextlib.suppress(OSError):  # a file system without flock
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


def prepare(
  *,
  data_dir: str,
  counts: Mapping[str, int],
  processes: int | None = None,
  progress: bool = True,
  **recipe: Any,
) -> TextImages:
  """Renders the images of a recipe, unless `data_dir` has them, and opens them.

  The folder of a recipe appears complete or not at all. An interrupted
  preparation leaves nothing that could be read, and the next call starts it
  again. Processes that prepare the same recipe at once wait for the first.

  The folder has a `digests.json`, against which its files are checked each
  time. A folder of an earlier version gets one when it is first opened.

  Args:
    data_dir: the folder of all prepared data sets.
    counts: the number of images in each split, such as `{'unlabeled': 20_000,
      'train': 500}`.
    processes: the number of worker processes; all cores by default.
    progress: whether to show a bar with speed and time left.
    **recipe: charset, height, width, layouts, unseen_layouts, seed and lengths,
      as for `render`.

  Returns:
    The builder; `sources.open_split` reads from it.

  Raises:
    UserError: as for `recipe_config`, and for a file that is damaged.
  """
  config = recipe_config(counts=counts, **recipe)

  def open_builder() -> TextImages:
    with _quiet():
      return TextImages(
        config=config, data_dir=data_dir, file_format='array_record'
      )

  # .../text_images/name/version; a damaged folder must not be opened.
  folder = pathlib.Path(data_dir).expanduser() / TextImages.name / config.name
  folder /= str(TextImages.VERSION)
  if folder.exists():
    check(folder)
    return open_builder()
  with _only_one(folder.parent.with_suffix('.lock')):
    # These are left by killed processes; nobody else writes under the lock.
    for leftover in folder.parent.glob('incomplete.*'):
      shutil.rmtree(leftover)
    builder = open_builder()
    builder.processes, builder.progress = processes, progress
    try:
      with _quiet():
        builder.download_and_prepare()
    except (OSError, RuntimeError) as error:
      found = durable.full(error)
      if found is None:
        raise
      raise durable.CannotWrite(durable.cannot_write(folder, found)) from None
    check(folder)
  return builder


def check(folder: pathlib.Path) -> None:
  """Refuses images that are not those that were written, by their digests.

  A folder without digests gets them, unless it may not be written to.
  """
  if not (folder / durable.LISTING).exists():
    with contextlib.suppress(durable.CannotWrite):
      durable.record_folder(folder)
    return
  found = durable.damage(folder)
  if found:
    raise durable.Damaged(
      'Found rendered images damaged: '
      + '; '.join(f'{folder / name}: {why}' for name, why in found.items())
      + f'. Remove the folder {folder}, and the same command renders them '
      'again.'
    )
