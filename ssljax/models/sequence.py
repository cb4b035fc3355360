"""The article's recognition network: convolutions, a transformer, a CTC head.

`SequenceEncoder` ends at the sequence feature `fs`, which pretraining learns.
`CtcHead` is the two fully connected layers after `fs`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ssljax.models.convolution import conv_general_dilated
from ssljax.models.networks import sow
from ssljax.models.norm import BatchNorm


def positions(time: int, width: int) -> Float[np.ndarray, 't d']:
  """Fixed sines and cosines of the frame index (arXiv 1706.03762, section 3.5).

  Args:
    time: the number of frames.
    width: features of a frame; those of even index are sines, and each cosine
      after a sine has the same rate.
  """
  feature = np.arange(width)
  rates = 10_000.0 ** -(feature // 2 * 2 / width)
  angles = np.arange(time)[:, None] * rates
  waves = np.where(feature % 2, np.cos(angles), np.sin(angles))
  return waves.astype(np.float32)


def _hidden(
  x: Float[Array, 'b h w c'], shown: Bool[Array, 'b w'] | None
) -> Float[Array, 'b h w c']:
  """A feature map whose columns that are not shown are zero."""
  return x if shown is None else x * shown[:, None, :, None].astype(x.dtype)


def _counted(
  x: Float[Array, 'b h w c'], shown: Bool[Array, 'b w'] | None
) -> Bool[Array, 'b 1 w c'] | None:
  """The mask of a GroupNorm of `x`, whose statistics are of columns shown."""
  if shown is None:
    return None
  # The statistics of an image without any column shown would be NaN.
  counted = shown | ~shown.any(axis=1, keepdims=True)
  batch, _, width, channels = x.shape
  return jnp.broadcast_to(
    counted[:, None, :, None], (batch, 1, width, channels)
  )


class TransformerBlock(nn.Module):
  """Pre-norm self-attention and MLP over `(batch, time, width)`.

  Only the frames that `mask` admits are attended to; None admits all.
  """

  heads: int
  mlp_ratio: int = 4
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'b t d'],
    *,
    mask: Bool[Array, 'b t'] | None = None,
  ) -> Float[Array, 'b t d']:
    width = x.shape[-1]
    y = nn.LayerNorm(dtype=self.dtype)(x)
    q, k, v = jnp.split(nn.Dense(3 * width, dtype=self.dtype)(y), 3, axis=-1)
    split = (*x.shape[:2], self.heads, width // self.heads)
    y = jax.nn.dot_product_attention(
      q.reshape(split),
      k.reshape(split),
      v.reshape(split),
      mask=None if mask is None else mask[:, None, None],
    )
    x = x + nn.Dense(width, dtype=self.dtype)(y.reshape(x.shape))
    y = nn.LayerNorm(dtype=self.dtype)(x)
    y = nn.gelu(nn.Dense(self.mlp_ratio * width, dtype=self.dtype)(y))
    return x + nn.Dense(width, dtype=self.dtype)(y)


class SequenceEncoder(nn.Module):
  """Image -> sequence feature `fs`, one row for every `stride` pixels of x.

  The encoder sows its feature maps for decoders, from the finest to the
  coarsest; see `networks.maps`.

  What `mask` does not admit is not seen: the pixels of such frames, and their
  columns in each feature map, are zero, as beyond the border of an image. They
  enter neither the statistics of a GroupNorm nor the attention, and their
  features are zero. An image then has the same features whatever it is padded
  to.

  Attributes:
    channels: output channels of each 3x3 convolution.
    strides: (vertical, horizontal) stride of each convolution.
    width: the number of features of a frame.
    layers: transformer blocks.
    heads: attention heads; their number divides `width`.
    positions: whether the transformer is told the position of each frame. If
      not, another order of the frames only reorders its output.
    dtype: compute type; parameters stay float32.
  """

  channels: Sequence[int] = (32, 64)
  strides: Sequence[tuple[int, int]] = ((2, 2), (2, 2))
  width: int = 128
  layers: int = 2
  heads: int = 4
  positions: bool = False
  dtype: jnp.dtype = jnp.float32

  @property
  def stride(self) -> int:
    """Source pixels between two frames."""
    stride = 1
    for _, horizontal in self.strides:
      stride *= horizontal
    return stride

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'b h w c'],
    *,
    train: bool = False,
    mask: Bool[Array, 'b t'] | None = None,
  ) -> Float[Array, 'b t d']:
    del train  # part of every encoder's signature; this encoder ignores it
    # A gray channel is replicated, so that the same kernels serve gray and
    # coloured images.
    x = jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(self.dtype)
    stride = self.stride  # columns of x per frame

    def shown():
      """Which columns of `x` belong to the frames that are shown."""
      if mask is None:
        return None
      return mask.repeat(stride, axis=1)[:, : x.shape[2]]

    x = _hidden(x, shown())
    for level, (channels, strides) in enumerate(
      zip(self.channels, self.strides, strict=True)
    ):
      x = nn.Conv(
        channels,
        (3, 3),
        strides,
        dtype=self.dtype,
        conv_general_dilated=conv_general_dilated,
      )(x)
      stride //= strides[1]
      norm = nn.GroupNorm(num_groups=8, dtype=self.dtype)
      x = nn.relu(norm(x, mask=_counted(x, shown())))
      x = _hidden(x, shown())
      sow(self, f'level{level}', x)
    # A frame sees a whole column of the feature map and its two neighbours.
    x = nn.Conv(
      self.width,
      (x.shape[1], 3),
      padding=((0, 0), (1, 1)),
      dtype=self.dtype,
      conv_general_dilated=conv_general_dilated,
    )(x)[:, 0]
    if self.positions:
      x = x + positions(x.shape[1], self.width).astype(self.dtype)
    for _ in range(self.layers):
      x = TransformerBlock(self.heads, dtype=self.dtype)(x, mask=mask)
    x = nn.LayerNorm(dtype=self.dtype)(x)
    return x if mask is None else jnp.where(mask[..., None], x, 0)


class CtcHead(nn.Module):
  """Two fully connected layers to raw float32 logits; class 0 is the blank.

  Attributes:
    classes: the characters and the blank.
    hidden: features of the hidden layer.
    standardize: whether each feature is standardised, over the frames that show
      something. A pretrained encoder's features are mostly one constant vector,
      from which a head on a frozen encoder would have to learn its way. The
      statistics are learned with `train=True`, while the encoder is frozen, and
      stay as they are afterwards; before, they change nothing.
    axis_name: the axis of the devices that share the statistics.
    dtype: compute type; parameters stay float32.
  """

  classes: int
  hidden: int = 128
  standardize: bool = False
  axis_name: str | None = None
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'b t d'],
    *,
    train: bool = False,
    mask: Bool[Array, 'b t'] | None = None,
  ) -> Float[Array, 'b t c']:
    if self.standardize:
      x = BatchNorm(0.9, 1e-5, self.axis_name, affine=False)(
        x, train=train, mask=mask
      )
    x = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(x))
    return nn.Dense(self.classes, dtype=jnp.float32)(x)
