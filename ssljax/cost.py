"""The FLOPs of a stage, as XLA counts them."""

import bisect
import contextlib
import functools
import hashlib
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from ssljax import durable
from ssljax.core import Method, inputs

PACKAGE = pathlib.Path(__file__).parent


def steps_for(spent: float, cost: Callable[[int], float]) -> int:
  """The number of steps whose FLOPs are nearest to those that may be spent."""
  most = math.ceil(spent / cost(1))
  while cost(most) < spent:  # where the first step costs more than the others
    most *= 2
  # The first number of steps that costs as much, or more.
  enough = bisect.bisect_left(range(most), spent, key=cost)
  return min(
    (enough, max(enough - 1, 0)), key=lambda steps: abs(cost(steps) - spent)
  )


def cost_of(
  method: Method, batch: Mapping[str, Any], examples: int, *, key: str = ''
) -> Callable[[int], float]:
  """A function from a number of steps to their FLOPs.

  The FLOPs are those of the loss and its gradient in each step, teachers
  included, and those of `before_epoch` in each epoch. The optimizer's step and
  moving averages are left out: they cost a few FLOPs a parameter, which the
  loss uses for every frame of every image.

  Args:
    method: the objective, on one device.
    batch: arrays, or their shapes.
    examples: the number of examples of an epoch.
    key: says what the method was made from. What was counted is then kept for
      later processes, because counting takes seconds.
  """
  size = len(batch['index'])

  def counted(count):
    name, made = count.__name__, functools.partial(count, method, batch)
    return functools.cache(lambda: kept(key and f'{name} {key}', made))

  step, encode = counted(loss_flops), counted(encode_flops)

  # Few labels make thousands of epochs, so nothing is traced once an epoch.
  known = functools.cache(functools.partial(shapes, method, batch))

  def features():
    return encode() * examples / size

  @functools.cache
  def begin(epoch):
    return method.epoch_flops(*known(), features, epoch)

  def cost(steps):
    epochs = range(math.ceil(steps / (examples // size)))
    return steps * step() + sum(begin(epoch) for epoch in epochs)

  return cost


def kept(key: str, count: Callable[[], float]) -> float:
  """What an earlier process of the same code counted, or else counts it.

  The file stands beside JAX's compiled programs. A damaged one is made again.

  Args:
    key: what the count depends on, beside the code; '' keeps nothing.
    count: counts.
  """
  folder = getattr(jax.config, 'jax_compilation_cache_dir', None)
  if not (key and folder) or '://' in folder:  # a bucket is no path
    return count()
  digest = durable.digest_of(f'{code()} {key}'.encode())
  path = pathlib.Path(folder) / f'flops-{digest}'
  with contextlib.suppress(OSError, ValueError):
    value, checked = path.read_text().split()
    if checked == durable.digest_of(value.encode()):
      return float(value)
  found = count()
  value = repr(found)
  failures = contextlib.suppress(OSError, durable.CannotWrite)
  with failures, durable.replacing(path) as file:
    file.write(f'{value} {durable.digest_of(value.encode())}')
  return found


@functools.cache
def code() -> str:
  """Hashes all that decides about a count, but for what was configured."""
  versions = jax.__version__, flax.__version__, jax.default_backend()
  found = hashlib.sha256(' '.join(versions).encode())
  for path in sorted(PACKAGE.rglob('*.py')):
    found.update(path.read_bytes())
  return found.hexdigest()


def shapes(method: Method, batch: Mapping[str, Any]) -> tuple[Any, Any]:
  """The shapes of params and method state, found without a computation."""
  return jax.eval_shape(method.init, jax.random.key(0), batch)


def _counted(function: Callable[..., Any], *arguments: Any) -> float:
  """FLOPs of a function, as XLA counts them; arguments may be shapes."""
  counted: Any = jax.jit(function).lower(*arguments).cost_analysis()
  return float(counted['flops'])


def encode_flops(method: Method, batch: Mapping[str, Any]) -> float:
  """FLOPs of the features of one batch, as XLA counts them."""
  return _counted(method.encode, *shapes(method, batch), *inputs(batch))


def loss_flops(method: Method, batch: Mapping[str, Any]) -> float:
  """FLOPs of the loss and its gradient on one batch, as XLA counts them.

  Args:
    method: the objective, on one device.
    batch: arrays, or their shapes.
  """

  def gradient(key, batch):
    params, method_state = method.init(key, batch)
    loss = jax.value_and_grad(method.loss, has_aux=True)
    return loss(params, method_state, batch, key, jnp.zeros((), jnp.int32))

  arguments = jax.random.key(0), batch
  return _counted(gradient, *arguments) - _counted(method.init, *arguments)
