"""The small networks between a feature and a loss."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ssljax import parallel

# Keras's default.
_GLOROT = nn.initializers.glorot_uniform()


class BatchNorm(nn.Module):
  """BatchNorm over the rows that `mask` admits, on all devices together.

  flax's averages the devices' own masked means, which counts a row more where
  a device shows fewer of them and is NaN where one shows none.

  Attributes:
    momentum: of the running statistics.
    epsilon: added to the variance.
    axis_name: the devices that share the statistics.
  """

  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None

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
    scale = self.param('scale', nn.initializers.ones, (width,))
    bias = self.param('bias', nn.initializers.zeros, (width,))
    if train:
      shown = jnp.ones(x.shape[:-1], bool) if mask is None else mask
      count = parallel.mean(shown.sum(dtype=x.dtype), self.axis_name)

      def average(values):
        total = jnp.where(shown[..., None], values, 0).reshape(-1, width).sum(0)
        total = parallel.mean(total, self.axis_name)
        return total / jnp.where(count > 0, count, 1)

      mean = average(x)
      var = average((x - mean) ** 2)
      if not self.is_initializing():
        for old, new in zip(running, (mean, var), strict=True):
          old.value = self.momentum * old.value + (1 - self.momentum) * new
    else:
      mean, var = (variable.value for variable in running)
    return (x - mean) * lax.rsqrt(var + self.epsilon) * scale + bias


class Projector(nn.Module):
  """Dense without bias, LeakyReLU 0.18, Dense: the article's SimCLR head.

  With BatchNorm after each Dense it is the article's SimSiam projector: Dense,
  BatchNorm, LeakyReLU, Dense, BatchNorm.

  Attributes:
    width: outputs of both Dense layers.
    batch_norm: puts BatchNorm after each Dense. The article's SimCLR head has
      none; without it a small encoder's loss stays at ln N.
    momentum: of BatchNorm's running statistics (Keras's default).
    epsilon: of BatchNorm (Keras's default).
    axis_name: the devices that share BatchNorm's statistics.
  """

  width: int = 128
  batch_norm: bool = True
  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows d'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows p']:
    def norm(x):
      if not self.batch_norm:
        return x
      return BatchNorm(self.momentum, self.epsilon, self.axis_name)(
        x, train=train, mask=mask
      )

    x = nn.Dense(self.width, use_bias=False, kernel_init=_GLOROT)(x)
    x = nn.leaky_relu(norm(x), 0.18)
    return norm(nn.Dense(self.width, kernel_init=_GLOROT)(x)).astype(
      jnp.float32
    )


class Predictor(nn.Module):
  """Dense without bias, LeakyReLU 0.18, BatchNorm, Dense: the article's.

  SimSiam's own order is Dense, BatchNorm, ReLU, Dense (arXiv 2011.10566,
  section 3). Both have BatchNorm in the hidden layer and none at the output.

  Attributes:
    width: outputs, as many as the projector's.
    hidden: outputs of the first Dense; narrower than `width`. The article
      leaves its size open; a quarter is the paper's.
    hidden_norm: BatchNorm in the hidden layer.
    output_norm: BatchNorm at the output, which the article warns of.
    momentum: of BatchNorm's running statistics (Keras's default).
    epsilon: of BatchNorm (Keras's default).
    axis_name: the devices that share BatchNorm's statistics.
  """

  width: int = 128
  hidden: int = 32
  hidden_norm: bool = True
  output_norm: bool = False
  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows p'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows p']:
    norm = functools.partial(
      BatchNorm, self.momentum, self.epsilon, self.axis_name
    )
    x = nn.Dense(self.hidden, use_bias=False, kernel_init=_GLOROT)(x)
    x = nn.leaky_relu(x, 0.18)
    if self.hidden_norm:
      x = norm()(x, train=train, mask=mask)
    x = nn.Dense(self.width, kernel_init=_GLOROT)(x)
    if self.output_norm:
      x = norm()(x, train=train, mask=mask)
    return x.astype(jnp.float32)
