"""A trained network as an ONNX model that onnxruntime runs fast.

jax2onnx converts what JAX traces. GroupNorm is traced in a form of its own,
because flax's makes several passes over the feature map, which onnxruntime does
not join. `rounded` stores the weights of a model with fewer bits.
"""

import contextlib
import logging
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssljax import standalone
from ssljax.errors import UserError

LARGE = 256  # weights of an array that is stored with fewer bits
# The operations whose weights become int8.
PRODUCTS = ('Conv', 'Gemm', 'MatMul')


def converted(
  function: Callable[..., jax.Array],
  variables: tuple[Any, Any],
  size: tuple[int, int],
  out: str,
) -> bytes:
  """An ONNX model of any number of images.

  Its inputs are `images`, uint8 (batch, height, width, 3), and `widths`, int32
  (batch,).

  Args:
    function: `(*variables, images, widths) -> results`.
    variables: they become initializers of the model.
    size: (height, width) of the images.
    out: the name of the output.

  Raises:
    UserError: jax2onnx is not installed, or cannot convert the network.
  """
  try:
    from jax2onnx import to_onnx
  except ImportError:
    raise standalone.missing('jax2onnx') from None

  def network(images: jax.Array, widths: jax.Array) -> jax.Array:
    with nn.intercept_methods(_lean):
      return function(*variables, images, widths)

  with _silent():
    try:
      model = to_onnx(
        network,
        [
          jax.ShapeDtypeStruct(('batch', *size, 3), np.uint8),
          jax.ShapeDtypeStruct(('batch',), np.int32),
        ],
        input_names=['images', 'widths'],
        output_names=[out],
        normalization_mode='prefer_native',
      )
    except Exception as error:  # whatever an operation lacks there
      raise UserError(
        'Found a network that jax2onnx cannot convert '
        f'({str(error).splitlines()[0]}); expected operations that it knows. '
        'Export by --format=stablehlo or safetensors.'
      ) from error
  return model.SerializeToString()


def _lean(next_function, arguments, options, context) -> Any:
  """Replaces the GroupNorm of flax while a network is traced."""
  norm = context.module
  if not isinstance(norm, nn.GroupNorm) or context.method_name != '__call__':
    return next_function(*arguments, **options)
  return group_norm(norm, *arguments, **options)


def group_norm(
  norm: nn.GroupNorm, x: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
  """What `norm` computes, in two sums over the feature map and one product.

  Args:
    norm: bound to its scale and bias.
    x: (batch, height, width, channels).
    mask: of the columns that count, (batch, 1, width, channels), the same for
      all channels.
  """
  _, height, width, channels = x.shape
  shown, count = x, jnp.full((1, 1), height * width, x.dtype)
  if mask is not None:
    columns = mask[:, :, :, :1].astype(x.dtype)
    shown, count = x * columns, height * columns.sum(axis=(1, 2))
  groups = norm.num_groups
  assert groups is not None  # the networks here name it
  each = channels // groups
  # A product with this gives each channel the mean over its group.
  means = np.kron(np.eye(groups), np.full((each, each), 1 / each))
  means = means.astype(x.dtype)
  mean = shown.sum(axis=(1, 2)) @ means / count
  square = (shown * shown).sum(axis=(1, 2)) @ means / count
  variance = jnp.maximum(square - mean * mean, 0)
  params = norm.variables['params']
  scale = params['scale'] / jnp.sqrt(variance + norm.epsilon)
  shift = params['bias'] - mean * scale
  return x * scale[:, None, None] + shift[:, None, None]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
  """What converters warn of is their own work."""
  quiet = [logging.getLogger('onnx_ir'), logging.getLogger()]
  levels = [each.level for each in quiet]
  for each in quiet:
    each.setLevel(logging.ERROR)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    try:
      yield
    finally:
      for each, level in zip(quiet, levels, strict=True):
        each.setLevel(level)


def rounded(model: bytes, precision: str) -> bytes:
  """A model whose weights have fewer bits.

  Args:
    model: as `converted` gives it.
    precision: 'float16' stores the weights so, and computes in float32 as
      before, because onnxruntime computes float16 on CPUs no faster. 'int8'
      multiplies in int8, with ranges of the inputs that are found for each
      batch, so that no images are needed to choose them.
  """
  return _half(model) if precision == 'float16' else _quantized(model)


def _half(model: bytes) -> bytes:
  import onnx
  from onnx import numpy_helper

  found = onnx.load_model_from_string(model)
  graph = found.graph
  casts = []
  for tensor in graph.initializer:
    values = numpy_helper.to_array(tensor)
    if values.dtype != np.float32 or values.size < LARGE:
      continue
    name = tensor.name
    with np.errstate(over='ignore'):  # an infinite weight is seen by the check
      half = values.astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, f'{name}_half'))
    # onnxruntime folds these as it opens the model.
    casts.append(
      onnx.helper.make_node(
        'Cast', [tensor.name], [name], to=onnx.TensorProto.FLOAT
      )
    )
  nodes = [*casts, *graph.node]
  del graph.node[:]
  graph.node.extend(nodes)
  return found.SerializeToString()


def _quantized(model: bytes) -> bytes:
  import onnx

  try:
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference
  except ImportError:
    raise standalone.missing('onnxruntime') from None
  with tempfile.TemporaryDirectory() as made, _silent():
    given, folded, out = (
      str(pathlib.Path(made) / name) for name in ('a.onnx', 'b.onnx', 'c.onnx')
    )
    pathlib.Path(given).write_bytes(model)
    # Folds constants, so that weights are initializers.
    shape_inference.quant_pre_process(given, folded, skip_symbolic_shape=True)
    quantization.quantize_dynamic(
      onnx.load_model(folded),
      out,
      op_types_to_quantize=list(PRODUCTS),
      # With signed weights the sums overflow on processors without VNNI.
      weight_type=quantization.QuantType.QUInt8,
    )
    return pathlib.Path(out).read_bytes()


def runner(path: pathlib.Path) -> Callable[..., np.ndarray]:
  """`(images, widths) -> results` of a model, as onnxruntime runs it."""
  try:
    import onnxruntime
  except ImportError:
    raise standalone.missing('onnxruntime') from None
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # of initializers that nobody uses
  session = onnxruntime.InferenceSession(
    str(path), options, providers=['CPUExecutionProvider']
  )
  # Not every encoder looks at the widths.
  names = {each.name for each in session.get_inputs()}

  def run(images, widths):
    feed = {'images': images, 'widths': widths}
    feed = {name: each for name, each in feed.items() if name in names}
    return np.asarray(session.run(None, feed)[0])

  return run
