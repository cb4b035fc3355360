"""The frame that pictures are fitted to: chosen by their sizes alone."""

import numpy as np
import pytest
from PIL import Image

from ssljax.data import images
from ssljax.data.frame import Frame, fitted
from ssljax.errors import UserError


def _frame(sizes, **given):
  return fitted(sizes, **given).frame


@pytest.mark.parametrize(
  ('sizes', 'frame'),
  [
    ([(160, 60)] * 9, (48, 128)),
    ([(161, 60)] * 9, (48, 136)),  # 128.8 pixels at this height
    ([(48, 48)], (48, 48)),
    ([(20, 60)], (48, 48)),  # at least as wide as high
    ([(6000, 60)], (48, 384)),  # at most eight times as wide
    ([(90, 31)] * 9, (32, 96)),
    ([(90, 31)] * 9 + [(90, 32)], (48, 144)),
  ],
)
def test_the_frame_fits_the_pictures(sizes, frame):
  assert _frame(sizes) == frame


def test_five_in_a_hundred_are_squeezed():
  few = [(100, 48)] * 95 + [(300, 48)] * 5
  many = [(100, 48)] * 94 + [(300, 48)] * 6
  assert _frame(few) == (48, 104)
  assert _frame(many) == (48, 304)


def test_what_is_not_squeezed_fills_the_height():
  """By what `fit` makes of pictures of many sizes."""
  rng = np.random.default_rng(0)
  sizes = [
    (int(wide), int(tall))
    for wide, tall in zip(
      rng.integers(40, 200, 60), rng.integers(40, 90, 60), strict=True
    )
  ]

  def filling(width):
    shown = [images.size_in(size, 48, width) for size in sizes]
    return np.mean([tall == 48 for _, tall in shown])

  width = _frame(sizes).width
  assert width % 8 == 0
  assert filling(width) >= 0.95 > filling(width - 8)


def test_the_typical_width_is_that_of_the_median_picture():
  found = fitted([(50, 48), (60, 48), (100, 48)])
  assert found.typical == 60
  shown = [
    images.fit(Image.new('RGB', size), *found.frame)[1]
    for size in [(50, 48), (60, 48), (100, 48)]
  ]
  assert np.median(shown) == 60
  # Squeezed pictures stand in the frame as they are, not as they were.
  assert fitted([(6000, 60)]).typical == 384


def test_what_the_user_gives_stays():
  assert _frame([(160, 60)], height=60) == (60, 160)
  assert _frame([(160, 60)], height=20) == (20, 56)
  assert _frame([(160, 60)], width=99) == (48, 99)
  assert _frame([(160, 60)], height=32, width=96) == Frame(32, 96)


def test_the_note_says_what_was_chosen_and_why():
  wide = [(100, 48)] * 97 + [(300, 48)] * 3
  note = fitted(wide).note
  assert '48 rows, the default' in note
  assert '104 columns, which hold 97% of the 100 pictures' in note
  assert '--config.data.height or --config.data.width' in note
  assert '32 rows, because every picture has less' in fitted([(9, 9)]).note
  assert 'rows' not in fitted(wide, height=48).note
  assert 'columns' not in fitted(wide, width=48).note
  assert fitted(wide, height=48, width=48).note == ''


def test_a_frame_below_nothing_is_refused():
  with pytest.raises(UserError, match=r'height -1 and width 0'):
    fitted([(9, 9)], height=-1)
