"""BatchNorm that knows padding, devices and groups."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ssljax import parallel
from ssljax.errors import UserError


class BatchNorm(nn.Module):
  """BatchNorm over the rows that `mask` admits, on all devices together.

  flax's averages the devices' own masked means, which counts a row more where
  a device shows fewer of them and is NaN where one shows none. Its default
  variance, E[x²] - E[x]², cancels where the mean is large.

  Attributes:
    momentum: of the running statistics; torch calls 1 - momentum so.
    epsilon: added to the variance.
    axis_name: the devices that share the statistics.
    groups: 0, or split BatchNorm (MoCo, arXiv 1911.05722, section 3.3): so many
      groups of the global batch, one after another, each with statistics of
      its own. A device holds its share of the groups, so their number, and not
      the devices', decides the result. The running statistics are the mean
      over groups.
    affine: learn a scale and a bias.
    scale_init: where the scale starts; 0 makes a residual branch start as
      nothing.
    dtype: of the output; that of the input, or float32 if that has fewer bits,
      unless given. Statistics never have fewer.
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
          # Of each group in a group's shape; the groups' mean is kept.
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

  def _split(self, x):
    """(groups of this device, rows of a group, ...)."""
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

  def _statistics(self, x, mask):
    """Mean and variance, `(d,)`, or `(groups, 1, ..., d)` in groups."""
    # What is not trained on a batch of devices has no axis to share it with.
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

  def _normalised(self, x, mean, factor):
    if mean.ndim == 1:
      return (x - mean) * factor
    return ((self._split(x) - mean) * factor).reshape(x.shape)
