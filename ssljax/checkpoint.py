"""Checkpoints: a whole `TrainState` and what reads it again, one atomic step.

  <directory>/<step>/state      every array of the state (Orbax, OCDBT)
  <directory>/<step>/metadata   the JSON given at construction: the config, the
                                charset, the preprocessing

A step's folder gets its name only once it is complete, so a process killed at
any moment leaves the newest complete step as it was; what it left unfinished
is ignored, and removed when the folder is next opened to save. Directories are
local or mounted ones.
"""

import contextlib
import json
import logging
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from ssljax.errors import UserError

_SHOWN = 5  # differing arrays that an error names


class CheckpointError(UserError):
  """Nothing to restore, nothing that fits, or a save that failed."""


class Saved(NamedTuple):
  """What `read` finds: plain nested containers of numpy arrays."""

  step: int
  state: dict[str, Any]
  metadata: dict[str, Any]


class Checkpoints:
  """The checkpoints of one stage; a context manager.

  Args:
    directory: made where it is missing.
    metadata: JSON-able, saved in every step beside the state, given back by
      `read`. (Tuples come back as lists.)
    keep: the complete steps that are kept.
  """

  def __init__(self, directory, *, metadata=None, keep=2):
    self.directory = pathlib.Path(directory).absolute()
    # Orbax would complain from a background thread, minutes into the run.
    self._metadata = json.loads(json.dumps(metadata or {}))
    self._manager = _open(
      self.directory, max_to_keep=keep, cleanup_tmp_directories=True
    )
    self._latest = self._newest()

  def save(self, step, state):
    """Starts saving `state` as `step`, and returns before it is written.

    The caller may donate `state` to the next training step at once. Orbax
    holds a copy of every array on the host or, on CPU, where the host's array
    is the device's memory, a reference for which the runtime refuses to
    overwrite that memory: a training step meanwhile writes its results
    elsewhere. (A test compares bit for bit.)

    An earlier save still under way is waited for. Saving the newest step again
    does nothing, so a final save may fall on a periodic one.

    Raises:
      CheckpointError: the previous save failed, or `step` is before the newest
        one, which a restart that did not restore would do.
    """
    self.finish()
    step = int(step)
    if step == self._latest:
      return
    if self._latest is not None and step < self._latest:
      raise CheckpointError(
        f'step {step} cannot be saved: {self.directory} already holds step '
        f'{self._latest}. Restore it first, or use another workdir.'
      )
    with self._surfacing(step):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(jax.tree.map(_without_key, state)),
          metadata=ocp.args.JsonSave(self._metadata),
        ),
        force=True,
      )
    self._latest = step

  def restore(self, like):
    """The newest complete state, or None where there is none yet.

    Args:
      like: a state, concrete or of `jax.ShapeDtypeStruct`s, with the wanted
        structure, dtypes and shardings. A leaf that names no sharding goes to
        the first device of this process.

    Raises:
      CheckpointError: the saved arrays are not those of `like`.
    """
    step = self.latest_step()
    if step is None:
      return None
    target = jax.tree.map(_abstract, like)
    # Orbax checks too, but it stops in the middle of reading, and says so with
    # pages of tracebacks from its event loop.
    _check(self.directory / str(step), _saved_tree(self._manager, step), target)
    args = ocp.args.PyTreeRestore(
      item=target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
    )
    args = ocp.args.Composite(state=args)
    state = self._manager.restore(step, args=args)['state']
    return jax.tree.map(_with_key, state, like)

  def latest_step(self):
    """The newest complete step, or None; waits for a save under way."""
    self.finish()
    return self._latest

  def finish(self):
    """Waits for the save under way; raises `CheckpointError` if it failed."""
    with self._surfacing(self._latest):
      self._manager.wait_until_finished()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    try:
      self.finish()
    except CheckpointError as failed:
      if error is None:
        raise
      error.add_note(str(failed))  # what stopped the run is the first news
    finally:
      self._manager.close()

  def _newest(self):
    return max(self._manager.all_steps(read=True), default=None)

  @contextlib.contextmanager
  def _surfacing(self, step):
    """Turns whatever a save raises into one `CheckpointError`."""
    try:
      yield
    except Exception as error:
      self._latest = self._newest()
      raise CheckpointError(
        f'step {step} could not be saved in {self.directory}: '
        f'{_first_line(error)}\nThe newest complete step there is '
        f'{self._latest}. Once the disk has room and can be written to, the '
        'same command goes on from it.'
      ) from error


def read(directory, *entries):
  """Reads the newest complete step without knowing what its state looks like.

  Args:
    directory: the checkpoints of a stage, of this run or of another.
    *entries: the fields of the state to read, such as 'params' and
      'method_state'; all of them where none is named. The others are not
      touched on the disk.

  Returns:
    `Saved(step, state, metadata)`. In `state` a named tuple has become a dict
    and a tuple a list; typed keys are their raw data.

  Raises:
    CheckpointError: there is no complete checkpoint, or no such entry.
  """
  directory = pathlib.Path(directory).absolute()
  if not directory.is_dir():
    raise _nothing(directory, 'does not exist')
  with _open(directory, read_only=True, create=False) as manager:
    step = max(manager.all_steps(), default=None)
    if step is None:
      raise _nothing(directory, 'holds no complete step')
    tree = _saved_tree(manager, step)
    for name in entries:
      if name not in tree:
        raise CheckpointError(
          f'{directory / str(step)} has no entry {name!r}; it has '
          f'{", ".join(sorted(tree))}.'
        )
    wanted = entries or tuple(tree)
    tree = {
      name: part
      if name in wanted
      else jax.tree.map(lambda _: ocp.PLACEHOLDER, part)
      for name, part in tree.items()
    }
    # As numpy: the devices that it was saved from need not exist here.
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    args = ocp.args.PyTreeRestore(
      item=tree, restore_args=jax.tree.map(lambda _: as_numpy, tree)
    )
    args = ocp.args.Composite(state=args, metadata=ocp.args.JsonRestore())
    found = manager.restore(step, args=args)
  state = {name: found['state'][name] for name in wanted}
  return Saved(step, state, found['metadata'])


def _nothing(directory, why):
  return CheckpointError(
    f'no checkpoint: {directory} {why}; expected the checkpoints of a stage '
    'that has run. Run that stage first, or name another workdir.'
  )


def _open(directory, **options):
  return ocp.CheckpointManager(
    directory,
    item_handlers={
      'state': ocp.PyTreeCheckpointHandler(),
      'metadata': ocp.JsonCheckpointHandler(),
    },
    options=ocp.CheckpointManagerOptions(**options),
  )


def _saved_tree(manager, step):
  """The saved state as nested containers of array descriptions."""
  tree = manager.item_metadata(step)['state']
  return getattr(tree, 'tree', tree)


def _check(path, saved, target):
  """Raises where the arrays of `saved` are not those of `target`."""
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
    'arrays differ\n' + '\n'.join(lines) + '\nAnother config made it: use '
    'that config, or another workdir.'
  )


def _describe(tree):
  """{'params/encoder/kernel': 'float32[3,4]'}"""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): (
      f'{np.dtype(leaf.dtype).name}[{",".join(map(str, leaf.shape))}]'
    )
    for path, leaf in leaves
  }


def _is_key(leaf):
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_key(leaf):
  # Orbax before 0.12 cannot restore a typed key onto an abstract one.
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_key(leaf, like):
  if not _is_key(like):
    return leaf
  return jax.random.wrap_key_data(leaf, impl=_implementation(like))


def _implementation(key):
  found = []  # traced, because `key` may be abstract
  jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
  return found[0]


def _abstract(leaf):
  sharding = getattr(leaf, 'sharding', None)
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if _is_key(leaf):
    leaf = jax.eval_shape(jax.random.key_data, leaf)
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _first_line(error):
  return (str(error) or type(error).__name__).splitlines()[0]


def _quiet_orbax():
  """Keeps what Orbax logs off the console, and nothing else.

  It logs through the logger that every absl program shares: a dozen lines a
  save, warnings about choices made above, and for one failed write hundreds of
  lines of tracebacks, although each failure is raised as well and surfaces
  here. A level would silence the others too, so its files are told by name.
  """
  home = os.path.dirname(ocp.__file__) + os.sep

  def keep(record):
    return record.levelno >= logging.CRITICAL or not record.pathname.startswith(
      home
    )

  absl_logging.get_absl_logger().addFilter(keep)


_quiet_orbax()
