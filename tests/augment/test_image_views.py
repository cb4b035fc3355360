"""Views of images: whose randomness, and each operation by a reference."""

import itertools

import jax
import measured
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from measured import GRAYS, SIDE
from PIL import Image, ImageFilter

from ssljax.augment.images import Policy, image_views, jitter_map
from ssljax.augment.pixels import plain

FULL = Policy(
  area=(0.3, 1.0),
  aspect=(3 / 4, 4 / 3),
  flip=0.5,
  displacement=2.0,
  jitter=0.8,
  brightness=0.4,
  contrast=0.4,
  saturation=0.4,
  hue=0.2,
  channels=0.5,
  grayscale=0.3,
  inversion=0.3,
  blur=0.5,
  solarize=0.3,
  noise=0.1,
  noisy=0.8,
)
# Each operation alone, and so that two draws of it hardly agree.
ALONE = {
  'crop': {'area': (0.1, 0.9)},
  'aspect': {'area': (0.3, 0.3), 'aspect': (0.5, 2.0)},
  'displacement': {'displacement': 8.0},
  'brightness': {'jitter': 1.0, 'brightness': 0.5},
  'contrast': {'jitter': 1.0, 'contrast': 0.5},
  'saturation': {'jitter': 1.0, 'saturation': 0.9},
  'hue': {'jitter': 1.0, 'hue': 0.5},
  'blur': {'blur': 1.0, 'sigma': (0.3, 3.0)},
  'noise': {'noise': 0.3, 'noisy': 1.0},
}
SHARES = (
  'flip',
  'jitter',
  'channels',
  'grayscale',
  'inversion',
  'blur',
  'solarize',
  'noisy',
)


def _pair(images, *, key=0, index=None, size=SIDE, policies=None, **options):
  """Both views as NumPy in [0, 1].

  Without `jit`: no program is used twice, and its operations all are.
  """
  if index is None:
    index = np.arange(len(images))
  policies = policies or [Policy(**options)] * 2
  views = image_views(policies, [size] * len(policies))
  made = views(jax.random.key(key), images, np.asarray(index, np.int32))
  return [(np.asarray(view) + 1) / 2 for view, _ in made]


def _views(source, count=200, **options):
  """As many views of one picture, in [0, 1]."""
  (views,) = _pair(np.stack([source] * count), policies=[Policy(**options)])
  return views


def _sized(source, size, count=1, **options):
  policies = [Policy(**options)]
  (views,) = _pair(np.stack([source] * count), size=size, policies=policies)
  return views


def test_shapes_and_values():
  images = np.stack([measured.picture()] * 8)
  views = image_views([FULL, FULL._replace(area=(0.1, 0.2))], [SIDE, 12])
  made = views(jax.random.key(0), images, np.arange(8, dtype=np.int32))
  for (view, columns), size in zip(made, (SIDE, 12), strict=True):
    assert view.shape == (8, size, size, 3)
    assert view.dtype == columns.dtype == np.float32
    assert -1 <= view.min() < -0.5 and 0.5 < view.max() <= 1
    np.testing.assert_array_equal(columns, np.zeros(8))


def test_each_view_has_its_own_policy():
  source = measured.picture()
  policies = [Policy(), Policy(inversion=1.0), Policy(grayscale=1.0)]
  same, negative, gray = _pair(source[None], policies=policies)
  assert not measured.changed(same, source).any()
  assert measured.inverted(negative, source).all()
  assert measured.grayed(gray, source).all()


@pytest.mark.parametrize(
  'options',
  [
    {},
    # Drawn for every view, but without a strength.
    {'jitter': 1.0, 'blur': 1.0, 'sigma': (0.0, 0.0), 'noisy': 1.0},
    # Strong, but drawn for none.
    {
      'brightness': 0.5,
      'contrast': 0.5,
      'saturation': 0.5,
      'hue': 0.5,
      'sigma': (3.0, 3.0),
      'noise': 0.5,
    },
  ],
)
def test_without_a_share_or_a_strength_a_view_is_the_picture(options):
  images = np.stack([measured.picture()] * 8)
  for view in _pair(images, **options):
    np.testing.assert_allclose(2 * view - 1, plain(images), atol=1e-5)


@pytest.mark.parametrize('name', ['full', *ALONE])
def test_views_differ_between_views_images_and_steps(name):
  """On copies of one image, so that only the randomness can differ."""
  policy = FULL if name == 'full' else Policy(**ALONE[name])
  images = np.stack([measured.picture()] * 8)
  a, b = _pair(images, policies=[policy] * 2)
  later, _ = _pair(images, policies=[policy] * 2, key=1)
  every = np.stack([*a, *b, *later]).reshape(24, -1)
  distances = np.abs(every[:, None] - every).mean(axis=-1)
  assert distances[~np.eye(24, dtype=bool)].min() > 1e-4


def test_a_view_is_of_its_key_and_index_alone():
  """Rule 19: whoever else is in the batch, wherever in it an image stands."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)
  index = np.array([5, 70000, 3, 11, 2, 9, 400, 8])
  order = np.array([6, 1, 7, 0, 3, 2, 5, 4])
  options = FULL._asdict()
  whole = _pair(images, index=index, **options)
  shuffled = _pair(images[order], index=index[order], **options)
  part = _pair(images[1:3], index=index[1:3], **options)
  for a, b, c in zip(whole, shuffled, part, strict=True):
    np.testing.assert_allclose(b, a[order], atol=1e-5)
    np.testing.assert_allclose(c, a[1:3], atol=1e-5)


def test_eight_devices_see_what_one_sees():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (16, SIDE, SIDE, 3)).astype(np.uint8)
  index = np.arange(16, dtype=np.int32)
  mesh = jax.make_mesh((8,), ('devices',), axis_types=(AxisType.Auto,))
  rows = PartitionSpec('devices')
  several = jax.jit(
    jax.shard_map(
      image_views([FULL, FULL], [SIDE, SIDE]),
      mesh=mesh,
      in_specs=(PartitionSpec(), rows, rows),
      out_specs=rows,
      check_vma=False,
    )
  )(jax.random.key(0), images, index)
  one = _pair(images, **FULL._asdict())
  for (found, _), expected in zip(several, one, strict=True):
    np.testing.assert_allclose((found + 1) / 2, expected, atol=1e-5)


def test_gray_images_have_three_equal_channels():
  gray = measured.picture()[..., :1]
  (single,) = _pair(gray[None], policies=[FULL._replace(channels=0.0)])
  (triple,) = _pair(
    np.repeat(gray, 3, -1)[None], policies=[FULL._replace(channels=0.0)]
  )
  np.testing.assert_array_equal(single, triple)


@pytest.mark.parametrize('size', [8, 13, 32, 50])
@pytest.mark.parametrize('shape', [(32, 32), (32, 48), (60, 20)])
def test_resizing_is_pillows(shape, size):
  """Bilinear with antialiasing, in Pillow's floats, which are not rounded."""
  rng = np.random.default_rng(0)
  source = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
  view = _sized(source, size)[0]
  for channel in range(3):
    image = Image.fromarray(source[..., channel].astype(np.float32))
    expected = image.resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(
      255 * view[..., channel], np.asarray(expected), atol=0.02
    )


def _boxes_of(size, **options):
  """Boxes of 200 views, which are asserted to be those of another picture."""
  places = measured.boxes(_sized(measured.ramps(), size, 200, **options))
  views = _sized(measured.picture(), size, 200, **options)
  measured.cropped(views, measured.picture(), places)
  return places


def _even(start, extent, whole):
  """Starts are drawn evenly from all that keep the crop inside."""
  measured.is_uniform(start / (whole - extent), 0, 1, slack=1e-3)


def test_crops_cover_their_area_anywhere():
  (left, width), (top, height) = _boxes_of(SIDE, area=(0.1, 0.8))
  np.testing.assert_allclose(width, height, rtol=1e-3)
  measured.is_uniform(width * height / SIDE**2, 0.1, 0.8, slack=1e-3)
  _even(left, width, SIDE)
  _even(top, height, SIDE)
  drawn = (width, left / (SIDE - width), top / (SIDE - height))
  alike = np.corrcoef(drawn) - np.eye(3)
  assert np.abs(alike).max() < 0.25


def test_crops_have_their_aspect():
  options = {'area': (0.4, 0.4), 'aspect': (0.5, 2.0)}
  (left, width), (top, height) = _boxes_of(SIDE, **options)
  np.testing.assert_allclose(width * height, 0.4 * SIDE**2, rtol=1e-3)
  aspect = np.log2(width / height)  # as often upright as lying
  measured.is_uniform(aspect, -1, 1, slack=1e-3)
  _even(left, width, SIDE)
  _even(top, height, SIDE)


def test_a_crop_that_does_not_fit_is_cut():
  (left, width), (top, height) = _boxes_of(
    SIDE, area=(1.0, 1.0), aspect=(2.0, 2.0)
  )
  np.testing.assert_allclose(width, SIDE, rtol=1e-3)
  np.testing.assert_allclose(height, SIDE / np.sqrt(2), rtol=1e-3)
  np.testing.assert_allclose(left, 0, atol=0.01)
  _even(top, height, SIDE)


def test_crops_are_pillows():
  """Its boxes of any place are resized with antialiasing, as in torchvision."""
  options = {'area': (0.3, 0.8), 'aspect': (3 / 4, 4 / 3)}
  # The same draws place the boxes of a large view, where they are read off.
  (left, width), (top, height) = measured.boxes(
    _sized(measured.ramps(), SIDE, 8, **options)
  )
  source = measured.picture()
  for number, view in enumerate(_sized(source, 12, 8, **options)):
    box = np.array((left, top, left + width, top + height))[:, number]
    for channel in range(3):
      image = Image.fromarray(source[..., channel].astype(np.float32))
      expected = image.resize(
        (12, 12), Image.Resampling.BILINEAR, tuple(np.clip(box, 0, SIDE))
      )
      # In levels; the box itself is read off to a thousandth of a pixel.
      np.testing.assert_allclose(
        255 * view[..., channel], np.asarray(expected), atol=0.3
      )


def test_flips_are_mirrors_of_the_same_crop():
  flipped = measured.mirrored(
    _views(measured.picture(), flip=0.5), measured.picture()
  )
  measured.is_share(flipped, 0.5)
  options = {'area': (0.1, 0.8)}
  straight = _sized(measured.picture(), 12, 8, **options)
  mirrors = _sized(measured.picture(), 12, 8, flip=1.0, **options)
  np.testing.assert_allclose(mirrors, straight[:, :, ::-1], atol=1e-4)


def test_displacement_moves_either_way_and_repeats_the_border():
  (left, width), (top, height) = _boxes_of(SIDE, displacement=3.0)
  np.testing.assert_allclose((width, height), SIDE, rtol=1e-3)
  for start in (left, top):
    measured.is_uniform(start, -3, 3, slack=1e-2)
  assert abs(np.corrcoef(left, top)[0, 1]) < 0.25


def test_displacement_is_in_pixels_of_the_view():
  options = {'area': (0.25, 0.25), 'displacement': 6.0}
  (left, width), (top, height) = _boxes_of(SIDE, **options)
  still = measured.boxes(_sized(measured.ramps(), SIDE, 200, area=(0.25, 0.25)))
  for start, extent, (before, _) in (
    (left, width, still[0]),
    (top, height, still[1]),
  ):
    np.testing.assert_allclose(extent, SIDE / 2, rtol=1e-2)
    # A pixel of the view is half a pixel of the picture.
    measured.is_uniform(2 * (start - before), -6, 6, slack=0.1)


@pytest.mark.parametrize(
  ('option', 'operation'),
  [
    ('brightness', 'Brightness'),
    ('contrast', 'Contrast'),
    ('saturation', 'Color'),
  ],
)
def test_factors_are_pillows(option, operation):
  source = measured.picture(20, 236)  # Brightness clips some of it.
  views = _views(source, jitter=1.0, **{option: 0.6})
  factors = measured.enhanced(views, source, operation)
  measured.is_uniform(factors, 0.4, 1.6, slack=5e-3)


def test_a_factor_is_not_negative():
  source = measured.picture(20, 60)
  views = _views(source, jitter=1.0, brightness=1.5)
  factors = measured.enhanced(views, source, 'Brightness')
  measured.is_uniform(factors, 0, 2.5, slack=1e-2)


def test_hue_turns_colours_about_gray():
  source = measured.picture(100, 156)
  views = _views(source, jitter=1.0, hue=0.3)
  measured.is_uniform(measured.turned(views, source), -0.3, 0.3, slack=1e-2)


def _one_after_another(colours, factors, turn, order):
  """Four operations in float64, each on what the one before has made."""
  brightness, contrast, saturation = factors
  to_yiq = np.array(
    (GRAYS, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
  )  # FCC
  cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
  turning = np.array(((1, 0, 0), (0, cos, -sin), (0, sin, cos)))
  for operation in order:
    if operation == 0:
      colours = brightness * colours
    elif operation == 1:
      mean = colours.mean(axis=0) @ GRAYS
      colours = contrast * colours + (1 - contrast) * mean
    elif operation == 2:
      gray = (colours @ GRAYS)[:, None]
      colours = saturation * colours + (1 - saturation) * gray
    else:
      colours = colours @ (np.linalg.inv(to_yiq) @ turning @ to_yiq).T
  return colours


def test_a_jitter_is_its_operations_one_after_another():
  colours = np.random.default_rng(0).random((50, 3))
  factors, turn = (0.7, 1.6, 0.3), 0.2
  mean = colours.mean(axis=0).astype(np.float32)
  for order in itertools.permutations(range(4)):
    matrix, offset = jitter_map(mean, factors, turn, np.array(order))
    expected = _one_after_another(colours, factors, turn, order)
    np.testing.assert_allclose(colours @ matrix + offset, expected, atol=1e-5)


def test_channels_are_permuted_in_every_order():
  source = measured.picture()
  orders = measured.permuted(_views(source, 200, channels=1.0), source)
  for number in range(len(measured.ORDERS)):
    measured.is_share(orders == number, 1 / 6)


@pytest.mark.parametrize(
  ('share', 'found'),
  [
    ('grayscale', measured.grayed),
    ('inversion', measured.inverted),
    ('solarize', measured.solarized),
  ],
)
def test_gray_negative_and_solarized_views_are_pillows(share, found):
  source = measured.picture()
  source[0, :3] = [[127] * 3, [128] * 3, [129] * 3]
  assert found(_views(source, 8, **{share: 1.0}), source).all()


def test_a_blur_is_a_gaussian_of_its_sigma():
  (views,) = _pair(
    np.stack([measured.impulse()] * 200),
    size=SIDE + 1,
    policies=[Policy(blur=1.0, sigma=(0.5, 3.0))],
  )
  measured.is_uniform(measured.blurred(views), 0.5, 3.0, slack=1e-3)


@pytest.mark.parametrize('size', [SIDE, 12])
def test_a_blur_is_in_pixels_of_the_view(size):
  """It follows the crop, and weights sum to 1 at the border as well."""
  source = measured.picture()
  sharp = _sized(source, size)[0]
  view = _sized(source, size, blur=1.0, sigma=(1.5, 1.5))[0]
  expected = measured.gaussian(sharp, 1.5)
  np.testing.assert_allclose(view, expected, atol=1e-4)


def test_a_blur_is_pillows():
  """Inside a soft picture: Pillow's is three box filters, good to 1 %."""
  rng = np.random.default_rng(0)
  source = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1)))
  source = source.astype(np.uint8)
  view = _sized(source, SIDE, blur=1.0, sigma=(2.0, 2.0))[0]
  expected = Image.fromarray(source).filter(ImageFilter.GaussianBlur(2.0))
  inside = (slice(6, -6), slice(6, -6))
  np.testing.assert_allclose(
    view[inside], np.asarray(expected)[inside] / 255, atol=0.015
  )


def test_grain_is_gray_gaussian_and_up_to_its_strength():
  source = np.full((SIDE, SIDE, 3), 128, np.uint8)
  views = _views(source, noise=0.1, noisy=1.0)
  deviations = measured.grained(views, 128)
  # A deviation is estimated to 2 % from 1,024 pixels.
  measured.is_uniform(deviations, 0, 0.1, slack=5e-3)


STRENGTHS = {
  'jitter': {'brightness': 0.8},
  'blur': {'sigma': (2.0, 3.0)},
  'noisy': {'noise': 0.5},
}


@pytest.mark.parametrize('share', SHARES)
def test_a_share_of_the_views_is_changed(share):
  source = measured.picture()
  views = _views(source, 200, **{share: 0.3} | STRENGTHS.get(share, {}))
  # One of the six orders of the channels is as before.
  expected = 0.3 * 5 / 6 if share == 'channels' else 0.3
  measured.is_share(measured.changed(views, source), expected)


def test_operations_are_drawn_apart():
  """Each by a number of its own: no two go together, or exclude each other.

  An operation's numbers do not depend on the other shares of its policy, so
  what it does alone is what it does among them.
  """
  source = measured.picture()
  happened = {
    share: measured.changed(
      _views(source, 200, **{share: 0.5} | STRENGTHS.get(share, {})), source
    )
    for share in SHARES
  }
  alike = np.corrcoef(list(happened.values())) - np.eye(len(happened))
  assert np.abs(alike).max() < 0.25
  strength = measured.enhanced(
    _views(source, 200, jitter=1.0, brightness=0.5), source, 'Brightness'
  )
  other = measured.enhanced(
    _views(source, 200, jitter=1.0, contrast=0.5), source, 'Contrast'
  )
  assert abs(np.corrcoef(strength, other)[0, 1]) < 0.25


def test_colours_follow_the_crop_and_solarizing_follows_colours():
  """As the papers' lists order them; the contrast is that of the crop."""
  source = measured.picture(80, 176)
  crop = {'area': (0.1, 0.3), 'blur': 1.0, 'sigma': (1.0, 1.0)}
  parts = _sized(source, SIDE, 8, **crop)
  views = _sized(source, SIDE, 8, jitter=1.0, contrast=0.5, **crop)
  for part, view in zip(parts, views, strict=True):
    mean = (part @ GRAYS).mean()
    factor = (view - mean).std() / (part - mean).std()
    expected = factor * part + (1 - factor) * mean
    np.testing.assert_allclose(view, expected, atol=1e-3)
  options = {'grayscale': 1.0, 'inversion': 1.0}
  negatives = _views(source, 8, **options)
  expected = np.where(negatives >= 0.5, 1 - negatives, negatives)
  solarized = _views(source, 8, solarize=1.0, **options)
  np.testing.assert_allclose(solarized, expected, atol=1e-5)


def test_what_comes_after_a_jitter_is_done_to_what_it_made():
  source = measured.picture(100, 156)  # Nothing is clipped.
  jitter = {
    'jitter': 1.0,
    'brightness': 0.2,
    'contrast': 0.5,
    'saturation': 0.5,
    'hue': 0.1,
  }
  views = _views(source, 8, **jitter)
  gray = np.repeat((views @ GRAYS)[..., None], 3, axis=-1)
  for share, expected in (('grayscale', gray), ('inversion', 1 - views)):
    found = _views(source, 8, **jitter, **{share: 1.0})
    np.testing.assert_allclose(found, expected, atol=1e-5)
  found = _views(source, 8, **jitter, channels=1.0)
  np.testing.assert_allclose(np.sort(found), np.sort(views), atol=1e-5)
