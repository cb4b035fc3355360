"""Policies by name: every operation of each view, its share and its range."""

import jax
import measured
import numpy as np
import pytest
from measured import SIDE

from ssljax.augment.images import Policy
from ssljax.augment.policies import POLICIES, policy_views
from ssljax.errors import UserError

COUNT = 200
NEUTRAL = Policy()._asdict()
# What the papers say (SimCLR, appendix A; MoCo, section 4; MoCo v2, section 3;
# BYOL, table 6), and what of the article's list and for characters was chosen.
# Sigmas are of views of 224 pixels.
CROP = {'area': (0.2, 1.0), 'aspect': (3 / 4, 4 / 3), 'flip': 0.5}
SIMCLR = CROP | {
  'area': (0.08, 1.0),
  'jitter': 0.8,
  'brightness': 0.8,
  'contrast': 0.8,
  'saturation': 0.8,
  'hue': 0.2,
  'grayscale': 0.2,
  'blur': 0.5,
  'sigma': (0.1, 2.0),
}
HALF = {'brightness': 0.4, 'contrast': 0.4, 'saturation': 0.4, 'hue': 0.1}
MOCO_V2 = SIMCLR | CROP | HALF
MOCO_V1 = MOCO_V2 | {'jitter': 1.0, 'hue': 0.4, 'blur': 0.0}
BYOL = SIMCLR | HALF | {'saturation': 0.2}
ARTICLE = {
  'area': (0.3, 1.0),
  'aspect': (3 / 4, 4 / 3),
  'displacement': 2.0,
  'jitter': 1.0,
  'brightness': 0.4,
  'contrast': 0.4,
  'channels': 0.3,
  'grayscale': 0.3,
  'blur': 0.8,
  'sigma': (0.1, 2.0),
  'noise': 0.1,
  'noisy': 0.8,
}
CHARACTERS = ARTICLE | {
  'area': (0.5, 1.0),
  'jitter': 0.8,
  'contrast': 0.6,
  'saturation': 0.6,
  'hue': 0.2,
  'channels': 0.5,
  'grayscale': 0.2,
  'inversion': 0.5,
  'blur': 0.5,
  'sigma': (1.0, 4.0),
}
EXPECTED = {
  'simclr': (SIMCLR, SIMCLR),
  'moco_v1': (MOCO_V1, MOCO_V1),
  'moco_v2': (MOCO_V2, MOCO_V2),
  'byol': (
    BYOL | {'blur': 1.0},
    BYOL | {'blur': 0.1, 'solarize': 0.2},
  ),
  'cifar': (SIMCLR | HALF | {'blur': 0.0},) * 2,
  'article': (ARTICLE, ARTICLE),
  'characters': (CHARACTERS, CHARACTERS),
}


def _off(*kept):
  """Changes that turn off all operations of a policy but a few.

  Its sigma stays, because a given one is not scaled to the size of the views;
  it blurs nothing by itself.
  """
  kept = (*kept, 'sigma')
  return {key: value for key, value in NEUTRAL.items() if key not in kept}


def _views(name, source, *, size=SIDE, rows=COUNT, **options):
  """Every view of copies of one picture, in [0, 1].

  Without `jit`: no program is used twice, and its operations all are.
  """
  views = policy_views(name, size=size, **options)
  made = views(jax.random.key(0), np.stack([source] * rows), np.arange(rows))
  return [(np.asarray(view) + 1) / 2 for view, _ in made]


def _pairs(name, source, *kept, **options):
  """What each view is expected to do, and the views."""
  expected = [NEUTRAL | each for each in EXPECTED[name]]
  views = _views(name, source, **_off(*kept) | options)
  return zip(expected, views, strict=True)


every_policy = pytest.mark.parametrize('name', EXPECTED)


def test_every_policy_is_expected_here():
  assert set(EXPECTED) == set(POLICIES)


@every_policy
def test_without_its_operations_a_view_is_the_picture(name):
  source = measured.picture()
  for views in _views(name, source, **_off()):
    assert not measured.changed(views, source).any()


@every_policy
def test_views_differ(name):
  source = measured.picture()
  every = np.concatenate(_views(name, source, rows=8)).reshape(16, -1)
  distances = np.abs(every[:, None] - every).mean(axis=-1)
  assert distances[~np.eye(16, dtype=bool)].min() > 0.01


@every_policy
def test_crops(name):
  for expected, views in _pairs(name, measured.ramps(), 'area'):
    (left, width), (top, height) = measured.boxes(views)
    area = width * height / SIDE**2
    measured.is_uniform(area, *expected['area'], slack=1e-3)
    for start, extent in ((left, width), (top, height)):
      room = np.maximum(SIDE - extent, 1e-3)
      measured.is_uniform((start / room)[room > 1], 0, 1, slack=1e-2)


@every_policy
def test_aspects(name):
  # Of a small crop, since a large one is cut.
  options = {'area': (0.3, 0.3)}
  for expected, views in _pairs(name, measured.ramps(), 'aspect', **options):
    (_, width), (_, height) = measured.boxes(views)
    low, high = np.log(expected['aspect'])
    measured.is_uniform(np.log(width / height), low, high, slack=1e-3)


@every_policy
def test_displacements(name):
  for expected, views in _pairs(name, measured.ramps(), 'displacement'):
    far = expected['displacement']
    for start, _ in measured.boxes(views):
      measured.is_uniform(start, -far, far, slack=1e-2)


@every_policy
@pytest.mark.parametrize(
  ('operation', 'happened'),
  [
    ('flip', measured.mirrored),
    ('grayscale', measured.grayed),
    ('inversion', measured.inverted),
    ('solarize', measured.solarized),
  ],
)
def test_shares(name, operation, happened):
  source = measured.picture()
  for expected, views in _pairs(name, source, operation):
    measured.is_share(happened(views, source), expected[operation])


@every_policy
def test_channels(name):
  source = measured.picture()
  for expected, views in _pairs(name, source, 'channels'):
    share = expected['channels']
    orders = measured.permuted(views, source)
    # One of the six orders of the channels is as before.
    measured.is_share(orders > 0, share * 5 / 6)
    assert len(np.unique(orders)) == (6 if share else 1)


@every_policy
@pytest.mark.parametrize(
  ('operation', 'pillows'),
  [
    ('brightness', 'Brightness'),
    ('contrast', 'Contrast'),
    ('saturation', 'Color'),
  ],
)
def test_jitters(name, operation, pillows):
  source = measured.picture(20, 236)
  for expected, views in _pairs(name, source, 'jitter', operation):
    jittered = measured.changed(views, source)
    strength = expected[operation]
    measured.is_share(jittered, expected['jitter'] if strength else 0)
    if strength:
      factors = measured.enhanced(views[jittered], source, pillows)
      measured.is_uniform(factors, 1 - strength, 1 + strength, slack=1e-2)


@every_policy
def test_hues(name):
  # Colours that no turn brings to where they are clipped.
  source = measured.picture(100, 156)
  for expected, views in _pairs(name, source, 'jitter', 'hue'):
    jittered = measured.changed(views, source)
    hue = expected['hue']
    measured.is_share(jittered, expected['jitter'] if hue else 0)
    if hue:
      turns = measured.turned(views[jittered], source)
      measured.is_uniform(turns, -hue, hue, slack=1e-2)


@every_policy
def test_blurs(name):
  """Of a view half as large as the paper's, by half the paper's sigma."""
  side = 113
  source = measured.impulse(side)
  for expected, views in _pairs(name, source, 'blur', size=side):
    low, high = (sigma * side / 224 for sigma in expected['sigma'])
    sigmas = measured.blurred(views)
    # A sigma below a seventh of a pixel cannot be told from 0.
    seen = sigmas > 0.15
    visible = (high - max(low, 0.15)) / (high - low)
    measured.is_share(seen, expected['blur'] * visible)
    if expected['blur']:
      measured.is_uniform(sigmas[seen], max(low, 0.15), high, slack=1e-2)


@every_policy
def test_grains(name):
  source = np.full((SIDE, SIDE, 3), 128, np.uint8)
  for expected, views in _pairs(name, source, 'noise', 'noisy'):
    deviations = measured.grained(views, 128)
    noisy = deviations > 1e-4
    measured.is_share(noisy, expected['noisy'])
    if expected['noisy']:
      measured.is_uniform(deviations[noisy], 0, expected['noise'], slack=5e-3)


def test_small_views_are_small_crops():
  options = {'small': 2, 'small_size': 24, 'small_area': (0.1, 0.3)}
  made = _views('byol', measured.ramps(), **options, **_off('area'))
  assert [view.shape[1] for view in made] == [SIDE, SIDE, 24, 24]
  for number, view in enumerate(made):
    (_, width), (_, height) = measured.boxes(view)
    # The large ones cover the most of a small one, and more.
    low, high = (0.3, 1.0) if number < 2 else (0.1, 0.3)
    measured.is_uniform(width * height / SIDE**2, low, high, slack=5e-3)


def test_views_take_turns_and_small_ones_are_of_the_first_kind():
  """Of BYOL's two kinds, only the second is ever solarized."""
  source = measured.picture()
  options = {'small': 1, 'small_size': SIDE, 'small_area': (1.0, 1.0)}
  made = _views('byol', source, count=4, **options, **_off('solarize'))
  for views, share in zip(made, (0, 0.2, 0, 0.2, 0), strict=True):
    measured.is_share(measured.solarized(views, source), share)


def test_a_small_view_has_the_blur_of_its_own_size():
  side = 57
  options = {'small': 1, 'small_size': side, 'small_area': (1.0, 1.0)}
  _, small = _views(
    'characters',
    measured.impulse(side),
    size=2 * side,
    count=1,
    **options,
    **_off('blur'),
  )
  sigmas = measured.blurred(small)
  low, high = side / 224, 4 * side / 224
  measured.is_uniform(sigmas[sigmas > 0], low, high, slack=1e-2)


@pytest.mark.parametrize('sigma', [(1.5, 1.5), [1.5, 1.5]])
def test_a_given_sigma_is_in_pixels_of_the_view(sigma):
  """A range from JSON is a list."""
  source = measured.impulse()
  options = _off('blur') | {'blur': 1.0, 'sigma': sigma}
  for views in _views('simclr', source, size=SIDE + 1, **options):
    np.testing.assert_allclose(measured.blurred(views), 1.5, rtol=1e-3)


def test_labelled_images_have_one_view():
  source = measured.picture()
  (one,) = _views('byol', source, rows=8, count=1)
  first, _ = _views('byol', source, rows=8)
  np.testing.assert_array_equal(one, first)


def test_bad_options_are_named():
  with pytest.raises(UserError, match=r"'simlcr'.*Did you mean 'simclr'"):
    policy_views('simlcr', size=SIDE)
  with pytest.raises(UserError, match=r"'birghtness'.*mean 'brightness'"):
    policy_views('simclr', size=SIDE, birghtness=0.1)
  with pytest.raises(UserError, match=r'2 small views of 0 pixels'):
    policy_views('simclr', size=SIDE, small=2)
