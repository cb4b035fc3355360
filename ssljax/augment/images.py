"""Views of images, batched and on the device.

All linear operations are folded into three small matrix products per image.
Crop, resize, flip, displacement and Gaussian blur are one resampling matrix
along y and one along x, so that a view needs neither a gather nor a depthwise
convolution. Brightness, contrast, saturation and hue in any order, permuted
channels, grayscale and inversion are one affine map of the colours. A blur and
a map of the colours commute, so folding the blur into the crop changes results
only where values are clipped.

There are two deviations from torchvision's colour jitter. Values are clipped
once, at the end, and not after each operation. Hue turns the colours about the
gray axis in YIQ, where torchvision shifts the hue of HSV.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

_LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)
_GRAY = np.outer(_LUMINANCE, np.ones(3, np.float32))
_TO_YIQ = np.array(
  ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
).T
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_EYE = np.eye(3, dtype=np.float32)
# All orders of the four operations of the jitter, and of the three channels.
_JITTERS = np.array(list(itertools.permutations(range(4))))
_CHANNELS = np.array(list(itertools.permutations(range(3))))
_DRAWS = 32  # the most random numbers that one view takes
Views = Callable[..., tuple[tuple[jax.Array, jax.Array], ...]]


class Policy(NamedTuple):
  """The distribution of one view. Lengths are in pixels of the view.

  Attributes:
    area: smallest and largest share of the image that the crop covers; both 1
      keep the image whole.
    aspect: smallest and largest width / height of the crop, for square images.
    flip: share of the views that are mirrored.
    displacement: largest shift of the crop along each axis, either way.
    jitter: share of the views whose colours are jittered.
    brightness, contrast, saturation: how far each factor may differ from 1.
    hue: largest turn of the hue, as a share of the circle.
    channels: share of the views whose colour channels are permuted.
    grayscale: share of the views turned gray.
    inversion: share of the views turned negative.
    blur: share of the views that are blurred.
    sigma: smallest and largest standard deviation of the blur.
    solarize: share of the views in which values of 1/2 and above are inverted.
    noise: largest standard deviation of the grain, for values in [0, 1].
    noisy: share of the views with grain.
  """

  area: tuple[float, float] = (1.0, 1.0)
  aspect: tuple[float, float] = (1.0, 1.0)
  flip: float = 0.0
  displacement: float = 0.0
  jitter: float = 0.0
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  channels: float = 0.0
  grayscale: float = 0.0
  inversion: float = 0.0
  blur: float = 0.0
  sigma: tuple[float, float] = (0.1, 2.0)
  solarize: float = 0.0
  noise: float = 0.0
  noisy: float = 0.0


def _stream(key: jax.Array) -> Callable[..., jax.Array]:
  """Returns `draw(low, high)`, which takes uniform numbers from one call."""
  numbers = iter(jax.random.uniform(key, (_DRAWS,)))
  return lambda low, high: low + (high - low) * next(numbers)


def _resampling(
  start: Float[Array, ''],
  step: Float[Array, ''],
  sigma: Float[Array, ''],
  size: int,
  count: int,
) -> Float[Array, 'count size']:
  """A matrix whose rows average `size` pixels around `count` points.

  Each row interpolates linearly between the two nearest pixels. The kernel is
  widened to the step where the view has fewer pixels than its crop (as in
  Pillow's antialiasing), and then blurred by a Gaussian of `sigma` pixels of
  the view.
  """
  centres = start + step * (jnp.arange(count) + 0.5)
  # Beyond the border the nearest pixel is repeated.
  centres = jnp.clip(centres, 0.5, size - 0.5)
  distance = jnp.abs(centres[:, None] - (jnp.arange(size) + 0.5))
  weights = jnp.maximum(0.0, 1 - distance / jnp.maximum(jnp.abs(step), 1.0))
  weights = weights / weights.sum(axis=1, keepdims=True)
  pixel = jnp.arange(count)
  squares = ((pixel[:, None] - pixel) / jnp.maximum(sigma, 1e-3)) ** 2
  blur = jnp.exp(-0.5 * squares)
  return (blur / blur.sum(axis=1, keepdims=True)) @ weights


def _geometry(
  draw: Callable[..., jax.Array],
  policy: Policy,
  height: int,
  width: int,
  size: int,
) -> tuple[Float[Array, 'size height'], Float[Array, 'size width']]:
  """The two resampling matrices of a view."""
  area = draw(*policy.area)
  aspect = jnp.exp(draw(*np.log(policy.aspect)))
  # Where a crop does not fit, torch draws again; here the crop is cut to the
  # image.
  along_x = jnp.minimum(width * jnp.sqrt(area * aspect), width)
  along_y = jnp.minimum(height * jnp.sqrt(area / aspect), height)
  far = policy.displacement
  left = draw(0, 1) * (width - along_x) + draw(-far, far) * along_x / size
  top = draw(0, 1) * (height - along_y) + draw(-far, far) * along_y / size
  flipped = draw(0, 1) < policy.flip
  step_x = jnp.where(flipped, -1.0, 1.0) * along_x / size
  left = jnp.where(flipped, left + along_x, left)
  sigma = draw(*policy.sigma) * (draw(0, 1) < policy.blur)
  return (
    _resampling(top, along_y / size, sigma, height, size),
    _resampling(left, step_x, sigma, width, size),
  )


def _hue(turn: Float[Array, '']) -> Float[Array, '3 3']:
  """The matrix that turns colours about the gray axis.

  Args:
    turn: the angle, as a share of the circle.
  """
  cos, sin = jnp.cos(2 * jnp.pi * turn), jnp.sin(2 * jnp.pi * turn)
  zero, one = jnp.zeros(()), jnp.ones(())
  rotation = jnp.array(((one, zero, zero), (zero, cos, sin), (zero, -sin, cos)))
  return jnp.matmul(_TO_YIQ, rotation) @ _FROM_YIQ


def jitter_map(
  mean: Float[Array, '3'],
  factors: Sequence[Float[Array, '']],
  turn: Float[Array, ''],
  order: Int[Array, '4'],
) -> tuple[Float[Array, '3 3'], Float[Array, '3']]:
  """Brightness (0), contrast (1), saturation (2) and hue (3), in `order`.

  Contrast blends the colours with the image's mean gray after the operations
  before it. All four operations are affine, so the mean colour is mapped in the
  same way as the colours, and the image itself is not read again.

  Args:
    mean: the mean colour of the image.
    factors: the factors of brightness, contrast and saturation.
    turn: the turn of the hue, as a share of the circle.
    order: the numbers of the operations, in the order of their application.

  Returns:
    (matrix, offset): a colour becomes `colour @ matrix + offset`.
  """
  brightness, contrast, saturation = factors
  matrices = jnp.stack(
    [
      brightness * _EYE,
      contrast * _EYE,
      saturation * _EYE + (1 - saturation) * _GRAY,
      _hue(turn),
    ]
  )
  # The share of the mean gray that each operation adds; only contrast adds it.
  shares = jnp.array((0.0, 1.0, 0.0, 0.0)) * (1 - contrast)
  matrix, offset = jnp.asarray(_EYE), jnp.zeros(3)
  for place in range(4):
    chosen = jax.nn.one_hot(order[place], 4)
    step = jnp.einsum('k,kij->ij', chosen, matrices)
    gray = (mean @ matrix + offset) @ _LUMINANCE
    offset = offset @ step + (chosen @ shares) * gray
    matrix = matrix @ step
  return matrix, offset


def _colours(
  draw: Callable[..., jax.Array], policy: Policy, mean: Float[Array, '3']
) -> tuple[Float[Array, '3 3'], Float[Array, '3']]:
  """(matrix, offset) of everything that a policy does to colours."""
  jittered = draw(0, 1) < policy.jitter
  factors = [
    draw(max(0.0, 1 - strength), 1 + strength)
    for strength in (policy.brightness, policy.contrast, policy.saturation)
  ]
  turn = draw(-policy.hue, policy.hue)
  orders = jax.nn.one_hot(draw(0, len(_JITTERS)).astype(jnp.int32), 24)
  order = (orders @ _JITTERS).astype(jnp.int32)
  matrix, offset = jitter_map(mean, factors, turn, order)
  matrix = jnp.where(jittered, matrix, _EYE)
  offset = jnp.where(jittered, offset, 0.0)
  chosen = jax.nn.one_hot(draw(0, len(_CHANNELS)).astype(jnp.int32), 6)
  permuted = jnp.einsum('k,kij->ij', chosen, _EYE[_CHANNELS])
  for share, step in ((policy.channels, permuted), (policy.grayscale, _GRAY)):
    step = jnp.where(draw(0, 1) < share, step, _EYE)
    matrix, offset = matrix @ step, offset @ step
  sign = jnp.where(draw(0, 1) < policy.inversion, -1.0, 1.0)
  return sign * matrix, sign * offset + (1 - sign) / 2


def _view(
  key: jax.Array, image: UInt8[Array, 'h w 3'], policy: Policy, size: int
) -> Float[Array, 's s 3']:
  draw_key, noise_key = jax.random.split(key)
  draw = _stream(draw_key)
  height, width, _ = image.shape
  along_y, along_x = _geometry(draw, policy, height, width, size)
  x = image.astype(jnp.float32) / 255
  x = jnp.einsum('yh,hwc->ywc', along_y, x)
  x = jnp.einsum('xw,ywc->yxc', along_x, x)
  matrix, offset = _colours(draw, policy, x.mean(axis=(0, 1)))
  x = x @ matrix + offset
  solarized = (draw(0, 1) < policy.solarize) & (x >= 0.5)
  x = jnp.where(solarized, 1 - x, x)
  if policy.noise:
    grain = draw(0, policy.noise) * (draw(0, 1) < policy.noisy)
    x = x + grain * jax.random.normal(noise_key, (size, size, 1))
  return 2 * jnp.clip(x, 0, 1) - 1


def image_views(policies: Sequence[Policy], sizes: Sequence[int]) -> Views:
  """Builds `views(key, images, index) -> ((images, columns), ...)`.

  Args:
    policies: the policy of each view.
    sizes: the side of each view, in pixels.

  Returns:
    A function of a key, uint8 images `(batch, height, width, 3)`, or with one
    channel for gray, and int32 `(batch,)` index. Each view is a float32 image
    `(batch, size, size, 3)` with values in [-1, 1], together with its
    `columns`, float32 zeros `(batch,)`: an image counts as one frame that is
    always shown. The views of an image depend on the key and on the image's own
    index.
  """

  def views(
    key: jax.Array,
    images: UInt8[Array, 'b h w c'],
    index: Int[Array, 'b'],
    widths: None = None,
  ) -> tuple[tuple[Float[Array, 'b s s 3'], Float[Array, 'b']], ...]:
    del widths  # images are not padded
    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    made = []
    for number, (policy, size) in enumerate(zip(policies, sizes, strict=True)):
      view_key = jax.random.fold_in(key, number)
      keys = jax.vmap(jax.random.fold_in, (None, 0))(view_key, index)
      view = jax.vmap(_view, (0, 0, None, None))
      made.append((view(keys, images, policy, size), jnp.zeros(len(images))))
    return tuple(made)

  return views
