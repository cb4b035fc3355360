"""ResNet (arXiv 1512.03385), in the form that self-supervised papers use.

This is version 1.5, in which the 3x3 convolution of a bottleneck has the
stride. Padding is the same on both sides, as in torch; 'SAME' would put an odd
pixel of padding at the end.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ssljax.errors import check_known
from ssljax.models.convolution import conv_general_dilated
from ssljax.models.networks import sow
from ssljax.models.norm import BatchNorm

# The options of each ResNet, by its depth.
RESNETS = {
  18: {'blocks': (2, 2, 2, 2)},
  34: {'blocks': (3, 4, 6, 3)},
  50: {'blocks': (3, 4, 6, 3), 'bottleneck': True},
}


class ResNet(nn.Module):
  """Image -> features: the mean over the last feature map.

  The encoder sows its feature maps for decoders, from the finest to the
  coarsest; see `networks.maps`.

  Attributes:
    blocks: residual blocks of each stage; every stage after the first halves
      the image and doubles the channels.
    bottleneck: whether a block has three convolutions and four times as many
      output channels, or two convolutions.
    width: channels of the first stage.
    stem: 'imagenet', a 7x7 convolution with stride 2 and a max-pool; or
      'cifar', a 3x3 convolution with stride 1 and no max-pool. The 'imagenet'
      stem loses what images of 32 pixels show.
    zero_init: whether the scale of a block's last norm starts at 0, so that the
      block starts as the identity (arXiv 1706.02677).
    dtype: compute type; parameters and statistics stay float32.
    axis_name: the axis of the devices that share BatchNorm's statistics.
    groups: the groups of a split BatchNorm; see `BatchNorm`.
  """

  blocks: Sequence[int] = (2, 2, 2, 2)
  bottleneck: bool = False
  width: int = 64
  stem: str = 'imagenet'
  zero_init: bool = True
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None
  groups: int = 0

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'b h w c'],
    *,
    train: bool = False,
    mask: Bool[Array, 'b'] | None = None,
  ) -> Float[Array, 'b d']:
    del mask  # part of every encoder's signature; no image here is padding
    check_known('stem', self.stem, ('imagenet', 'cifar'))
    x = jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(self.dtype)
    if self.stem == 'cifar':
      x = nn.relu(self._norm(train)(self._conv(self.width, 3)(x)))
    else:
      x = nn.relu(self._norm(train)(self._conv(self.width, 7, 2)(x)))
      sow(self, 'stem', x)
      # Zeros change no maximum of what has gone through a relu.
      x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
      x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))
    block = self._bottleneck if self.bottleneck else self._basic
    for stage, count in enumerate(self.blocks):
      for place in range(count):
        stride = 2 if stage and not place else 1
        x = block(x, self.width * 2**stage, stride, train)
      sow(self, f'stage{stage}', x)
    return x.mean(axis=(1, 2), dtype=jnp.float32)

  def _basic(self, x: Array, channels: int, stride: int, train: bool) -> Array:
    y = self._conv(channels, 3, stride)(x)
    y = nn.relu(self._norm(train)(y))
    y = self._norm(train, last=True)(self._conv(channels, 3)(y))
    return nn.relu(self._shortcut(x, y, stride, train) + y)

  def _bottleneck(
    self, x: Array, channels: int, stride: int, train: bool
  ) -> Array:
    y = nn.relu(self._norm(train)(self._conv(channels, 1)(x)))
    y = nn.relu(self._norm(train)(self._conv(channels, 3, stride)(y)))
    y = self._norm(train, last=True)(self._conv(4 * channels, 1)(y))
    return nn.relu(self._shortcut(x, y, stride, train) + y)

  def _shortcut(self, x: Array, y: Array, stride: int, train: bool) -> Array:
    if x.shape == y.shape:
      return x
    return self._norm(train)(self._conv(y.shape[-1], 1, stride)(x))

  def _conv(self, channels: int, kernel: int, stride: int = 1) -> nn.Conv:
    return nn.Conv(
      channels,
      (kernel, kernel),
      (stride, stride),
      padding=kernel // 2,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
      conv_general_dilated=conv_general_dilated,
    )

  def _norm(self, train: bool, *, last: bool = False) -> Callable[..., Array]:
    norm = BatchNorm(
      momentum=0.9,
      epsilon=1e-5,
      axis_name=self.axis_name,
      groups=self.groups,
      scale_init=0.0 if last and self.zero_init else 1.0,
      dtype=self.dtype,
    )
    return functools.partial(norm, train=train)
