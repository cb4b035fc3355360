"""The print behind an image: that it is its own, and all of it."""

import numpy as np
import pytest

from ssljax.data import datasets, glyphs, layouts
from ssljax.data.clean import Cleaned
from ssljax.data.image_sources import ImageSource
from ssljax.data.render import render
from ssljax.errors import UserError

SIZE = {'height': 40, 'width': 120}


def _render(layout, index):
  unseen = layout in layouts.UNSEEN
  return render(
    seed=0,
    split='test_unseen' if unseen else 'test',
    index=index,
    charset='alnum36',
    layouts=(layout,),
    unseen_layouts=(layout,),
    **SIZE,
  )


@pytest.mark.parametrize('layout', layouts.LAYOUTS)
def test_the_mask_is_where_the_characters_are(layout):
  for index in range(8):
    example = _render(layout, index)
    assert example.mask.shape == example.image.shape[:2]
    assert example.mask.dtype == np.uint8
    assert example.mask.max() > 200
    columns = np.flatnonzero((example.mask > 60).any(axis=0))
    left, right = example.extents.min(), example.extents.max()
    # A shadow's sides are ink and no letters'; JPEG's blocks reach far.
    slack = 6 if layout in ('shadow', 'jpeg') else 3
    assert left - 1 <= columns[0] <= left + slack
    assert right - slack <= columns[-1] + 1 <= right + 1


@pytest.mark.parametrize(
  'layout', sorted(set(layouts.LAYOUTS) - {'hollow', 'salt'})
)
def test_the_mask_divides_ink_from_ground(layout):
  """Colours differ more between the two than within the text."""
  apart = []
  for index in range(12):
    example = _render(layout, index)
    image = example.image.astype(np.float32)
    ink, ground = image[example.mask > 200], image[example.mask < 20]
    apart.append(np.abs(np.median(ink, 0) - np.median(ground, 0)).max())
  assert np.median(apart) > 40


def test_a_glyphs_mask_is_that_of_its_image():
  found = glyphs.render_masks((0, 'test', 3, 5))
  for place, index in enumerate((3, 4)):
    glyph = glyphs.render_glyph(seed=0, split='test', index=index)
    np.testing.assert_array_equal(found[place], glyph.mask)


def _source(count=6):
  images = np.zeros((count, 4, 4, 3), np.uint8)
  return ImageSource(images, np.arange(count))


def test_an_example_has_its_own_print_or_that_of_another():
  masks = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones(
    (4, 4), np.uint8
  )
  source = _source()
  own, other = (Cleaned(source, masks, other=other) for other in (False, True))
  for place in range(6):
    clean = own[place]['clean']
    assert clean.shape == (4, 4, 3)
    assert (clean == 255 - place).all()
    assert (other[place]['clean'] == 255 - (place + 4) % 6).all()
  batch = own.gather([5, 0])
  assert (batch['clean'][:, 0, 0, 0] == (250, 255)).all()
  assert len(own) == 6
  assert own.layouts == source.layouts
  assert own.describe(3) == source.describe(3)


def test_rendered_data_knows_its_print(tmp_path):
  options = {
    'charset': 'digits',
    'height': 16,
    'width': 48,
    'max_length': 6,
    'layouts': ('arcs',),
    'unseen_layouts': layouts.UNSEEN_LAYOUTS,
    'seed': 0,
    'counts': {'test': 5},
    'memory': 2**30,
  }
  data = datasets.open_dataset(options, data_dir=str(tmp_path))
  masks = data.masks('test')
  assert masks.shape == (5, 16, 48)
  expected = render(
    seed=0,
    split='test',
    index=2,
    charset='digits',
    layouts=('arcs',),
    height=16,
    width=48,
  ).mask
  np.testing.assert_array_equal(masks[2], expected)


def test_nobody_knows_the_print_of_digits(tmp_path):
  data = datasets.open_dataset(
    {'name': 'digits', 'size': 8}, data_dir=str(tmp_path)
  )
  with pytest.raises(UserError, match=r'not rendered.*data\.clean'):
    data.masks('test')
