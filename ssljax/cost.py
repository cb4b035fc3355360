"""The FLOPs of a stage, as XLA counts them."""

import bisect
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ssljax.core import Method, inputs


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
  method: Method, batch: Mapping[str, Any], examples: int
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
  """
  size = len(batch['index'])
  step = functools.cache(functools.partial(loss_flops, method, batch))
  encode = functools.cache(functools.partial(encode_flops, method, batch))

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
