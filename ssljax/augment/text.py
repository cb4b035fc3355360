"""Views of text images: strong photometric changes, small geometric ones.

The module has every operation of the article's list, batched and on the device.
All linear operations are folded into three small matrix products per image: one
along y and one along x (shift, scale, jitter and Gaussian blur are one
resampling matrix each), and one over the colour channels (channel change,
grayscale, contrast, brightness and inversion are one affine map).

Views have no mirror and no crop through the text. This is how the article's
short list was read: *jitter* displaces the image by a few pixels and bends its
columns slightly; *noise* is grain on every pixel and, beyond the article,
strokes of a random colour; *colour-channel change* permutes the channels;
*proportional scaling* keeps the aspect and is about the centre.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ssljax.errors import UserError

_LUMINANCE = (0.299, 0.587, 0.114)
# All orders of three channels; the first one keeps their order.
_ORDERS = tuple(itertools.permutations(range(3)))
_DRAWS = 64  # the most random numbers that one view takes


def _stream(key: jax.Array) -> Callable[..., jax.Array]:
  """Returns `draw(low, high, shape=())`, which hands out uniform numbers.

  All numbers come from a single call of the generator, because each further
  call would be traced, compiled and run as twenty rounds of the generator for a
  handful of numbers.
  """
  numbers = jax.random.uniform(key, (_DRAWS,))
  used = 0

  def draw(low, high, shape=()):
    nonlocal used
    start, used = used, used + math.prod(shape)
    assert used <= _DRAWS, 'raise _DRAWS'
    return low + (high - low) * numbers[start:used].reshape(shape)

  return draw


def _resampling(
  source: Float[Array, 'n'], size: int, sigma: Float[Array, '']
) -> Float[Array, 'n size']:
  """A matrix whose rows average `size` pixels around `source` with a Gaussian.

  Beyond the border the nearest pixel is repeated. A sigma of 0.35 pixels is
  close to linear interpolation.
  """
  centres = jnp.arange(size) + 0.5
  source = jnp.clip(source, 0.5, size - 0.5)
  weights = jnp.exp(-0.5 * ((source[:, None] - centres) / sigma) ** 2)
  return weights / weights.sum(axis=1, keepdims=True)


def _colour_map(
  draw: Callable[..., jax.Array],
  *,
  contrast: float,
  brightness: float,
  channels: float,
  grayscale: float,
  inversion: Float[Array, ''],
) -> tuple[Float[Array, '3 3'], Float[Array, '3']]:
  """(matrix, offset) of one affine map over colours in [0, 1]."""
  eye = jnp.eye(3)
  order = (draw(0, len(_ORDERS))).astype(jnp.int32)
  permuted = eye[jnp.array(_ORDERS)[order]]
  matrix = jnp.where(draw(0, 1) < channels, permuted, eye)
  gray = jnp.outer(jnp.array(_LUMINANCE), jnp.ones(3))
  matrix = jnp.where(draw(0, 1) < grayscale, gray, matrix)
  sign = jnp.where(draw(0, 1) < inversion, -1.0, 1.0)
  matrix = matrix * sign * jnp.exp(draw(-contrast, contrast))
  shift = 0.5 + draw(-brightness, brightness)
  # Gain and sign act about mid-gray: out = (in - 0.5) @ matrix + shift.
  return matrix, shift - 0.5 * matrix.sum(axis=0)


def _strokes(
  draw: Callable[..., jax.Array], image: Float[Array, 'h w 3'], *, count: int
) -> Float[Array, 'h w 3']:
  """Draws up to `count` thin parabolas in random colours.

  Each parabola is drawn half of the time.
  """
  height, width = image.shape[:2]
  x = jnp.linspace(-1, 1, width)
  y = jnp.linspace(-1, 1, height)[:, None]
  for _ in range(count):
    offset, slope, bend = draw(-1, 1, (3,))
    distance = jnp.abs(y - offset - slope * x - bend * (x * x - 0.3))
    thickness = draw(1, 2.5) / height
    drawn = draw(0, 1) < 0.5
    cover = drawn * jnp.clip(1.5 - distance / thickness, 0, 1)[..., None]
    image = image + cover * (draw(0, 1, (3,)) - image)
  return image


def _erase(
  draw: Callable[..., jax.Array],
  image: Float[Array, 'h w 3'],
  columns: Float[Array, 't'],
  *,
  share: float,
  stride: int,
) -> tuple[Float[Array, 'h w 3'], Float[Array, 't']]:
  """Paints over two spans of the line; their frames get a column of -1."""
  width = image.shape[1]
  centres = (jnp.arange(len(columns)) + 0.5) * stride
  for _ in range(2):
    middle, half = draw(0, width), draw(0, share * width) / 2
    painted = jnp.abs(jnp.arange(width) + 0.5 - middle) < half
    image = jnp.where(painted[:, None], draw(0, 1, (3,)), image)
    columns = jnp.where(jnp.abs(centres - middle) < half, -1.0, columns)
  return image, columns


def _grain(key: jax.Array, shape: tuple[int, int]) -> Float[Array, 'h w']:
  """Noise of unit variance, with four pixels from each random word."""
  height, width = shape
  words = jax.random.bits(key, (2, height, -(-width // 4)), jnp.uint32)
  pixels = jax.lax.bitcast_convert_type(words, jnp.uint8)
  pixels = pixels.reshape(2, height, -1)[:, :, :width].astype(jnp.float32)
  # The sum of two uniform bytes has a standard deviation of 104.5.
  return (pixels.sum(axis=0) - 255.0) / 104.5


def text_views(
  count: int = 2,
  *,
  small: int = 0,
  small_share: float = 0.5,
  stride: int = 4,
  shift: float = 0.0,
  scale: float = 0.05,
  jitter: float = 1.0,
  bend: float | None = None,
  blur: float = 1.5,
  blur_probability: float = 0.8,
  noise: float = 0.1,
  noise_probability: float = 0.8,
  strokes: int = 0,
  contrast: float = 0.5,
  brightness: float = 0.2,
  channels: float = 0.5,
  grayscale: float = 0.3,
  inversion: float | Sequence[float] = 0.0,
  ramp: float = 0.0,
  erase: float = 0.0,
  keep: bool = False,
) -> Callable[..., tuple[tuple[Array, Array], ...]]:
  """Builds `views(key, images, index) -> ((images, columns), ...)`.

  Args:
    count: the number of views of each image.
    small: the number of further views, each of a window of the line (SwAV's
      multi-crop): as high as the image, and less wide.
    small_share: the width of a small view, as a share of the image's width.
    stride: source pixels between two frames of the encoder.
    shift: largest horizontal displacement either way, as a share of the width.
    scale: log of the largest proportional scaling.
    jitter: displacement and bending, in pixels.
    bend: bending of the columns alone, as a share of the width: a wave of two
      periods that draws some characters wider and others narrower. Columns keep
      their order below 1/(4π) = 0.08. None bends by `jitter`.
    blur: largest standard deviation of the blur, in pixels.
    blur_probability: share of the views that are blurred.
    noise: largest standard deviation of the grain, for values in [0, 1].
    noise_probability: share of the views with grain.
    strokes: largest number of strokes; each is drawn half of the time.
    contrast: log of the largest gain about mid-gray.
    brightness: largest offset.
    channels: share of the views whose colour channels are permuted.
    grayscale: share of the views turned gray.
    inversion: share of the views turned negative: one number, or one for each
      view, the small ones last.
    ramp: largest slope of an uneven ground, as the change of value from side to
      side.
    erase: largest width of each of two spans that are painted over, as a share
      of the width; not for labelled images.
    keep: no view loses any part of the image at its left and right, which a
      labelled image needs. Scaling widens no image, and half of the views keep
      its width; displacement and bending end where the image would leave the
      view. A small view is a window of the line, and stays as it is.

  Returns:
    A function of a key, uint8 images `(batch, height, width, 3)`, or with one
    channel for gray, int32 `(batch,)` index and, where images are padded on
    the right, int32 `(batch,)` widths before padding. Each view is a float32
    image `(batch, height, width, 3)` with values in [-1, 1], together with its
    `columns`, float32 `(batch, ceil(width / stride))`: the source x in pixels
    at the centre of each frame, or -1 where the frame shows no part of the
    source. The small views come last. The views of an image depend on the key
    and on the image's own index.

  Raises:
    UserError: `inversion` has another number of shares than there are views.
  """

  if isinstance(inversion, Sequence) and len(inversion) != count + small:
    raise UserError(
      f'Found {len(inversion)} shares of inversion for {count + small} views; '
      'give one for each view, or one number for all.'
    )
  inverted = np.broadcast_to(np.asarray(inversion, np.float32), count + small)

  def geometry(draw, height, whole, width, shown):
    kept = keep and width == whole
    size = draw(-scale, scale)
    # Text that would lose its ends grows in height alone.
    zoom = jnp.exp(jnp.minimum(size, 0) if kept else size)
    zoom_y = jnp.exp(size)
    dx = shift * whole * draw(-1, 1) + jitter * draw(-1, 1)
    dy = jitter * draw(-1, 1)
    bent = jitter if bend is None else bend * whole
    bent, phase = bent * draw(0, 1), draw(0, 1)
    start = 0.0
    if width < whole:
      start = jnp.maximum(shown - width, 0) * draw(0, 1)
    middle = jnp.minimum(shown, width) / 2
    if kept:
      # The wave has two whole periods, so both ends of the view move by `ends`.
      # The view's left end may move right until the image begins there, and its
      # right end may move left until the image ends there. Padding on the right
      # is room as well.
      ends = bent * jnp.sin(2 * jnp.pi * phase)
      left = middle / zoom - middle
      right = (whole - middle) / zoom - (shown - middle)
      dx = jnp.clip(dx + ends, -right, left) - ends

    def source_x(x):
      wave = jnp.sin(2 * jnp.pi * (2 * x / whole + phase))
      return start + (x - middle) / zoom + middle + dx + bent * wave

    source_y = (jnp.arange(height) + 0.5 - height / 2) / zoom_y
    source_y = source_y + height / 2 + dy
    blurred = draw(0, 1) < blur_probability
    sigma = 0.35 + blurred * draw(0, blur)
    # Rounded up, because the encoder's convolutions pad by 'SAME'.
    frames = -(-width // stride)
    columns = source_x((jnp.arange(frames) + 0.5) * stride)
    return (
      _resampling(source_y, height, sigma),
      _resampling(source_x(jnp.arange(width) + 0.5), whole, sigma),
      # No unmoved frame is centred within the last hundredth of a pixel, so
      # rounding does not decide which frames show the image.
      jnp.where((columns >= 0) & (columns < shown - 0.01), columns, -1.0),
    )

  def one_view(key, image, shown, inversion, width):
    height, whole, _ = image.shape
    grain_key, key = jax.random.split(key)
    draw = _stream(key)
    along_y, along_x, columns = geometry(draw, height, whole, width, shown)
    x = image.astype(jnp.float32) / 255
    x = jnp.einsum('yh,hwc->ywc', along_y, x)
    x = jnp.einsum('xw,ywc->yxc', along_x, x)
    x = _strokes(draw, x, count=strokes)
    matrix, offset = _colour_map(
      draw,
      contrast=contrast,
      brightness=brightness,
      channels=channels,
      grayscale=grayscale,
      inversion=inversion,
    )
    x = x @ matrix + offset
    if erase:
      x, columns = _erase(draw, x, columns, share=erase, stride=stride)
    across, down = draw(-ramp, ramp, (2, 3))
    x = x + jnp.linspace(-0.5, 0.5, width)[:, None] * across
    x = x + jnp.linspace(-0.5, 0.5, height)[:, None, None] * down
    sigma = draw(0, noise) * (draw(0, 1) < noise_probability)
    x = x + sigma * _grain(grain_key, (height, width))[..., None]
    return 2 * jnp.clip(x, 0, 1) - 1, columns

  def views(
    key: jax.Array,
    images: UInt8[Array, 'b h w c'],
    index: Int[Array, 'b'],
    widths: Int[Array, 'b'] | None = None,
  ) -> tuple[tuple[Float[Array, 'b h w 3'], Float[Array, 'b t']], ...]:
    def keys(view):
      view_key = jax.random.fold_in(key, view)
      return jax.vmap(jax.random.fold_in, (None, 0))(view_key, index)

    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    if widths is None:
      widths = jnp.full(len(images), images.shape[2])
    whole = images.shape[2]
    width = round(small_share * whole)
    made = []
    for numbers, each in ((range(count), whole), (range(small), width)):
      if not numbers:
        continue
      # The views are mapped together, so that a view is compiled only once.
      one = functools.partial(one_view, width=each)
      one = jax.vmap(one, (0, 0, 0, None))  # over images
      first = len(made)
      pictures, columns = jax.vmap(one, (0, None, None, 0))(
        jax.vmap(keys)(first + jnp.arange(len(numbers))),
        images,
        widths,
        inverted[first : first + len(numbers)],
      )
      made += zip(pictures, columns, strict=True)
    return tuple(made)

  return views
