"""The small networks between a feature and a loss."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ssljax.errors import check_known
from ssljax.models.norm import BatchNorm

# The default initializer of Keras.
_GLOROT = nn.initializers.glorot_uniform()


class Projector(nn.Module):
  """Dense without bias, LeakyReLU 0.18, Dense: the article's SimCLR projector.

  With BatchNorm after each Dense it is the article's SimSiam projector: Dense,
  BatchNorm, LeakyReLU, Dense, BatchNorm.

  Attributes:
    width: outputs of both Dense layers.
    batch_norm: whether BatchNorm follows each Dense. The article's SimCLR head
      has no BatchNorm; without BatchNorm a small encoder's loss stays at ln N.
    momentum: decay of BatchNorm's running statistics (Keras's default).
    epsilon: added to BatchNorm's variance (Keras's default).
    axis_name: the axis of the devices that share BatchNorm's statistics.
    groups: the groups of a split BatchNorm; see `BatchNorm`.
  """

  width: int = 128
  batch_norm: bool = True
  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None
  groups: int = 0

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows d'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows p']:
    def norm(x: Array) -> Array:
      if not self.batch_norm:
        return x
      return BatchNorm(
        self.momentum, self.epsilon, self.axis_name, self.groups
      )(x, train=train, mask=mask)

    x = nn.Dense(self.width, use_bias=False, kernel_init=_GLOROT)(x)
    x = nn.leaky_relu(norm(x), 0.18)
    return norm(nn.Dense(self.width, kernel_init=_GLOROT)(x)).astype(
      jnp.float32
    )


class Predictor(nn.Module):
  """Dense without bias, LeakyReLU 0.18, BatchNorm, Dense, as in the article.

  SimSiam's own order is Dense, BatchNorm, ReLU, Dense (arXiv 2011.10566,
  section 3). Both predictors have BatchNorm in the hidden layer and none at the
  output.

  Attributes:
    width: outputs of the predictor, as many as the projector has.
    hidden: outputs of the first Dense, fewer than `width`. The article does not
      give this number; the paper's is a quarter of `width`.
    hidden_norm: whether the hidden layer has BatchNorm.
    output_norm: whether the output has BatchNorm, which the article warns of.
    momentum: decay of BatchNorm's running statistics (Keras's default).
    epsilon: added to BatchNorm's variance (Keras's default).
    axis_name: the axis of the devices that share BatchNorm's statistics.
    groups: the groups of a split BatchNorm; see `BatchNorm`.
  """

  width: int = 128
  hidden: int = 32
  hidden_norm: bool = True
  output_norm: bool = False
  momentum: float = 0.99
  epsilon: float = 1e-3
  axis_name: str | None = None
  groups: int = 0

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows p'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows p']:
    norm = functools.partial(
      BatchNorm, self.momentum, self.epsilon, self.axis_name, self.groups
    )
    x = nn.Dense(self.hidden, use_bias=False, kernel_init=_GLOROT)(x)
    x = nn.leaky_relu(x, 0.18)
    if self.hidden_norm:
      x = norm()(x, train=train, mask=mask)
    x = nn.Dense(self.width, kernel_init=_GLOROT)(x)
    if self.output_norm:
      x = norm()(x, train=train, mask=mask)
    return x.astype(jnp.float32)


class Mlp(nn.Module):
  """Dense, BatchNorm, ReLU, ..., Dense: the heads of the papers on images.

  SimCLR and BYOL use widths (hidden, out). MoCo v1 uses (out,), and v2 uses
  (hidden, out) without a hidden norm. SimSiam's projector ends in a plain norm.
  A Dense has a bias where no norm follows it. Kernels start from flax's default
  (LeCun).

  Attributes:
    widths: outputs of each Dense.
    hidden_norm: whether BatchNorm precedes each ReLU.
    output_norm: 'none'; 'affine'; or 'plain', BatchNorm without parameters.
    momentum: decay of BatchNorm's running statistics.
    epsilon: added to BatchNorm's variance.
    axis_name: the axis of the devices that share BatchNorm's statistics.
    groups: the groups of a split BatchNorm; see `BatchNorm`.
    output_bias: whether the last Dense has a bias where no norm follows it.
  """

  widths: Sequence[int] = (512, 128)
  hidden_norm: bool = True
  output_norm: str = 'none'
  momentum: float = 0.9
  epsilon: float = 1e-5
  axis_name: str | None = None
  groups: int = 0
  output_bias: bool = True

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows d'],
    *,
    train: bool,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows p']:
    check_known('output_norm', self.output_norm, ('none', 'affine', 'plain'))

    def norm(x: Array, affine: bool = True) -> Array:
      return BatchNorm(
        self.momentum, self.epsilon, self.axis_name, self.groups, affine
      )(x, train=train, mask=mask)

    for width in self.widths[:-1]:
      x = nn.Dense(width, use_bias=not self.hidden_norm)(x)
      x = nn.relu(norm(x) if self.hidden_norm else x)
    bare = self.output_norm == 'none'
    x = nn.Dense(self.widths[-1], use_bias=bare and self.output_bias)(x)
    if not bare:
      x = norm(x, self.output_norm == 'affine')
    return x.astype(jnp.float32)


class Classifier(nn.Module):
  """One Dense layer to the logits of the classes, in at least float32.

  Attributes:
    classes: the number of classes.
    pooled: whether the frames of a sequence are averaged first.
  """

  classes: int
  pooled: bool = False

  @nn.compact
  def __call__(
    self,
    x: Float[Array, '*rows d'],
    *,
    train: bool = False,
    mask: Bool[Array, '*rows'] | None = None,
  ) -> Float[Array, '*rows c']:
    del train, mask  # part of every head's signature; this head ignores them
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if self.pooled and x.ndim == 3:
      x = x.mean(axis=1)
    return nn.Dense(self.classes)(x)


class Positionwise(nn.Module):
  """A Dense layer of its own for each place; the outputs are concatenated.

  Attributes:
    width: outputs of each layer.
  """

  width: int

  @nn.compact
  def __call__(self, x: Float[Array, 'b places d']) -> Float[Array, 'b placed']:
    dense = nn.vmap(
      nn.Dense,
      in_axes=1,
      out_axes=1,
      variable_axes={'params': 0},
      split_rngs={'params': True},
    )
    x = nn.relu(dense(self.width)(x))
    return x.reshape(x.shape[0], -1)
