"""A trained network as files that `ssljax.export` writes and `load` opens.

  model.safetensors   its arrays; the network is made of the config again
  model.stablehlo     its program with its arrays, as `jax.export` writes it
  model.onnx          the same for other runtimes, which `load` does not open
  model.json          what all of them need beside: the config, the frame, ...

No file has pickled objects.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jax import export as jax_export

from ssljax import durable, weights
from ssljax.core import Method
from ssljax.durable import Damaged
from ssljax.errors import UserError, check_known
from ssljax.records import read_json

SETTINGS = 'model.json'
SCRIPT = 'onnx_reader.py'  # of a reader as ONNX
FORMATS = ('onnx', 'safetensors', 'stablehlo')
# The parts of a network that each kind of export has.
PARTS = {'reader': ('encoder', 'head'), 'encoder': ('encoder',)}
OUTPUTS = {'reader': 'logits', 'encoder': 'features'}
PRECISIONS = 'float32', 'float16', 'int8'
NAMES = 'ssljax', 'torch'
PLATFORMS = ('cpu', 'cuda', 'tpu')
Function = Callable[..., jax.Array]


class Kind(NamedTuple):
  """What an export is: the options of `export`, with their checks.

  Attributes:
    format: 'onnx', 'safetensors' or 'stablehlo'.
    part: 'reader' or 'encoder'.
    precision: 'float32', 'float16' or 'int8'.
    names: 'ssljax' or 'torch'.
  """

  format: str
  part: str
  precision: str
  names: str

  def check(self) -> None:
    check_known('format', self.format, FORMATS)
    check_known('part', self.part, PARTS)
    check_known('precision', self.precision, PRECISIONS)
    check_known('names', self.names, NAMES)
    if self.precision != 'float32' and self.part != 'reader':
      raise UserError(
        f'Found --precision={self.precision} for an encoder; expected it for a '
        'reader, because only readings tell what is lost. Leave it out.'
      )
    if self.precision == 'int8' and self.format != 'onnx':
      raise UserError(
        f'Found --precision=int8 and --format={self.format}; expected the '
        'format onnx for int8. Choose --precision=float16 or --format=onnx.'
      )
    if self.names == 'torch' and (self.format, self.part) != (
      'safetensors',
      'encoder',
    ):
      raise UserError(
        f'Found --names=torch with --format={self.format} --part={self.part}; '
        'expected the encoder as safetensors. Add --format=safetensors '
        '--part=encoder.'
      )


def is_export(folder: pathlib.Path) -> bool:
  return (folder / SETTINGS).is_file()


def of_part(
  method: Method, variables: tuple[Any, Any], part: str
) -> tuple[Function, tuple[Any, Any]]:
  """The function that an export computes, and the variables that it needs."""
  function = method.encode if part == 'encoder' else method.predict
  assert function is not None  # or the stage could not read
  params, state = variables
  statistics = state.get('batch_stats', {})
  names = PARTS[part]
  return function, (
    {name: params[name] for name in names},
    {'batch_stats': {name: statistics.get(name, {}) for name in names}},
  )


def safetensors_of(variables: tuple[Any, Any]) -> bytes:
  """The arrays under names such as `params/encoder/Conv_0/kernel`."""
  params, state = jax.device_get(variables)
  arrays: dict[str, Any] = traverse_util.flatten_dict(
    {'params': params, 'method_state': state}, sep='/'
  )
  return weights.packed(arrays)


def torch_names_of(variables: tuple[Any, Any], size: tuple[int, int]) -> bytes:
  """The arrays of an encoder under the names of torchvision or timm.

  Raises:
    UserError: an encoder that neither of them has.
  """
  params, state = jax.device_get(variables)
  tensors, metadata = weights.encoder_weights(
    params['encoder'],
    state['batch_stats']['encoder'],
    height=size[0],
    width=size[1],
  )
  return weights.packed(tensors, metadata)


def halved(
  function: Function, variables: tuple[Any, Any]
) -> tuple[Function, tuple[Any, Any]]:
  """The same with variables as float16, which is computed in float32."""

  def widened(*arguments: Any) -> jax.Array:
    *stored, images, widths = arguments
    return function(*_wide(tuple(stored)), images, widths)

  def stored(each: Any) -> Any:
    with np.errstate(over='ignore'):  # an infinite weight is seen by the check
      return np.asarray(each).astype(np.float16)

  return widened, jax.tree.map(stored, variables)


def _wide(variables: Any) -> Any:
  # A part of the traced program, where NumPy would compute it before.
  return jax.tree.map(
    lambda each: jax.lax.convert_element_type(each, np.float32), variables
  )


def stablehlo_of(
  function: Function,
  variables: tuple[Any, Any],
  size: tuple[int, int],
  stride: int | None,
) -> bytes:
  """A program for CPU, CUDA and TPU, of any number of images.

  Args:
    function: `(*variables, images, widths) -> results`.
    variables: they become constants of the program.
    size: (height, width) of the images.
    stride: the columns of a frame, of an encoder of text. The images may then
      have any width that is a multiple of it.
  """
  height, width = size
  columns = f'{stride} * frames' if stride else f'{width}'
  shape = jax_export.symbolic_shape(f'batch, {height}, {columns}, 3')
  exported = jax_export.export(
    jax.jit(lambda images, widths: function(*variables, images, widths)),
    platforms=PLATFORMS,
  )(
    jax.ShapeDtypeStruct(shape, np.uint8),
    jax.ShapeDtypeStruct(shape[:1], np.int32),
  )
  return bytes(exported.serialize())


def described(folder: pathlib.Path) -> dict[str, Any]:
  """What `model.json` says of an export that `load` can open.

  Raises:
    UserError: the export is not whole, is damaged, or is in another format.
  """
  found = read_json(folder / SETTINGS)
  known = isinstance(found, dict) and found.get('part') in PARTS
  if not known or found.get('format') not in FORMATS or 'config' not in found:
    raise UserError(
      f'Found a {folder / SETTINGS} that describes no network; expected that '
      'of a folder that python -m ssljax.export has written.'
    )
  if found['format'] == 'onnx':
    raise UserError(
      f'Found {folder}, an export as ONNX; expected one that JAX can run. Read '
      'with its onnx_reader.py, or export the run by --format=safetensors.'
    )
  return found


def variables_in(folder: pathlib.Path) -> tuple[Any, Any]:
  """The params and the state of an export as safetensors."""
  path = folder / 'model.safetensors'
  try:
    arrays = safetensors.numpy.load(_content(path))
  except safetensors.SafetensorError as error:
    raise _unreadable(path, error) from None
  arrays = _wide(arrays)  # some exports store float16
  found = traverse_util.unflatten_dict(arrays, sep='/')
  state = found.get('method_state', {})
  statistics = state.get('batch_stats', {})
  # A part without statistics has left no name.
  parts: dict[str, Any] = {'encoder': {}, 'head': {}}
  return found.get('params', {}), {'batch_stats': {**parts, **statistics}}


def torch_variables_in(folder: pathlib.Path, like: Any) -> tuple[Any, Any]:
  """The params and the state of an encoder in the names of torch.

  Args:
    folder: the export.
    like: the variables of the encoder, or their shapes.
  """
  path = folder / 'model.safetensors'
  _content(path)  # refuses what is damaged
  found = weights.read_encoder(
    path, like['params'], like.get('batch_stats', {})
  )
  state = {'batch_stats': {'encoder': found.batch_stats, 'head': {}}}
  return {'encoder': found.params}, state


def function_in(folder: pathlib.Path) -> Function:
  """`(images, widths) -> results` of an export as StableHLO."""
  path = folder / 'model.stablehlo'
  data = _content(path)
  try:
    return jax_export.deserialize(bytearray(data)).call
  except Exception as error:  # whatever the reader of a foreign file raises
    raise _unreadable(path, error) from None


def _content(path: pathlib.Path) -> bytes:
  try:
    return durable.read_bytes(path)
  except FileNotFoundError:
    raise Damaged(
      f'Found no {path}; expected it in a whole export. Export the run again.'
    ) from None


def _unreadable(path: pathlib.Path, error: Exception) -> Damaged:
  why = (str(error) or type(error).__name__).splitlines()[0]
  return Damaged(
    f'Found {path} unreadable ({why}); expected it as ssljax wrote it. Export '
    'the run again.'
  )
