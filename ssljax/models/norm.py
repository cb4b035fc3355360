"""BatchNorm that respects padding, devices and groups."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ssljax import parallel
from ssljax.errors import UserError


class BatchNorm(nn.Module):
  """BatchNorm over the rows that `mask` admits, on all devices together.

  flax's BatchNorm averages the masked means of the devices. A row then counts
  more on a device with fewer admitted rows, and the mean is NaN where a device
  has none. Its default variance, E[x²] - E[x]², loses precision where the mean
  is large.

  Attributes:
    momentum: decay of the running statistics; torch's momentum is 1 minus it.
    epsilon: added to the variance.
    axis_name: the axis of the devices that share the statistics.
    groups: 0, or the number of groups of a split BatchNorm (MoCo, arXiv
      1911.05722, section 3.3). The global batch is cut into so many consecutive
      groups, each with its own statistics. A device holds its share of the
      groups, so the result depends on the number of groups and not on the
      number of devices. The running statistics are the mean over the groups.
    affine: whether a scale and a bias are learned.
    scale_init: the initial scale; with 0, a residual branch starts at zero.
    dtype: of the output; None takes the input's dtype, or float32 where the
      input has fewer bits. The statistics never have fewer bits than float32.
  """

  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None
  groups: int = 0
  affine: bool = True
  scale_init: float = 1.0
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows d'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows d']:
    width = x.shape[-1]
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    running = (
      self.variable('batch_stats', 'mean', jnp.zeros, width),
      self.variable('batch_stats', 'var', jnp.ones, width),
    )
    if train:
      mean, var = self._statistics(x, mask)
      if not self.is_initializing():
        for old, new in zip(running, (mean, var), strict=True):
          # With groups each statistic has a row per group; the running
          # statistics keep the mean over the groups.
          new = new.reshape(-1, width).mean(axis=0)
          if self.groups:
            new = parallel.mean(new, self.axis_name)
          old.value = self.momentum * old.value + (1 - self.momentum) * new
    else:
      mean, var = (variable.value for variable in running)
    factor = lax.rsqrt(var + self.epsilon)
    if self.affine:
      start = nn.initializers.constant(self.scale_init)
      factor = factor * self.param('scale', start, (width,))
      x = self._normalised(x, mean, factor)
      x = x + self.param('bias', nn.initializers.zeros, (width,))
    else:
      x = self._normalised(x, mean, factor)
    return x.astype(self.dtype or x.dtype)

  def _split(self, x: Array) -> Array:
    """Reshapes to (this device's groups, rows of a group, ...)."""
    devices = parallel.size(self.axis_name)
    local = self.groups // devices
    if self.groups % devices or not local or len(x) % local:
      raise UserError(
        f'Found {self.groups} groups of BatchNorm for a batch of '
        f'{len(x) * devices} on {devices} devices; expected a multiple of the '
        'devices that divides the batch. Change method.groups or the batch '
        'size.'
      )
    return x.reshape(local, len(x) // local, *x.shape[1:])

  def _statistics(
    self, x: Float[Array, '*rows d'], mask: Bool[Array, '*rows'] | None
  ) -> tuple[Array, Array]:
    """Mean and variance, `(d,)`, or `(groups, 1, ..., d)` with groups."""
    # Groups do not share statistics between devices.
    axis_name = None if self.groups else self.axis_name
    axes = tuple(range(x.ndim - 1))
    if self.groups and not self.is_initializing():
      x = self._split(x)
      mask = None if mask is None else self._split(mask)
      axes = tuple(range(1, x.ndim - 1))
    keep = bool(self.groups) and not self.is_initializing()

    if mask is None:

      def average(values):
        return parallel.mean(values.mean(axes, keepdims=keep), axis_name)

    else:
      shown = mask[..., None]
      count = shown.sum(axes, keepdims=keep, dtype=x.dtype)
      count = parallel.mean(count, axis_name)

      def average(values):
        total = jnp.where(shown, values, 0).sum(axes, keepdims=keep)
        total = parallel.mean(total, axis_name)
        return total / jnp.where(count > 0, count, 1)

    mean = average(x)
    return mean, average((x - mean) ** 2)

  def _normalised(
    self, x: Float[Array, '*rows d'], mean: Array, factor: Array
  ) -> Float[Array, '*rows d']:
    if mean.ndim == 1:
      return (x - mean) * factor
    return ((self._split(x) - mean) * factor).reshape(x.shape)
