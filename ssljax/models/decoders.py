"""From features back to a picture: the U-Net half of generative tasks."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssljax.errors import UserError
from ssljax.models.convolution import conv_general_dilated


class Decoder(nn.Module):
  """Features and feature maps to a picture (U-Net, arXiv 1505.04597).

  Starts from the features at the size of the coarsest map and doubles its way
  up to the picture, by linear interpolation and a convolution each, as
  transposed convolutions leave checkerboards. With skips each map, and at the
  end the input itself, is laid beside what has come so far; without, all of the
  picture passes through the features. GroupNorm, as a decoder of one image at
  a time has no batch to normalise by.

  Attributes:
    width: channels at the finest size; they double with each coarser map.
    channels: of the picture.
    skips: whether the maps are looked at, or only their sizes.
    scale: the picture's side is the input's over this.
    dtype: compute type; parameters stay float32.
  """

  width: int = 16
  channels: int = 3
  skips: bool = True
  scale: int = 1
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    features: Float[Array, 'b *time d'],
    maps: Sequence[Float[Array, 'b _h _w _c']],
    images: Float[Array, 'b h w c'],
  ) -> Float[Array, 'b _h _w channels']:
    """`maps` fine ones first; `images` what they are of."""
    _, height, width, _ = images.shape
    finest = (height // self.scale, width // self.scale)
    levels = [each for each in maps if each.shape[1] <= finest[0]]
    if not levels:
      raise UserError(
        f'Found feature maps of {[each.shape[1] for each in maps]} rows for '
        f'pictures of {finest[0]}; expected one as small. Lower decoder.scale, '
        'or use a deeper encoder.'
      )
    x = self._start(features, levels[-1].shape[1:3], len(levels))
    for level in reversed(range(len(levels))):
      beside = [levels[level]] if self.skips else []
      x = self._level(x, beside, levels[level].shape[1:3], self._width(level))
    beside = [images] if self.skips and self.scale == 1 else []
    x = self._level(x, beside, finest, self.width)
    return nn.Dense(self.channels, dtype=jnp.float32)(x)

  def _width(self, level: int) -> int:
    return self.width * 2 ** min(level + 1, 2)

  def _start(self, features, size, levels: int):
    """Features as a map: of an image by one Dense, of a line frame by frame."""
    rows, columns = size
    channels = self._width(levels - 1)
    if features.ndim == 3:
      if features.shape[1] != columns:
        raise ValueError(
          f'Found {features.shape[1]} frames for a map {columns} columns wide; '
          'expected one a column.'
        )
      x = nn.Dense(rows * channels, dtype=self.dtype)(features)
      x = x.reshape(*features.shape[:2], rows, channels)
      return x.transpose(0, 2, 1, 3)
    x = nn.Dense(rows * columns * channels, dtype=self.dtype)(features)
    return x.reshape(-1, rows, columns, channels)

  def _level(self, x, beside, size, channels: int):
    shape = (x.shape[0], *size, x.shape[-1])
    if x.shape != shape:
      x = jax.image.resize(x, shape, 'linear')
    x = jnp.concatenate([x, *(each.astype(x.dtype) for each in beside)], -1)
    x = nn.Conv(
      channels,
      (3, 3),
      dtype=self.dtype,
      conv_general_dilated=conv_general_dilated,
    )(x)
    return nn.gelu(nn.GroupNorm(num_groups=4, dtype=self.dtype)(x))


class PatchCritic(nn.Module):
  """A logit a patch, whether it is real (pix2pix, arXiv 1611.07004, 3.2.2).

  Strided 4x4 convolutions. Each image is normalised by itself: BatchNorm would
  have to see real and made pictures apart.

  Attributes:
    widths: channels of each convolution, each of which halves the picture.
  """

  widths: Sequence[int] = (32, 64, 128)

  @nn.compact
  def __call__(
    self, images: Float[Array, 'b h w c']
  ) -> Float[Array, 'b _h _w']:
    x = images
    for place, channels in enumerate(self.widths):
      x = self._conv(channels, 4, 2)(x)
      if place:
        x = nn.GroupNorm(num_groups=None, group_size=1)(x)
      x = nn.leaky_relu(x, 0.2)
    return self._conv(1, 3, 1)(x)[..., 0].astype(jnp.float32)

  def _conv(self, channels: int, kernel: int, stride: int) -> nn.Conv:
    return nn.Conv(
      channels,
      (kernel, kernel),
      (stride, stride),
      conv_general_dilated=conv_general_dilated,
    )
