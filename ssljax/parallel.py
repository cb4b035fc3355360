"""The same step on one device or on many.

`mean`, `gather`, `rank` and `size` see the other devices through `axis_name`;
without an axis they see one device. A step that uses only these functions runs
unchanged under the three mappings of `compile_step`.

Inside a mapping each device differentiates its own local value, and `gather`
carries gradients back to the device that a row came from. If the `mean` of a
loss over devices is the global loss, then the `mean` of its gradients is the
global gradient. The train step therefore averages gradients once, and nothing
averages them before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import (
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
  Sharding,
  SingleDeviceSharding,
)
from jaxtyping import Array, Int, PyTree, Shaped

from ssljax.errors import UserError, check_known

MAPPINGS = ('jit', 'pmap', 'shard_map')

Step = Callable[..., tuple[Any, Any]]  # (state, batch, *shared, axis_name)
Call = Callable[[Any, Any], tuple[Any, Any]]  # (state, batch)


def mean(tree: PyTree, axis_name: str | None = None) -> PyTree:
  """The mean over devices of every leaf; the tree itself without an axis."""
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gather(
  x: Shaped[Array, 'rows ...'], axis_name: str | None = None
) -> Shaped[Array, 'all_rows ...']:
  """All devices' rows, in the order of `rank`; `x` itself without an axis.

  Its transpose sums what all devices ask of a row (a reduce-scatter), so that a
  row receives gradients from the devices that use it as a negative.
  """
  if axis_name is None:
    return x
  return jax.lax.all_gather(x, axis_name, axis=0, tiled=True)


def rank(axis_name: str | None = None) -> int | Int[Array, '']:
  """This device's position along the axis; 0 without an axis."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name)


def size(axis_name: str | None = None) -> int:
  """The number of devices along the axis, a Python int; 1 without an axis."""
  return 1 if axis_name is None else jax.lax.psum(1, axis_name)


def compile_step(
  step: Step,
  *,
  mapping: str = 'shard_map',
  devices: Sequence[Any] | None = None,
  axis_name: str = 'devices',
  scan: bool = False,
  shared: PyTree | None = None,
) -> Call:
  """Compiles a per-device step for one or more devices.

  Args:
    step: `step(state, batch, *, axis_name) -> (state, metrics)`. It sees one
      device's part of the batch. What it returns must be the same on every
      device (use `mean`); this function cannot check that.
    mapping: 'jit' (one device, `axis_name` is None), 'pmap' or 'shard_map'.
    devices: the `jax.Device`s to run on; by default every device, or the first
      device for 'jit'.
    axis_name: the name that `step` receives.
    scan: whether a call takes several steps. The arrays of its batch, and its
      metrics, then have a leading axis of steps.
    shared: arrays that every device keeps whole for all calls. The step is then
      `step(state, batch, shared, *, axis_name)`.

  Returns:
    `call(state, batch) -> (state, metrics)`. The state is donated: the caller
    must not use the old state again. State and metrics have no device axis, so
    the same state may go from one mapping to another. The batch is a tree of
    host arrays with the same leading size. The rows are split in the order of
    the devices; with several processes, each process passes the rows of its own
    devices.

  Raises:
    UserError: here for an unknown mapping or for several devices under 'jit';
      on a call for a batch that cannot be split evenly.
  """
  check_known('mapping', mapping, MAPPINGS)
  if devices is None:
    devices = jax.devices()[: 1 if mapping == 'jit' else None]
  devices = tuple(devices)
  whole = () if shared is None else (shared,)
  if scan:
    step = _scanned(step)
  if mapping == 'jit':
    return _compile_jit(step, devices, whole, rows_axis=int(scan))
  compiler = _compile_pmap if mapping == 'pmap' else _compile_shard_map
  mesh = Mesh(devices, (axis_name,), axis_types=_AUTO)
  return compiler(step, mesh, whole, rows_axis=int(scan))


_AUTO = (AxisType.Auto,)


def _scanned(step: Step) -> Step:
  def steps(state, batches, *shared, axis_name):
    return jax.lax.scan(
      lambda state, batch: step(state, batch, *shared, axis_name=axis_name),
      state,
      batches,
    )

  return steps


def _compile_jit(
  step: Step, devices: Sequence[Any], shared: tuple[Any, ...], *, rows_axis: int
) -> Call:
  if len(devices) != 1 or jax.process_count() != 1:
    raise UserError(
      f"The mapping 'jit' runs on one device of one process, found "
      f'{len(devices)} devices and {jax.process_count()} processes; '
      f"use 'shard_map' for more, or pass one device."
    )
  device = SingleDeviceSharding(devices[0])
  # The shardings are explicit because otherwise the step compiles twice: once
  # for a fresh state, which is not bound to a device, and once more for its own
  # output, which is bound to one.
  compiled = jax.jit(
    functools.partial(step, axis_name=None),
    in_shardings=device,
    out_shardings=device,
    donate_argnums=0,
  )
  shared = place(shared, device)

  def call(state, batch):
    _local_rows(batch, 1, rows_axis)
    return compiled(place(state, device), place(batch, device), *shared)

  return call


def _compile_shard_map(
  step: Step, mesh: Mesh, shared: tuple[Any, ...], *, rows_axis: int
) -> Call:
  (axis_name,) = mesh.axis_names
  whole = PartitionSpec()
  rows = PartitionSpec(*[None] * rows_axis, axis_name)
  # check_vma=True would sum the gradient of replicated params over the devices,
  # without an error: gradients would be wrong by a factor, the device count.
  compiled = jax.jit(
    jax.shard_map(
      functools.partial(step, axis_name=axis_name),
      mesh=mesh,
      in_specs=(whole, rows, *[whole] * len(shared)),
      out_specs=whole,
      check_vma=False,
    ),
    donate_argnums=0,
  )
  replicated, split = NamedSharding(mesh, whole), NamedSharding(mesh, rows)
  devices = len(mesh.local_devices)
  shared = place(shared, replicated)

  def put(leaf):
    if isinstance(leaf, jax.Array) and leaf.sharding == split:
      return leaf
    return jax.make_array_from_process_local_data(split, np.asarray(leaf))

  def call(state, batch):
    _local_rows(batch, devices, rows_axis)
    return compiled(place(state, replicated), jax.tree.map(put, batch), *shared)

  return call


def _compile_pmap(
  step: Step, mesh: Mesh, shared: tuple[Any, ...], *, rows_axis: int
) -> Call:
  (axis_name,) = mesh.axis_names
  # The axis None, in and out, keeps the state free of a device axis: the state
  # is one logical copy, replicated over the mesh, as in shard_map.
  compiled = jax.pmap(
    functools.partial(step, axis_name=axis_name),
    axis_name=axis_name,
    in_axes=(None, rows_axis, *[None] * len(shared)),
    out_axes=None,
    devices=list(mesh.devices),
    donate_argnums=0,
  )
  # With several processes, pmap takes and returns the arrays on the devices of
  # this process.
  replicated = NamedSharding(mesh.local_mesh, PartitionSpec())
  devices = len(mesh.local_devices)
  shared = place(shared, replicated)

  def call(state, batch):
    rows = _local_rows(batch, devices, rows_axis)

    def split(leaf):
      before, after = leaf.shape[:rows_axis], leaf.shape[rows_axis + 1 :]
      return np.reshape(leaf, (*before, devices, rows, *after))

    return compiled(
      place(state, replicated), jax.tree.map(split, batch), *shared
    )

  return call


def rows_of_process(
  rows: int, devices: Sequence[Any] | None = None
) -> Int[np.ndarray, 'own']:
  """Which rows of a global batch this process feeds, in their order.

  Args:
    rows: of the batch, over all devices.
    devices: of all processes, by default every device.
  """
  mesh = Mesh(tuple(devices or jax.devices()), ('rows',), axis_types=_AUTO)
  each = rows // mesh.size
  here = jax.process_index()
  own = [
    np.arange(number * each, (number + 1) * each)
    for number, device in enumerate(mesh.devices)
    if device.process_index == here
  ]
  return np.concatenate(own)


def own(tree: PyTree) -> PyTree:
  """This process's copy of a state that every device has whole.

  What is computed from it stays on one device, and no other process has to
  take part.
  """
  if jax.process_count() == 1:
    return tree
  return jax.tree.map(
    lambda leaf: (
      leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
    ),
    tree,
  )


def everywhere(tree: PyTree) -> PyTree:
  """A state as one array over all processes, which is what Orbax saves."""
  if jax.process_count() == 1:
    return tree
  return place(tree, _whole_everywhere())


def shapes_everywhere(tree: PyTree) -> PyTree:
  """Shapes with the sharding of `everywhere`, to restore a state with."""
  if jax.process_count() == 1:
    return tree
  sharding = _whole_everywhere()
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
  )


def _whole_everywhere() -> NamedSharding:
  mesh = Mesh(jax.devices(), ('devices',), axis_types=_AUTO)
  return NamedSharding(mesh, PartitionSpec())


def changed_by_first(
  change: Callable[[PyTree], PyTree], state: PyTree
) -> PyTree:
  """`change(state)`, equal in all processes down to the last bit.

  Every process computes it from its own copy, and takes what has changed from
  process 0, because processors of two kinds may round differently.
  """
  if jax.process_count() == 1:
    return change(state)
  before = own(state)
  after = change(before)
  pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
  fresh = [new for old, new in pairs if new is not old]
  if not fresh:
    return state
  fresh = iter(multihost_utils.broadcast_one_to_all(fresh))
  return jax.tree.map(
    lambda whole, old, new: whole if new is old else next(fresh),
    state,
    before,
    after,
  )


def place(tree: PyTree, sharding: Sharding) -> PyTree:
  """Moves leaves that are elsewhere, so that the first call compiles for all.

  A state that arrives on one device, committed or not, would compile once for
  this placement and again for the placement of the step's own output. Checking
  where a leaf is takes 0.6 us; putting it where it already is takes 18 us.
  """
  return jax.tree.map(
    lambda leaf: (
      leaf
      if isinstance(leaf, jax.Array) and leaf.sharding == sharding
      else _put(leaf, sharding)
    ),
    tree,
  )


def _put(leaf: Any, sharding: Sharding) -> jax.Array:
  """A leaf that each process has whole, on the devices of all of them."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    leaf = leaf.addressable_data(0)
  if sharding.is_fully_addressable:
    return jax.device_put(leaf, sharding)
  if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    data = _put(jax.random.key_data(leaf), sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
  # `device_put` would compare the leaf over all processes, one by one.
  parts = [
    jax.device_put(leaf, device)
    for device in sorted(sharding.addressable_devices, key=lambda each: each.id)
  ]
  return jax.make_array_from_single_device_arrays(
    np.shape(leaf), sharding, parts
  )


def _local_rows(batch: PyTree, devices: int, axis: int) -> int:
  """Rows per device, after checking that all leaves have the same rows."""
  shapes = {
    jax.tree_util.keystr(path): np.shape(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
  }
  leading = {shape[: axis + 1] for shape in shapes.values()}
  if len(leading) != 1 or len(min(leading)) <= axis:
    raise UserError(
      f'Every array of a batch needs the same leading size, found {shapes}; '
      f'give each array one row per example.'
    )
  rows = min(leading)[axis]
  check_divides(rows, devices)
  return rows // devices


def check_divides(rows: int, devices: int) -> None:
  """UserError unless a batch of so many rows can be split evenly."""
  if rows % devices:
    fitting = [rows // devices * devices, -(-rows // devices) * devices]
    nearest = ' or '.join(str(each) for each in fitting if each)
    raise UserError(
      f'A batch of {rows} cannot be split over {devices} devices; expected a '
      f'multiple of {devices}. Change the batch size (for example to '
      f'{nearest}) or the number of devices.'
    )


def check_mapping(mapping: str) -> None:
  """UserError for a mapping that does not exist, or not for so many."""
  check_known('mapping', mapping, MAPPINGS)
  if mapping == 'jit' and jax.process_count() != 1:
    raise UserError(
      f"The mapping 'jit' runs on one device of one process, found "
      f"{jax.process_count()} processes; use 'shard_map' for more."
    )
