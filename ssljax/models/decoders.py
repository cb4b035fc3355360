"""From features back to a picture: the U-Net half of generative tasks."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssljax.errors import UserError
from ssljax.models.convolution import conv_general_dilated


class Decoder(nn.Module):
  """Features and feature maps -> picture (U-Net, arXiv 1505.04597).

  The decoder starts from the features at the size of the coarsest map and works
  its way up to the finest map, level by level, with a linear interpolation and
  a convolution each.

  With skips, the map of each level is concatenated to the channels so far; at
  the finest level and scale 1, so is the input image. The features give a
  factor for each channel of these maps (FiLM, arXiv 1709.07871); on a line they
  do so frame by frame. A change of one factor's sign is then enough to print
  light ink on a dark ground as dark ink.

  Without skips, the whole picture passes through the features. The decoder then
  adds a coarse picture that is linear in the features, because otherwise the
  features encode a single number, the image's brightness, for hundreds of
  steps.

  At the finest map each cell gives a small square of pixels (sub-pixel
  convolution, arXiv 1609.05158), because a convolution at the picture's own
  size would cost four times as much as all the rest. The norms are GroupNorm,
  because a decoder of one image at a time has no batch to normalise by. The
  finest level has no norm, because what is drawn there depends on the image's
  contrast.

  Attributes:
    width: half the channels at the finest level, and a quarter of the channels
      at the coarser levels.
    channels: channels of the picture.
    skips: whether the decoder reads the maps, or only their sizes.
    scale: the input's side divided by the picture's side.
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
    """Draws a picture of each image.

    Args:
      features: the encoder's features of the images.
      maps: the encoder's feature maps, from the finest to the coarsest.
      images: the encoder's input.

    Raises:
      UserError: no map is as small as the picture, or a line's number of frames
        differs from the columns of the coarsest map.
    """
    _, height, width, _ = images.shape
    finest = (height // self.scale, width // self.scale)
    levels = [
      each
      for each in maps
      if each.shape[1] <= finest[0] and each.shape[2] <= finest[1]
    ]
    if not levels:
      raise UserError(
        f'Found feature maps of {[each.shape[1] for each in maps]} rows for '
        f'pictures of {finest[0]}; expected a map as small as the picture. '
        'Lower decoder.scale, or use a deeper encoder.'
      )
    squares = tuple(
      -(-size // cells)
      for size, cells in zip(finest, levels[0].shape[1:3], strict=True)
    )
    coarsest = levels[-1].shape[1:3]
    x = self._start(features, coarsest, self._width(len(levels) - 1))
    for level in reversed(range(len(levels))):
      beside = [levels[level]] if self.skips else []
      if self.skips and level == 0 and self.scale == 1:
        beside.append(_fold(images, squares, levels[0].shape[1:3]))
      beside = [Modulation(dtype=self.dtype)(each, features) for each in beside]
      size = levels[level].shape[1:3]
      x = self._level(x, beside, size, self._width(level), norm=level > 0)
    x = nn.Conv(
      math.prod(squares) * self.channels,
      (3, 3),
      dtype=jnp.float32,
      kernel_init=_alike(math.prod(squares)),
      name='pixels',
    )(x)
    x = _unfold(x, squares)
    if not self.skips:
      coarse = self._start(features, coarsest, self.channels, name='coarse')
      x += jax.image.resize(coarse, x.shape, 'linear')
    # Where the image's side is odd, the cells cover a pixel too many.
    if self.scale == 1:
      return x[:, :height, :width]
    if x.shape[1:3] != finest:
      x = jax.image.resize(x, (len(x), *finest, self.channels), 'linear')
    return x

  def _width(self, level: int) -> int:
    return self.width * 2 ** min(level + 1, 2)

  def _start(
    self,
    features: Float[Array, 'b *time d'],
    size: Sequence[int],
    channels: int,
    name: str | None = None,
  ) -> Float[Array, 'b _h _w _c']:
    """Features as a map: one Dense on an image, or on each frame of a line."""
    rows, columns = size
    if features.ndim == 3:
      if features.shape[1] != columns:
        raise UserError(
          f'Found {features.shape[1]} frames for a map {columns} columns wide; '
          'expected one frame per column.'
        )
      x = nn.Dense(rows * channels, dtype=self.dtype, name=name)(features)
      x = x.reshape(*features.shape[:2], rows, channels)
      return x.transpose(0, 2, 1, 3)
    x = nn.Dense(rows * columns * channels, dtype=self.dtype, name=name)(
      features
    )
    return x.reshape(-1, rows, columns, channels)

  def _level(
    self,
    x: Float[Array, 'b _h _w _c'],
    beside: Sequence[Float[Array, 'b _h _w _c']],
    size: Sequence[int],
    channels: int,
    *,
    norm: bool,
  ) -> Float[Array, 'b _h _w _c']:
    shape = (x.shape[0], *size, x.shape[-1])
    if x.shape != shape:
      x = jax.image.resize(x, shape, 'linear')
    x = jnp.concatenate([x, *(each.astype(x.dtype) for each in beside)], -1)
    # The Dense reduces the channels, because they cost most of the time of the
    # convolution after it.
    x = nn.gelu(nn.Dense(channels, dtype=self.dtype)(x))
    x = nn.Conv(channels, (3, 3), dtype=self.dtype)(x)
    if norm:
      x = nn.GroupNorm(num_groups=4, dtype=self.dtype)(x)
    return nn.gelu(x)


class Modulation(nn.Module):
  """Multiplies each channel of a map by a factor (FiLM, 1709.07871, no shifts).

  The factors are linear in the features: one per channel for an image, one per
  channel and frame for a line.

  Attributes:
    dtype: compute type; parameters stay float32.
  """

  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b h w c'], features: Float[Array, 'b *time d']
  ) -> Float[Array, 'b h w c']:
    factors = 1 + nn.Dense(x.shape[-1], dtype=self.dtype)(features)
    if features.ndim == 2:
      return x * factors[:, None, None]
    shape = (len(x), x.shape[2], x.shape[3])
    return x * jax.image.resize(factors, shape, 'linear')[:, None]


def _alike(count: int) -> nn.initializers.Initializer:
  """Initializes a kernel so that all pixels of a square start out equal.

  Otherwise the picture starts as a checkerboard and keeps some of it (ICNR,
  arXiv 1707.02937).
  """
  initialize = nn.initializers.lecun_normal()

  def kernel(key, shape, dtype=jnp.float32):
    one = initialize(key, (*shape[:-1], shape[-1] // count), dtype)
    return jnp.tile(one, count)

  return kernel


def _fold(
  images: Float[Array, 'b h w c'],
  squares: Sequence[int],
  cells: Sequence[int],
) -> Float[Array, 'b _h _w _c']:
  """Turns squares of pixels into the channels of a map of `cells`."""
  (batch, *sizes, channels), (rows, columns) = images.shape, cells
  wanted = (rows * squares[0], columns * squares[1])
  pads = [(0, to - size) for size, to in zip(sizes, wanted, strict=True)]
  x = jnp.pad(images, ((0, 0), *pads, (0, 0)))
  x = x.reshape(batch, rows, squares[0], columns, squares[1], channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)


def _unfold(
  x: Float[Array, 'b _h _w _c'], squares: Sequence[int]
) -> Float[Array, 'b h w c']:
  """Turns channels back into squares of pixels, the inverse of `_fold`."""
  batch, rows, columns, _ = x.shape
  x = x.reshape(batch, rows, columns, *squares, -1)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, rows * squares[0], columns * squares[1], -1)


class PatchCritic(nn.Module):
  """One logit per patch: is it real? (pix2pix, arXiv 1611.07004, section 3.2.2)

  Strided 4x4 convolutions. Each image is normalised by itself, because
  BatchNorm would have to see real and made pictures separately.

  Attributes:
    widths: channels of each convolution; each one halves the picture.
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
