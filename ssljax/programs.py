"""A function of images, compiled for a few sizes of batches and of images."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError
from jaxtyping import Int, UInt8

from ssljax import process
from ssljax.errors import UserError

# Batches are filled up to one of these, so that few images cost little and a
# function is compiled seven times at most for each width.
BUCKETS = (1, 2, 4, 8, 16, 32, 64)
CHUNK = BUCKETS[-1]  # the most images of a call


@contextlib.contextmanager
def _fitting() -> Iterator[None]:
  """Refuses variables that are not those of the network."""
  try:
    yield
  except FlaxError as error:
    raise UserError(
      'Found a checkpoint whose arrays are not those of the network that its '
      f'config describes ({str(error).splitlines()[0]}); expected a checkpoint '
      'as ssljax saves it. Take the run from where it came from again.'
    ) from None


class Program:
  """`(pixels, widths) -> results` of a method's function; threads may share it.

  It is compiled when a size is first seen, and kept on the disk as
  `process.compiled_kept` says.

  Args:
    function: `(*variables, images, widths) -> results`, of arrays.
    variables: its first arguments, on the device.
    size: (height, width) of the images.
    stride: the columns of a frame, if the results are frames that do not depend
      on the padding behind them. Images of half the width are then read without
      the other half, in half the time; the results of these frames are zeros.
  """

  def __init__(
    self,
    function: Callable[..., jax.Array],
    variables: tuple[Any, ...],
    size: tuple[int, int],
    *,
    stride: int | None = None,
  ):
    self._function, self._size, self._stride = function, size, stride
    self._variables = variables
    self._compiled: dict[tuple[int, int], Callable[..., jax.Array]] = {}
    self._compiling = threading.Lock()

  @property
  def shape(self) -> tuple[int, ...]:
    """Of one result, found without a computation."""
    like = self._like(1, self._size[1])
    with _fitting():
      found = jax.eval_shape(self._function, *self._variables, *like)
    return found.shape[1:]

  def __call__(
    self,
    pixels: UInt8[np.ndarray, 'n height width 3'],
    widths: Int[np.ndarray, 'n'],
  ) -> np.ndarray:
    """The results of 1 to `CHUNK` images, whose padding is on the right."""
    stride, whole = self._stride, self._size[1]
    if stride is None:
      return self._run(pixels, widths)
    half = min(whole, stride * -(-whole // (2 * stride)))
    narrow = widths <= half
    parts = [
      (chosen, self._run(pixels[chosen, :, :width], widths[chosen]))
      for chosen, width in ((~narrow, whole), (narrow, half))
      if chosen.any()
    ]
    like = parts[0][1]
    results = np.zeros(
      (len(pixels), -(-whole // stride), *like.shape[2:]), like.dtype
    )
    for chosen, found in parts:
      results[chosen, : found.shape[1]] = found
    return results

  def _run(self, pixels: np.ndarray, widths: np.ndarray) -> np.ndarray:
    count = len(pixels)
    size = next(size for size in BUCKETS if size >= count)
    rows = np.arange(size).clip(max=count - 1)
    compiled = self._compiled_for(size, pixels.shape[2])
    found = compiled(*self._variables, pixels[rows], widths[rows])
    return np.asarray(found)[:count]

  def _compiled_for(self, count: int, width: int) -> Callable[..., jax.Array]:
    with self._compiling:
      if (count, width) not in self._compiled:
        like = self._like(count, width)
        with process.compiled_kept():
          # Variables as an argument: as constants they would be compiled in.
          with _fitting():
            lowered = jax.jit(self._function).lower(*self._variables, *like)
          self._compiled[count, width] = lowered.compile()
      return self._compiled[count, width]

  def _like(self, count: int, width: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    shape = count, self._size[0], width, 3
    return (
      jax.ShapeDtypeStruct(shape, np.uint8),
      jax.ShapeDtypeStruct((count,), np.int32),
    )
