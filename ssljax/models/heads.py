"""The small networks between a feature and a loss."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Projector(nn.Module):
  """Dense without bias, LeakyReLU 0.18, Dense: the article's SimCLR head.

  Attributes:
    width: outputs of both Dense layers.
    batch_norm: puts BatchNorm after each Dense, which the article's head does
      not have. Without it a small encoder's loss stays at ln N.
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
      return nn.BatchNorm(
        use_running_average=not train,
        momentum=self.momentum,
        epsilon=self.epsilon,
        axis_name=self.axis_name,
        use_fast_variance=False,
      )(x, mask=None if mask is None else mask[..., None])

    dense = {'kernel_init': nn.initializers.glorot_uniform()}
    x = nn.Dense(self.width, use_bias=False, **dense)(x)
    x = nn.leaky_relu(norm(x), 0.18)
    return norm(nn.Dense(self.width, **dense)(x)).astype(jnp.float32)
