"""What one operation did to each view, against NumPy, SciPy and Pillow.

Every function finds the strength in each of the views, and then asserts that
each view is what the reference makes of the picture at this strength. Views are
float arrays `(count, size, size, 3)` in [0, 1], pictures uint8.
"""

import colorsys
import functools
import itertools

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

SIDE = 32  # of all pictures
GRAYS = np.array((0.299, 0.587, 0.114))  # Pillow's luminance
EXACT = 1e-4  # float32 against float64
# Pillow cuts a blend to whole levels, and rounds the mean gray of contrast.
WHOLE_LEVELS = 2.5 / 255


def picture(low=0, high=256):
  """Noise between two levels."""
  rng = np.random.default_rng(0)
  return rng.integers(low, high, (SIDE, SIDE, 3)).astype(np.uint8)


def ramps():
  """Red tells the column, green the row: 8 levels a pixel, from 4."""
  levels = 8 * np.arange(SIDE) + 4
  blue = np.zeros((SIDE, SIDE))
  return np.stack([*np.meshgrid(levels, levels), blue], -1).astype(np.uint8)


def impulse(side=SIDE + 1):
  """One white pixel, in the middle of black."""
  made = np.zeros((side, side, 3), np.uint8)
  made[side // 2, side // 2] = 255
  return made


def changed(views, source):
  """Which views are not the picture itself, of the same size."""
  # By little, as a factor may be drawn that is nearly 1.
  return np.abs(views - source / 255).max(axis=(1, 2, 3)) > EXACT / 10


def made_by(operation, views, source, *, atol=EXACT):
  """Which views are Pillow's picture; the others are the source as it is.

  Args:
    operation: from a Pillow image to a Pillow image, RGB or gray.
    views: of the size of the source.
    source: uint8 `(height, width, 3)`.
    atol: of the levels in [0, 1].
  """
  found = changed(views, source)
  expected = operation(Image.fromarray(source)).convert('RGB')
  for view in views[found]:
    np.testing.assert_allclose(view, np.asarray(expected) / 255, atol=atol)
  return found


def mirrored(views, source):
  return made_by(ImageOps.mirror, views, source)


def grayed(views, source):
  # Pillow rounds to whole levels.
  return made_by(ImageOps.grayscale, views, source, atol=1 / 255)


def inverted(views, source):
  return made_by(ImageOps.invert, views, source)


def solarized(views, source):
  """Which views have the upper half of the levels inverted, from 128 on."""
  solarize = functools.partial(ImageOps.solarize, threshold=128)
  return made_by(solarize, views, source)


def boxes(views):
  """(start, extent) along x and along y of views of `ramps`, in its pixels.

  The extent is negative where the view is mirrored. Views have to be as large
  as their crops and larger, because only then are the ramps straight lines.
  """
  found = []
  for axis, channel in ((1, 0), (2, 1)):
    levels = views[..., channel].mean(axis=axis)
    places = (255 * levels - 4) / 8 + 0.5
    points = np.arange(levels.shape[1]) + 0.5
    # At the border the nearest pixel is repeated.
    inside = (places > 0.51) & (places < SIDE - 0.51)
    lines = [
      np.polynomial.Polynomial.fit(points[mask], row[mask], 1).convert().coef
      for row, mask in zip(places, inside, strict=True)
    ]
    start, step = np.transpose(lines)
    found.append((start, step * levels.shape[1]))
  return found


def cropped(views, source, places):
  """Asserts views to be the source between the boxes' two ends, bilinearly."""
  size = views.shape[1]
  points = np.arange(SIDE) + 0.5
  for number, view in enumerate(views):
    rows = []
    for start, extent in places:
      at = start[number] + extent[number] * (np.arange(size) + 0.5) / size
      rows.append(
        np.stack([np.interp(at, points, row) for row in np.eye(SIDE)], axis=1)
      )
    along_x, along_y = rows
    expected = np.einsum('yh,hwc->ywc', along_y, source / 255)
    expected = np.einsum('xw,ywc->yxc', along_x, expected)
    # The ends are estimates too.
    np.testing.assert_allclose(view, expected, atol=10 * EXACT)


def enhanced(views, source, operation):
  """The factor of each view, by one of Pillow's `ImageEnhance`."""
  image = Image.fromarray(source)
  enhancer = getattr(ImageEnhance, operation)(image)
  neutral = np.asarray(enhancer.degenerate, np.float64) / 255
  away = source / 255 - neutral
  factors = []
  for view in views:
    # Where nothing is clipped, which Pillow does as well.
    inside = (view > 0.01) & (view < 0.99)
    factor = 0.0  # black, if it is brightness
    if inside.any():
      factor = ((view - neutral) * away)[inside].sum()
      factor /= (away[inside] ** 2).sum()
    expected = np.asarray(enhancer.enhance(factor)) / 255
    np.testing.assert_allclose(view, expected, atol=WHOLE_LEVELS)
    factors.append(factor)
  return np.array(factors)


def turned(views, source):
  """The turn of each view's hue in YIQ, as a share of the circle.

  Python's `colorsys` rounds the luminance to 0.30, 0.59 and 0.11, which is why
  the tolerance is wide. The source needs colours that nothing clips.
  """
  to_yiq, from_yiq = (
    np.vectorize(function, otypes=[float] * 3)
    for function in (colorsys.rgb_to_yiq, colorsys.yiq_to_rgb)
  )
  y, i, q = to_yiq(*np.moveaxis(source / 255, -1, 0))
  turns = []
  for view in views:
    _, a, b = to_yiq(*np.moveaxis(view.astype(np.float64), -1, 0))
    turn = np.angle(((a + 1j * b) * (i - 1j * q)).sum()) / (2 * np.pi)
    chroma = (i + 1j * q) * np.exp(2j * np.pi * turn)
    expected = np.stack(from_yiq(y, chroma.real, chroma.imag), axis=-1)
    np.testing.assert_allclose(view, expected, atol=0.03)
    # Exactly the luminance of Pillow is kept.
    np.testing.assert_allclose(view @ GRAYS, source / 255 @ GRAYS, atol=EXACT)
    turns.append(turn)
  return np.array(turns)


ORDERS = tuple(itertools.permutations(range(3)))


def permuted(views, source):
  """The number in ORDERS of each view's order of channels; 0 is as it was."""
  distances = [
    np.abs(views - source[..., order] / 255).max(axis=(1, 2, 3))
    for order in ORDERS
  ]
  assert np.min(distances, axis=0).max() < EXACT
  return np.argmin(distances, axis=0)


def gaussian(image, sigma):
  """SciPy's filter of `(h, w, c)` with weights that sum to 1 at borders too."""

  def blurred(x):
    options = {'mode': 'constant', 'truncate': 12}
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), **options)

  image = np.asarray(image, np.float64)
  return blurred(image) / blurred(np.ones_like(image))


def blurred(views):
  """The sigma of each view of `impulse`, in pixels; 0 where it is sharp."""
  source = impulse(views.shape[1])
  middle = views.shape[1] // 2
  centre, beside = views[:, middle, middle, 0], views[:, middle, middle + 1, 0]
  sigmas = []
  for view, ratio in zip(views, beside / centre, strict=True):
    # Of a Gaussian sampled at its centre and a pixel away. A ratio that
    # float32 cannot tell from 0 leaves the picture as it is.
    sigma = np.sqrt(-0.5 / np.log(ratio)) if ratio > 1e-9 else 0.0
    expected = gaussian(source / 255, sigma) if sigma else source / 255
    np.testing.assert_allclose(view, expected, atol=EXACT)
    sigmas.append(sigma)
  return np.array(sigmas)


def grained(views, level):
  """The standard deviation of each view's grain on an even gray picture."""
  grain = views.astype(np.float64) - level / 255
  # The same for all channels.
  np.testing.assert_allclose(np.ptp(grain, axis=-1), 0, atol=EXACT)
  grain = grain[..., 0].reshape(len(grain), -1)
  deviations = grain.std(axis=1)
  noisy = grain[deviations > EXACT]
  if len(noisy):
    scaled = noisy / noisy.std(axis=1, keepdims=True)
    # Gaussian: about 0, and 4.6 % of it beyond two standard deviations.
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=0.2)
    assert 0.04 < (np.abs(scaled) > 2).mean() < 0.052
    # No picture's grain is another's, nor a pixel's its neighbour's.
    alike = scaled @ scaled.T / scaled.shape[1]
    assert np.abs(alike - np.eye(len(scaled))).max() < 0.25
    assert abs((scaled[:, 1:] * scaled[:, :-1]).mean()) < 0.02
  return deviations


def is_share(happened, share):
  """Asserts that it happened in so many views: always, never, or by chance."""
  found = np.mean(happened)
  if share in (0, 1):
    assert found == share
  else:
    deviation = np.sqrt(share * (1 - share) / len(happened))
    assert abs(found - share) < 3.5 * deviation


def is_uniform(values, low, high, *, slack=EXACT):
  """Asserts that values are spread evenly over a range, to both its ends."""
  spread = high - low
  assert values.min() >= low - slack
  assert values.max() <= high + slack
  # 8 / count of a range is missed at either end once in 3,000 times.
  margin = 8 / len(values) * spread + slack
  assert values.min() <= low + margin
  assert values.max() >= high - margin
  deviation = spread / np.sqrt(12 * len(values))
  assert abs(values.mean() - (low + high) / 2) < 3.5 * deviation + slack
