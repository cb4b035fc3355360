"""Checkpoints of a whole `TrainState`, and of the metadata for reading it.

  <directory>/<step>/state      every array of the state (Orbax, OCDBT)
  <directory>/<step>/metadata   the JSON given at construction: the config, the
                                charset, the preprocessing
  <directory>/<step>/digests.json   the SHA-256 of each of these files, which is
                                checked before any of them is read

Nothing that is read here is a pickle. Saving a step is atomic: its folder gets
its name only when it is complete. A process that is killed at any moment
therefore leaves the newest complete step as it was. Its unfinished step is
ignored, and removed when the folder is next opened to save. Directories must be
local or mounted.
"""

import asyncio
import contextlib
import errno
import json
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from ssljax import durable
from ssljax.errors import UserError

State = TypeVar('State')

KEPT = 2  # the complete steps that a stage keeps
_SHOWN = 5  # the most differing arrays that an error names
# What Orbax names the folder of a step that is not complete yet.
_UNFINISHED = '.orbax-checkpoint-tmp'
# Arrays may take more memory than their files by this factor, beside what every
# checkpoint may take. Trained arrays hardly shrink; those of zeros do.
_SHRINKS, _ALWAYS = 200, 2**28
# The most bytes of a file that describes arrays, the config among them.
_DESCRIPTION = 2**28
# The bytes that a save takes beside its arrays, for their descriptions.
_BESIDE = 2**18


class CheckpointError(UserError):
  """There is nothing to restore, nothing that fits, or a save failed."""


class CheckpointDamaged(CheckpointError):
  """The newest checkpoint is not what was saved; an older one may be whole."""


class Saved(NamedTuple):
  """A checkpoint as `read` returns it.

  Attributes:
    step: the step that was saved.
    state: nested dicts and lists of NumPy arrays.
    metadata: the JSON that was saved beside the state.
  """

  step: int
  state: dict[str, Any]
  metadata: dict[str, Any]


class Checkpoints:
  """The checkpoints of one stage; a context manager.

  Args:
    directory: the folder of the checkpoints; it is made if it is missing.
    metadata: whatever JSON can express. It is saved in every step beside the
      state, and `read` returns it, with tuples as lists.
    keep: the number of complete steps that are kept.
  """

  def __init__(
    self,
    directory: str | pathlib.Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    keep: int = KEPT,
  ):
    self.directory = pathlib.Path(directory).absolute()
    with durable.writes(self.directory):
      self.directory.mkdir(parents=True, exist_ok=True)
    # This raises a TypeError for what JSON cannot express. Orbax would raise
    # it from a background thread, minutes into the run.
    self._metadata = json.loads(json.dumps(metadata or {}))
    self._manager = _open(
      self.directory,
      max_to_keep=keep,
      cleanup_tmp_directories=True,
      temporary_path_class=_Digested,
    )
    self._latest = self._newest()
    self._size = 0  # bytes of a state

  def save(self, step: int, state: Any) -> None:
    """Starts saving `state` as `step`, and returns before it is written.

    The caller may donate `state` to the next training step at once. On an
    accelerator Orbax first copies every array to the host. On CPU the host's
    array is the device's memory itself, and Orbax holds a reference to it. The
    runtime does not overwrite memory with such a reference, so a training step
    meanwhile writes its results elsewhere. (A test compares bit for bit.)

    If an earlier save is still under way, this method waits for it. Saving the
    newest step again does nothing, so a final save may fall on a periodic one.

    Args:
      step: the number of optimizer steps taken.
      state: a pytree of arrays, such as a `TrainState`.

    Raises:
      CheckpointError: the previous save failed, or `step` is before the newest
        step, which happens if a restarted run has not restored.
    """
    self.finish()
    step = int(step)
    if step == self._latest:
      return
    if self._latest is not None and step < self._latest:
      raise CheckpointError(
        f'step {step} cannot be saved: {self.directory} already holds step '
        f'{self._latest}; expected a later step. Restore the newest step '
        'first, or use another workdir.'
      )
    self._size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    with self._surfacing(step):
      # TensorStore prints pages about a disk that becomes full while it writes.
      if shutil.disk_usage(self.directory).free < self._size + _BESIDE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(jax.tree.map(_without_key, state)),
          metadata=ocp.args.JsonSave(self._metadata),
        ),
        force=True,
      )
    self._latest = step

  def restore(self, like: State) -> State | None:
    """Reads the newest complete state, or returns None if there is none yet.

    Args:
      like: a state of arrays or of `jax.ShapeDtypeStruct`s that has the wanted
        structure, dtypes and shardings. A leaf without a sharding goes to the
        first device of this process.

    Raises:
      CheckpointDamaged: a file is not what was saved.
      CheckpointError: the saved arrays differ from those of `like` in name,
        shape or dtype.
    """
    step = self.latest_step()
    if step is None:
      return None
    check(self.directory, step)
    with _reading(self.directory / str(step)):
      return self._restored(step, like)

  def _restored(self, step: int, like: State) -> State:
    target = jax.tree.map(_abstract, like)
    # Orbax checks this too, but only in the middle of reading, and it reports
    # it with pages of tracebacks from its event loop.
    saved = _saved_tree(self._manager, step)
    _check(self.directory / str(step), saved, target)
    # Read in the structure that was saved, because nodes without arrays, which
    # Orbax compares too, may differ between versions.
    wanted = _named(target)
    item = jax.tree_util.tree_map_with_path(
      lambda path, _: wanted[_name(path)], saved
    )
    args = ocp.args.PyTreeRestore(
      item=item,
      restore_args=ocp.checkpoint_utils.construct_restore_args(item),
    )
    args = ocp.args.Composite(state=args)
    found = _named(self._manager.restore(step, args=args)['state'])
    state = jax.tree.unflatten(
      jax.tree.structure(like), [found[name] for name in wanted]
    )
    return jax.tree.map(_with_key, state, like)

  def latest_step(self) -> int | None:
    """The newest complete step, or None; waits for a save under way.

    Raises:
      CheckpointError: the save under way failed.
    """
    self.finish()
    return self._latest

  def finish(self) -> None:
    """Waits for the save under way.

    Raises:
      CheckpointError: this save failed.
    """
    with self._surfacing(self._latest):
      self._manager.wait_until_finished()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      self.finish()
    except CheckpointError as failed:
      if error is None:
        raise
      # The error that stopped the run matters more and is the one raised.
      error.add_note(str(failed))
    finally:
      self._manager.close()

  def _newest(self) -> int | None:
    return max(self._manager.all_steps(read=True), default=None)

  @contextlib.contextmanager
  def _surfacing(self, step: int | None) -> Iterator[None]:
    """Turns every exception of a save into a `CheckpointError`."""
    try:
      yield
    except Exception as error:
      self._latest = self._newest()
      free = shutil.disk_usage(self.directory).free / 2**20
      for part in self.directory.glob(f'*{_UNFINISHED}*'):
        shutil.rmtree(part, ignore_errors=True)
      needed = (self._size + _BESIDE) / 2**20
      raise CheckpointError(
        f'step {step} could not be saved in {self.directory}: '
        f'{_first_line(error)}\nThe newest complete step there is '
        f'{self._latest}. A step takes {needed:,.1f} MB, and the '
        f'disk has {free:,.1f} MB free. Once it has room and can be written '
        'to, the same command goes on from that step.'
      ) from error


def read(directory: str | pathlib.Path, *entries: str) -> Saved:
  """Reads the newest complete step without knowing the structure of its state.

  Args:
    directory: the folder of a stage's checkpoints, of this run or another.
    *entries: the fields of the state to read, such as 'params' and
      'method_state'; by default all fields. The other fields are not read from
      the disk.

  Returns:
    `Saved(step, state, metadata)`. In `state`, named tuples have become dicts
    and tuples lists; typed PRNG keys have become their raw data.

  Raises:
    CheckpointDamaged: a file of the newest step is not what was saved.
    CheckpointError: there is no complete checkpoint, or no such entry.
  """
  directory = pathlib.Path(directory).absolute()
  if not directory.is_dir():
    raise _nothing(directory, 'does not exist')
  step = max(steps_in(directory), default=None)
  if step is None:
    raise _nothing(directory, 'holds no complete step')
  check(directory, step)
  with _reading(directory / str(step)):
    return _read(directory, step, entries)


def _read(
  directory: pathlib.Path, step: int, entries: tuple[str, ...]
) -> Saved:
  with _open(directory, read_only=True, create=False) as manager:
    tree = _saved_tree(manager, step)
    for name in entries:
      if name not in tree:
        raise CheckpointError(
          f'{directory / str(step)} has no entry {name!r}; it has '
          f'{", ".join(sorted(tree))}. Read one of these.'
        )
    wanted = entries or tuple(tree)
    tree = {
      name: part
      if name in wanted
      else jax.tree.map(lambda _: ocp.PLACEHOLDER, part)
      for name, part in tree.items()
    }
    # The arrays are read into NumPy, because the devices that they were saved
    # from need not exist here.
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    args = ocp.args.PyTreeRestore(
      item=tree, restore_args=jax.tree.map(lambda _: as_numpy, tree)
    )
    args = ocp.args.Composite(state=args, metadata=ocp.args.JsonRestore())
    found = manager.restore(step, args=args)
  state = {name: found['state'][name] for name in wanted}
  return Saved(step, state, found['metadata'])


def steps_in(directory: pathlib.Path) -> list[int]:
  """The complete steps in a folder of checkpoints, in order."""
  if not directory.is_dir():
    return []
  return sorted(
    int(each.name)
    for each in directory.iterdir()
    if each.name.isdecimal() and each.is_dir()
  )


def check(directory: pathlib.Path, step: int) -> None:
  """Refuses a step of which a file is not what was saved.

  Raises:
    CheckpointDamaged: the message names the file, and an older step if there
      is one that is whole.
  """
  why = damage_of(directory / str(step))
  if not why:
    return
  older = (each for each in reversed(steps_in(directory)) if each < step)
  good = next(
    (each for each in older if not damage_of(directory / str(each))), 0
  )
  begin = f'from step {good}' if good else 'from its beginning'
  raise CheckpointDamaged(
    f'Found a damaged checkpoint, {why}. '
    + (
      f'Step {good}, before it, is whole. '
      if good
      else 'No older one is whole. '
    )
    + 'Put a copy of the file back; or start the command of the run again with '
    f'--from_last_good, which removes step {step} and trains again {begin}.'
  )


def drop_damaged(directory: pathlib.Path) -> list[int]:
  """Removes the newest steps of a folder, down to one that is whole."""
  dropped = []
  for step in reversed(steps_in(directory)):
    if not damage_of(directory / str(step)):
      break
    with durable.writes(directory / str(step)):
      shutil.rmtree(directory / str(step))
    dropped.append(step)
  return dropped


def damage_of(path: pathlib.Path) -> str:
  """What is wrong with the files of a step; '' if nothing is."""
  try:
    for name in durable.files_in(path):
      size = (path / name).stat().st_size
      if '/d/' not in name and size > _DESCRIPTION:
        return f'{path / name}: it has {size:,} bytes'
  except durable.Damaged as error:
    return str(error)
  if not (path / durable.LISTING).exists():
    # Earlier versions wrote none; but later steps are of no earlier version.
    for step in steps_in(path.parent):
      listed = (path.parent / str(step) / durable.LISTING).exists()
      if listed and step < int(path.name):
        return f'{path / durable.LISTING}: it is missing'
  found = durable.damage(path)
  return '; '.join(f'{path / name}: {why}' for name, why in found.items())


class _Digested(ocp.path.atomicity.AtomicRenameTemporaryPath):
  """Gives a step its name when the digests of its files are written too."""

  async def finalize(self) -> None:
    final = pathlib.Path(self.get_final())
    if not final.name.isdecimal():  # a folder in the folder of the step
      return await super().finalize()
    # Orbax changes a file just before it renames the folder, so it renames it
    # to a name that does not count yet.
    whole = final.with_name(f'{final.name}{_UNFINISHED}-digests')
    await asyncio.to_thread(shutil.rmtree, whole, ignore_errors=True)
    self._final_path = type(self.get_final())(whole)
    await super().finalize()
    await asyncio.to_thread(durable.record_folder, whole)
    await asyncio.to_thread(whole.rename, final)


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
  """Turns every exception of reading a step into a `CheckpointError`."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    raise CheckpointError(
      f'{path} cannot be read: {_first_line(error)}; expected a checkpoint as '
      'ssljax saves it. Put a copy of it back, or remove the folder, and the '
      'command of its run goes on from the step before.'
    ) from error


def _check_size(path: pathlib.Path, tree: Any) -> None:
  """Refuses arrays that are absurdly large for the files that hold them."""
  files = sum((path / name).stat().st_size for name in durable.files_in(path))
  needed = sum(
    math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
    for leaf in jax.tree.leaves(tree)
  )
  if needed > _ALWAYS + _SHRINKS * files:
    raise CheckpointError(
      f'{path} says that its arrays take {needed / 2**30:,.1f} GB, while its '
      f'files have {files / 2**20:,.1f} MB; expected a checkpoint as ssljax '
      'saves it. Take it from where it came from again.'
    )


def _nothing(directory: pathlib.Path, why: str) -> CheckpointError:
  return CheckpointError(
    f'no checkpoint: {directory} {why}; expected the checkpoints of a stage '
    'that has run. Run that stage first, or name another workdir.'
  )


def _open(directory: pathlib.Path, **options: Any) -> ocp.CheckpointManager:
  return ocp.CheckpointManager(
    directory,
    item_handlers={
      'state': ocp.PyTreeCheckpointHandler(),
      'metadata': ocp.JsonCheckpointHandler(),
    },
    options=ocp.CheckpointManagerOptions(**options),
  )


def _saved_tree(manager: ocp.CheckpointManager, step: int) -> Any:
  """The saved state as nested containers of array descriptions."""
  tree = manager.item_metadata(step)['state']
  tree = getattr(tree, 'tree', tree)
  _check_size(pathlib.Path(manager.directory) / str(step), tree)
  return tree


def _check(path: pathlib.Path, saved: Any, target: Any) -> None:
  """Raises unless `saved` and `target` have the same arrays."""
  found, expected = _describe(saved), _describe(target)
  names = [
    name
    for name in dict.fromkeys([*expected, *found])
    if found.get(name) != expected.get(name)
  ]
  if not names:
    return
  lines = [
    f'  {name}: found {found.get(name, "nothing")}, '
    f'expected {expected.get(name, "nothing")}'
    for name in names[:_SHOWN]
  ]
  if len(names) > _SHOWN:
    lines.append(f'  and {len(names) - _SHOWN} more')
  raise CheckpointError(
    f'{path} is not a state of this run: {len(names)} of {len(expected)} '
    'arrays differ\n' + '\n'.join(lines) + '\nA run with another config saved '
    'it. Use that config, or another workdir.'
  )


def _describe(tree: Any) -> dict[str, str]:
  """Describes each array, as {'params/encoder/kernel': 'float32[3,4]'}."""
  return {
    name: f'{np.dtype(leaf.dtype).name}[{",".join(map(str, leaf.shape))}]'
    for name, leaf in _named(tree).items()
  }


def _named(tree: Any) -> dict[str, Any]:
  """The leaves by their names, in the order of the tree."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {_name(path): leaf for path, leaf in leaves}


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_key(leaf: Any) -> Any:
  # Orbax before 0.12 cannot restore a typed key onto an abstract one.
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_key(leaf: Any, like: Any) -> Any:
  if not _is_key(like):
    return leaf
  return jax.random.wrap_key_data(leaf, impl=_implementation(like))


def _implementation(key: Any) -> Any:
  found = []  # filled while tracing, because `key` may be abstract
  jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
  return found[0]


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  sharding = getattr(leaf, 'sharding', None)
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if _is_key(leaf):
    leaf = jax.eval_shape(jax.random.key_data, leaf)
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _first_line(error: Exception) -> str:
  return (str(error) or type(error).__name__).splitlines()[0]


def _quiet_orbax() -> None:
  """Hides the log records of Orbax, and no others.

  Orbax logs a dozen lines per save, warnings about choices made above, and
  hundreds of lines of tracebacks for one failed write, although each failure
  is raised as well and becomes a `CheckpointError`. All absl programs share the
  logger of Orbax, so a log level would silence the others too. The records of
  Orbax are therefore told by the files that they come from.
  """
  home = os.path.dirname(ocp.__file__) + os.sep

  def keep(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL or not record.pathname.startswith(
      home
    )

  absl_logging.get_absl_logger().addFilter(keep)


_quiet_orbax()
