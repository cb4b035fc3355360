"""Views of text: whose randomness, what they show, and where they say it is."""

import functools
import math

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from configs import common, text
from ssljax.augment.pixels import plain
from ssljax.augment.text import text_views
from ssljax.data import render
from ssljax.errors import UserError
from ssljax.models import instances

HEIGHT, WIDTH, STRIDE = 32, 96, 4
# Geometry alone: what a view shows is then where it shows it.
PLAIN = {
  'blur_probability': 0.0,
  'noise_probability': 0.0,
  'contrast': 0.0,
  'brightness': 0.0,
  'channels': 0.0,
  'grayscale': 0.0,
  'inversion': 0.0,
  'strokes': 0,
  'ramp': 0.0,
  'erase': 0.0,
}
STILL = {'shift': 0.0, 'scale': 0.0, 'jitter': 0.0}
FULL = text.PRETRAIN_VIEWS


@functools.cache
def _compiled(items):
  return jax.jit(text_views(stride=STRIDE, **dict(items)))


def _views(key, images, index=None, **options):
  """((image, columns), ...) as NumPy; compiled once for each set of options."""
  if index is None:
    index = np.arange(len(images), dtype=np.int32)
  made = _compiled(tuple(sorted(options.items())))(
    jax.random.key(key), images, np.asarray(index, np.int32)
  )
  return jax.tree.map(np.asarray, made)


def _images(count, height=HEIGHT, width=WIDTH, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, height, width, 3), np.uint8)


def test_views_differ_between_views_images_and_steps():
  """On copies of one image, so that only the randomness can differ."""
  images = np.repeat(_images(1), 8, axis=0)
  (a, columns), (b, others) = _views(0, images, **FULL)
  (later, _), _ = _views(1, images, **FULL)
  assert a.dtype == b.dtype == columns.dtype == np.float32
  assert a.shape == images.shape
  assert columns.shape == (8, WIDTH // STRIDE)
  for x in (a, b):
    assert x.min() >= -1
    assert x.max() <= 1
  every = np.stack([*a, *b, *later]).reshape(24, -1)
  distances = np.abs(every[:, None] - every).mean(axis=-1)
  assert distances[~np.eye(24, dtype=bool)].min() > 0.01
  places = np.concatenate([columns, others])
  assert len(np.unique(places, axis=0)) == 16


def test_a_view_is_of_its_key_and_index_alone():
  """Rule 19: whoever else is in the batch, wherever in it an image stands."""
  images = _images(8)
  index = np.array([5, 70000, 3, 11, 2, 9, 400, 8])
  order = np.array([6, 1, 7, 0, 3, 2, 5, 4])
  whole = _views(0, images, index, **FULL)
  shuffled = _views(0, images[order], index[order], **FULL)
  part = _views(0, images[1:3], index[1:3], **FULL)
  for (a, x), (b, y), (c, z) in zip(whole, shuffled, part, strict=True):
    np.testing.assert_allclose(b, a[order], atol=1e-5)
    np.testing.assert_allclose(y, x[order], atol=1e-4)
    np.testing.assert_allclose(c, a[1:3], atol=1e-5)
    np.testing.assert_allclose(z, x[1:3], atol=1e-4)


def test_eight_devices_see_what_one_sees():
  images, index = _images(16), np.arange(16, dtype=np.int32)
  mesh = jax.make_mesh((8,), ('devices',), axis_types=(AxisType.Auto,))
  rows = PartitionSpec('devices')
  several = jax.jit(
    jax.shard_map(
      text_views(stride=STRIDE, **FULL),
      mesh=mesh,
      in_specs=(PartitionSpec(), rows, rows),
      out_specs=rows,
      check_vma=False,
    )
  )(jax.random.key(0), images, index)
  one = _views(0, images, index, **FULL)
  for found, expected in zip(
    jax.tree.leaves(several), jax.tree.leaves(one), strict=True
  ):
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_image_that_does_not_move_is_almost_itself():
  # A smooth image: the resampling without blur still spans a third of a pixel.
  x = np.linspace(0, 255, WIDTH)[:, None] * np.ones((HEIGHT, 1, 3))
  images = x[None].astype(np.uint8)
  for view, columns in _views(0, images, **PLAIN, **STILL):
    centres = (np.arange(WIDTH // STRIDE) + 0.5) * STRIDE
    np.testing.assert_array_equal(columns[0], centres)
    np.testing.assert_allclose(view, plain(images), atol=0.02)


@pytest.mark.parametrize(('width', 'frames'), [(96, 24), (98, 25), (90, 23)])
def test_as_many_columns_as_the_encoder_has_frames(width, frames):
  ((_, columns),) = _views(
    0, _images(1, width=width), count=1, **PLAIN, **STILL
  )
  assert columns.shape == (1, frames) == (1, math.ceil(width / STRIDE))
  # A last frame whose centre lies beyond the image is padding.
  assert (columns[0, :-1] >= 0).all()
  assert (columns[0, -1] == -1) == ((frames - 0.5) * STRIDE >= width)


def test_columns_grow_and_leave_the_image_as_minus_one():
  """No mirror, no fold: the order of the columns is that of the source."""
  options = PLAIN | {'scale': 0.3, 'shift': 0.3, 'jitter': 2.0}
  found = _views(0, np.zeros((64, HEIGHT, WIDTH, 3), np.uint8), **options)
  columns = np.concatenate([columns for _, columns in found])
  outside = columns < 0
  assert 0.02 < outside.mean() < 0.4
  assert (columns[outside] == -1).all()
  assert columns.max() < WIDTH
  for row in columns:
    inside = np.flatnonzero(row >= 0)
    # What is outside stands at the ends, never between.
    assert (np.diff(inside) == 1).all()
    assert (np.diff(row[inside]) > 0).all()


def _peak(profile):
  """Where a line stands, to a fraction of a pixel; None where it is faint."""
  profile = profile - profile.min()
  if profile.max() < 0.3:
    return None
  near = np.abs(np.arange(len(profile)) - profile.argmax()) <= 4
  weights = profile * near
  return (weights * (np.arange(len(profile)) + 0.5)).sum() / weights.sum()


def test_small_views_are_windows_of_the_line():
  """As high, half as wide, anywhere; the columns say where."""
  images = np.repeat(_images(1), 32, axis=0)
  options = {'small': 2, 'small_share': 0.5, **PLAIN, **STILL}
  large, _, *small = _views(0, images, **options)
  assert len(small) == 2
  for view, columns in small:
    assert view.shape == (32, HEIGHT, WIDTH // 2, 3)
    assert columns.shape == (32, WIDTH // 2 // STRIDE)
    assert (columns >= 0).all()
    np.testing.assert_allclose(np.diff(columns, axis=1), STRIDE, atol=1e-4)
  starts = np.concatenate([columns[:, 0] for _, columns in small])
  # From one end of the line to the other.
  assert starts.min() < WIDTH / 8
  assert starts.max() > WIDTH * 3 / 8
  assert len(np.unique(starts)) > 60
  # The large ones are as they would be alone.
  alone = _views(0, images, **{**options, 'small': 0})
  np.testing.assert_array_equal(large[0], alone[0][0])
  plain_image = plain(images)[0]
  for view, columns in small:
    for picture, row in zip(view, columns, strict=True):
      left = round(float(row[0] - STRIDE / 2))
      window = plain_image[:, left : left + WIDTH // 2]
      # Less than a pixel off, so alike but for interpolation.
      kept = np.corrcoef(np.ravel(picture), np.ravel(window))[0, 1]
      assert kept > 0.4


def test_a_line_is_found_where_the_columns_say():
  sources = np.arange(14, 84, 10)
  images = np.zeros((len(sources), HEIGHT, WIDTH, 3), np.uint8)
  for image, x in zip(images, sources, strict=True):
    image[:, x] = 255
  options = PLAIN | {'scale': 0.25, 'shift': 0.15, 'jitter': 1.5}
  checked, errors, moves = 0, [], []
  for key in range(6):
    for view, columns in _views(key, images, **options):
      for picture, row, x in zip(view, columns, sources, strict=True):
        inside = row >= 0
        centres = (np.arange(len(row)) + 0.5)[inside] * STRIDE
        if not row[inside].min() < x + 0.5 < row[inside].max():
          continue
        expected = np.interp(x + 0.5, row[inside], centres)
        found = _peak(picture.mean(axis=(0, 2)))
        assert found is not None, (key, x, expected)
        checked += 1
        errors.append(abs(found - expected))
        moves.append(abs(expected - x - 0.5))
  assert checked > 40
  assert max(errors) < 1.5
  assert np.mean(moves) > 4  # The lines did move.


def test_scaling_is_proportional():
  """The same zoom along x and y, and it does zoom, either way."""
  upright = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  lying = upright.copy()
  for x in (32, 63):
    upright[:, x - 1 : x + 2] = 255
  for y in (8, 23):
    lying[y - 1 : y + 2] = 255
  zooms = []
  for key in range(8):
    # The same index: the two images go through the same geometry.
    options = PLAIN | STILL | {'scale': 0.3}
    (views, _), _ = _views(key, np.stack([upright, lying]), [7, 7], **options)
    across = (views[0].mean(axis=(0, 2)) + 1) / 2
    down = (views[1].mean(axis=(1, 2)) + 1) / 2
    wide = _peak(across[WIDTH // 2 :]) + WIDTH // 2
    wide -= _peak(across[: WIDTH // 2])
    tall = _peak(down[HEIGHT // 2 :]) + HEIGHT // 2
    tall -= _peak(down[: HEIGHT // 2])
    assert abs(wide / 31 - tall / 15) < 0.03
    zooms.append(wide / 31)
  assert min(zooms) < 0.9
  assert max(zooms) > 1.1


def test_the_articles_views_stay_aligned():
  """Rule 28: between two views no column moves by half an instance (10 px)."""
  height, width, pool = 60, 160, 5
  views = text_views(stride=STRIDE, **text.ARTICLE_VIEWS)

  @jax.jit
  def columns(key):
    # The pictures are not returned, and so never computed.
    images = np.zeros((1000, height, width, 3), np.uint8)
    made = views(key, images, np.arange(1000, dtype=np.int32))
    return tuple(columns for _, columns in made)

  most = 0
  for key in range(10):
    a, b = (np.asarray(x) for x in columns(jax.random.key(key)))
    shown = (a >= 0) & (b >= 0)
    assert shown.mean() > 0.95
    most = max(most, np.abs(a - b)[shown].max())
  assert most > 5  # They are not simply still.
  assert most <= pool * STRIDE / 2


def _shown_characters(options, size, *, charset, pool, matched, count=16):
  """How much of each row, in either view, each character's extent fills.

  One picture a character, white in its extent and black elsewhere, goes
  through the views under the index of its image, so that all of them move
  alike. Pools their brightness as a method pools features. (rows, characters)
  for both views, of the rows that both show.
  """
  height, width = size
  views = text_views(stride=STRIDE, **options | PLAIN)
  pooling = instances.frames(pool, stride=STRIDE if matched else None)

  @jax.jit
  def rows(key, pictures, index):
    found = []
    for view, columns in views(key, pictures, index):
      bright = ((view + 1) / 2).mean(axis=(1, 3))
      frames = bright.reshape(len(pictures), -1, STRIDE).mean(axis=-1)
      found.append(pooling(frames.T[None], columns[:1]))
    return found

  pairs = []
  for index in range(count):
    example = render.render(
      seed=0,
      split='unlabeled',
      index=index,
      charset=charset,
      layouts=common.LAYOUTS,
      height=height,
      width=width,
    )
    pictures = np.zeros((render.LENGTHS[1], height, width, 3), np.uint8)
    x = np.arange(width) + 0.5
    for picture, (left, right) in zip(pictures, example.extents, strict=False):
      picture[:, (x >= left) & (x < right)] = 255
    indices = np.full(len(pictures), index, np.int32)
    (a, shown), (b, others) = rows(jax.random.key(index), pictures, indices)
    both = np.asarray(shown * others) > 0
    pairs.append((np.asarray(a)[both], np.asarray(b)[both]))
  return (np.concatenate(view) for view in zip(*pairs, strict=True))


def _disagreement(a, b, clear):
  """Of the rows that one character fills in both, how many show another."""
  filled = (a.max(axis=1) > clear) & (b.max(axis=1) > clear)
  assert filled.sum() > 40
  return (a.argmax(axis=1) != b.argmax(axis=1))[filled].mean()


def test_matched_rows_show_the_same_character():
  """At the default's settings, against the recorded extents."""
  show = functools.partial(
    _shown_characters,
    text.PRETRAIN_VIEWS,
    (HEIGHT, WIDTH),
    charset='digits',
    pool=2,
  )
  a, b = show(matched=True)
  assert _disagreement(a, b, clear=0.6) == 0
  assert np.abs(a - b).mean() < 0.03
  # By number, the same views would call different characters a positive pair.
  assert _disagreement(*show(matched=False), clear=0.6) > 0.2


def test_the_articles_rows_show_the_same_character():
  """There by number, which its aligned views allow."""
  a, b = _shown_characters(
    text.ARTICLE_VIEWS,
    (60, 160),
    charset='alnum36',
    pool=5,
    matched=False,
  )
  assert _disagreement(a, b, clear=0.7) == 0


def test_each_view_has_its_own_share_of_inversion():
  """Rule 44: MoCo's keys must be able to stay as they are."""
  images = np.repeat(np.full((1, HEIGHT, WIDTH, 3), 255, np.uint8), 64, axis=0)
  options = PLAIN | STILL | {'small': 1, 'inversion': (0.5, 0.0, 1.0)}
  some, none, every = (
    (view < 0).mean(axis=(1, 2, 3)) for view, _ in _views(0, images, **options)
  )
  assert set(some) == {0, 1}
  assert 0.3 < some.mean() < 0.7
  assert not none.any()
  assert every.all()
  # One number serves all of them, and changes nothing else.
  (view, columns), *_ = _views(0, images, **options)
  (single, others), *_ = _views(0, images, **options | {'inversion': 0.5})
  np.testing.assert_array_equal(view, single)
  np.testing.assert_array_equal(columns, others)
  with pytest.raises(UserError, match='3 shares of inversion for 2 views'):
    text_views(2, inversion=(0.5, 0.0, 1.0))


def test_an_erased_span_is_painted_and_shows_nothing():
  images = np.repeat(_images(1), 16, axis=0)
  ((plain_view, before),) = _views(0, images, count=1, **PLAIN, **STILL)
  options = PLAIN | STILL | {'erase': 0.5}
  ((view, columns),) = _views(0, images, count=1, **options)
  erased = columns < 0
  assert 0.1 < erased.mean() < 0.6
  np.testing.assert_array_equal(columns[~erased], before[~erased])
  # A painted pixel column has one colour from top to bottom. The centre of a
  # frame lies between two of them.
  painted = view.std(axis=1).max(axis=-1) < 1e-6
  centres = np.arange(WIDTH // STRIDE) * STRIDE + STRIDE // 2
  left, right = painted[:, centres - 1], painted[:, centres]
  assert erased[left & right].all()
  assert not erased[~left & ~right].any()
  shown = np.broadcast_to(~painted[:, None, :, None], view.shape)
  np.testing.assert_allclose(view[shown], plain_view[shown], atol=1e-6)


def _lost(options, size, *, charset, keys=8, count=64, shown=None):
  """How many columns of each character, and of each image, a view leaves out.

  A picture whose red tells the column goes through the views. Its border pixels
  then say how far a view reaches. Rows may be lost, because text is read as
  well without its uppermost pixels.
  """
  height, width = size
  made = (
    render.render(
      seed=0,
      split='train',
      index=index,
      charset=charset,
      layouts=common.LAYOUTS,
      height=height,
      width=width,
    ).extents
    for index in range(count)
  )
  extents = [each * (shown or width) / width for each in made]
  image = np.zeros((height, width, 3), np.uint8)
  image[..., 0] = np.arange(width)
  images = np.repeat(image[None], count, axis=0)
  index = np.arange(count, dtype=np.int32)
  widths = np.full(count, shown or width, np.int32)
  views = jax.jit(text_views(stride=STRIDE, **options | PLAIN))
  characters, whole = [], []
  for key in range(keys):
    ((view, _),) = views(jax.random.key(key), images, index, widths)
    levels = (np.asarray(view, np.float64) + 1) / 2 * 255
    x = levels[..., 0].mean(axis=1)
    borders = x[:, [0, -1]] + (0, 1)
    for (left, right), each in zip(borders, extents, strict=True):
      begin, end = each.T
      lost = np.clip(left - begin, 0, None) + np.clip(end - right, 0, None)
      characters.append((lost / (end - begin)).max())
      whole.append(max(left, (shown or width) - right))
  return np.array(characters), np.array(whole)


@pytest.mark.parametrize(
  ('options', 'size', 'charset'),
  [
    (text.LABELLED_VIEWS, (HEIGHT, WIDTH), 'digits'),
    (text.ARTICLE_VIEWS | text.LABELLED, (60, 160), 'alnum36'),
  ],
)
@pytest.mark.parametrize('share', [1.0, 0.6])
def test_a_labelled_view_keeps_every_character_whole(
  options, size, charset, share
):
  """Rule 48: against the recorded extents; otherwise the label is wrong."""
  shown = round(share * size[1])
  lost, whole = _lost(options, size, charset=charset, shown=shown)
  # The centre of a border pixel tells its edge to a fifth of a pixel, because
  # bending makes it narrower or wider.
  assert whole.max() < 0.2
  assert lost.max() < 0.02


def test_a_view_that_is_not_kept_would_lose_characters():
  """The measurement above sees what pretraining may lose."""
  options = text.LABELLED_VIEWS | {'keep': False}
  lost, _ = _lost(options, (HEIGHT, WIDTH), charset='digits')
  assert 0.03 < (lost > 0.25).mean() < 0.15


def test_rounding_does_not_decide_the_last_frame_of_a_kept_view():
  """Rule 47: it is centred on the view's right end, where the image may end."""
  options = text.LABELLED_VIEWS | PLAIN
  ((_, columns),) = _views(0, _images(512, width=98), **options)
  assert (columns[:, -2] >= 0).any()
  assert (columns[:, -1] == -1).all()


def test_a_kept_view_still_moves():
  images = _images(256)
  options = PLAIN | {'scale': 0.15, 'shift': 0.05, 'jitter': 1.0}
  ((_, columns),) = _views(0, images, count=1, keep=True, **options)
  centres = (np.arange(WIDTH // STRIDE) + 0.5) * STRIDE
  inside = columns >= 0
  moved = np.where(inside, columns - centres, np.nan)
  middle = moved[:, WIDTH // STRIDE // 2]
  assert 1 < np.std(middle) < 4
  assert abs(np.mean(middle)) < 0.5
