"""One step, any number of devices.

`mean`, `gather`, `rank` and `size` look at the other devices through
`axis_name`, and are the identity without one. A step written with them runs
unchanged under the three mappings of `compile_step`.

Inside a mapping each device differentiates its own local value, and `gather`
carries gradients back to the device that a row came from. So a loss whose
`mean` over devices is the global loss has gradients whose `mean` over devices
is the global gradient: average once, in the train step, and nowhere before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import (
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
  SingleDeviceSharding,
)
from jaxtyping import Array, Int, PyTree, Shaped

from ssljax.errors import UserError, check_known

MAPPINGS = ('jit', 'pmap', 'shard_map')


def mean(tree: PyTree, axis_name: str | None = None) -> PyTree:
  """The mean over devices of every leaf; the tree itself without an axis."""
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gather(
  x: Shaped[Array, 'rows ...'], axis_name: str | None = None
) -> Shaped[Array, 'all_rows ...']:
  """Every device's rows, in the order of `rank`; `x` itself without an axis.

  Its transpose sums over devices what each asks of a row (a reduce-scatter),
  so that rows used as another device's negatives receive their gradient.
  """
  if axis_name is None:
    return x
  return jax.lax.all_gather(x, axis_name, axis=0, tiled=True)


def rank(axis_name: str | None = None) -> int | Int[Array, '']:
  """This device's position along the axis; 0 without one."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name)


def size(axis_name: str | None = None) -> int:
  """The number of devices along the axis, known when tracing; 1 without one."""
  return 1 if axis_name is None else jax.lax.psum(1, axis_name)


def compile_step(
  step: Callable[..., tuple[Any, Any]],
  *,
  mapping: str = 'shard_map',
  devices: Sequence[jax.Device] | None = None,
  axis_name: str = 'devices',
  scan: bool = False,
  shared: PyTree | None = None,
) -> Callable[[Any, Any], tuple[Any, Any]]:
  """Compiles a per-device step for one device or many.

  Args:
    step: `step(state, batch, *, axis_name) -> (state, metrics)`. It sees one
      device's part of the batch; what it returns must be the same on every
      device (go through `mean`), which nothing here can check.
    mapping: 'jit' (one device, `axis_name` is None), 'pmap' or 'shard_map'.
    devices: where to run; every device by default, the first one for 'jit'.
    axis_name: the name that `step` receives.
    scan: a call takes several steps: the arrays of its batch have a leading
      axis of steps, and so have its metrics.
    shared: arrays that every device holds whole from now on, for all calls;
      given, the step is `step(state, batch, shared, *, axis_name)`.

  Returns:
    `call(state, batch) -> (state, metrics)`. The state is donated: the caller
    must not use the old one again. State and metrics have no device axis, so
    the same state may go from one mapping to another. The batch is a tree of
    host arrays that share their leading size, which is split in the order of
    the devices; across processes each passes the rows of its own devices.

  Raises:
    UserError: here for an unknown mapping or for several devices under
      'jit'; on call for a batch that cannot be split evenly.
  """
  check_known('mapping', mapping, MAPPINGS)
  if devices is None:
    devices = jax.devices()[: 1 if mapping == 'jit' else None]
  devices = tuple(devices)
  shared = () if shared is None else (shared,)
  if scan:
    step = _scanned(step)
  if mapping == 'jit':
    return _compile_jit(step, devices, shared, rows_axis=int(scan))
  compiler = _compile_pmap if mapping == 'pmap' else _compile_shard_map
  mesh = Mesh(devices, (axis_name,), axis_types=_AUTO)
  return compiler(step, mesh, shared, rows_axis=int(scan))


_AUTO = (AxisType.Auto,)


def _scanned(step):
  def steps(state, batches, *shared, axis_name):
    return jax.lax.scan(
      lambda state, batch: step(state, batch, *shared, axis_name=axis_name),
      state,
      batches,
    )

  return steps


def _compile_jit(step, devices, shared, *, rows_axis):
  if len(devices) != 1 or jax.process_count() != 1:
    raise UserError(
      f"The mapping 'jit' runs on one device of one process, found "
      f'{len(devices)} devices and {jax.process_count()} processes; '
      f"use 'shard_map' for more, or pass one device."
    )
  device = SingleDeviceSharding(devices[0])
  # Where things are is said aloud: left open, a fresh state that is not bound
  # to a device compiles once, and the step's output, which is, once more.
  compiled = jax.jit(
    functools.partial(step, axis_name=None),
    in_shardings=device,
    out_shardings=device,
    donate_argnums=0,
  )
  shared = _place(shared, device)

  def call(state, batch):
    _local_rows(batch, 1, rows_axis)
    return compiled(_place(state, device), _place(batch, device), *shared)

  return call


def _compile_shard_map(step, mesh, shared, *, rows_axis):
  (axis_name,) = mesh.axis_names
  whole = PartitionSpec()
  rows = PartitionSpec(*[None] * rows_axis, axis_name)
  # check_vma=True believes that the gradient of replicated params is still to
  # be summed and sums it: no error, and gradients off by the device count.
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
  shared = _place(shared, replicated)

  def put(leaf):
    if isinstance(leaf, jax.Array) and leaf.sharding == split:
      return leaf
    return jax.make_array_from_process_local_data(split, np.asarray(leaf))

  def call(state, batch):
    _local_rows(batch, devices, rows_axis)
    return compiled(
      _place(state, replicated), jax.tree.map(put, batch), *shared
    )

  return call


def _compile_pmap(step, mesh, shared, *, rows_axis):
  (axis_name,) = mesh.axis_names
  # None in and out keeps the state free of a device axis: one logical copy,
  # replicated over the mesh, as under shard_map.
  compiled = jax.pmap(
    functools.partial(step, axis_name=axis_name),
    axis_name=axis_name,
    in_axes=(None, rows_axis, *[None] * len(shared)),
    out_axes=None,
    devices=list(mesh.devices),
    donate_argnums=0,
  )
  # Across processes pmap takes and gives what is on this process's devices.
  replicated = NamedSharding(mesh.local_mesh, PartitionSpec())
  devices = len(mesh.local_devices)
  shared = _place(shared, replicated)

  def call(state, batch):
    rows = _local_rows(batch, devices, rows_axis)

    def split(leaf):
      before, after = leaf.shape[:rows_axis], leaf.shape[rows_axis + 1 :]
      return np.reshape(leaf, (*before, devices, rows, *after))

    return compiled(
      _place(state, replicated), jax.tree.map(split, batch), *shared
    )

  return call


def _place(tree, sharding):
  """Moves what is elsewhere, so that the first call compiles for all.

  A state that arrives on one device, committed or not, would compile once for
  that and again for the step's own output. Asking a leaf where it is costs
  0.6 us; putting it where it already is costs 18.
  """
  return jax.tree.map(
    lambda leaf: (
      leaf
      if isinstance(leaf, jax.Array) and leaf.sharding == sharding
      else jax.device_put(leaf, sharding)
    ),
    tree,
  )


def _local_rows(batch, devices: int, axis: int) -> int:
  """Rows per device, after checking that every leaf has as many."""
  shapes = {
    jax.tree_util.keystr(path): np.shape(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
  }
  leading = {shape[: axis + 1] for shape in shapes.values()}
  if len(leading) != 1 or len(min(leading)) <= axis:
    raise UserError(
      f'Every array of a batch needs the same leading size, found {shapes}; '
      f'give each one row per example.'
    )
  rows = min(leading)[axis]
  if rows % devices:
    raise UserError(
      f'A batch of {rows} cannot be split over {devices} devices; expected a '
      f'multiple of {devices}. Change the batch size (for example to '
      f'{-(-rows // devices) * devices}) or the number of devices.'
    )
  return rows // devices
