import hashlib
import subprocess
import sys

import numpy as np
import pytest

from ssljax.data import drawing, fonts, layouts
from ssljax.data.layouts import held_out
from ssljax.data.render import (
  CHARSETS,
  SPLITS,
  UNSEEN_SPLITS,
  VERSION,
  render,
)

SIZES = [(32, 96), (60, 160), (16, 32)]


# What may hide the sides of a character, as a share of the height.
HIDDEN = {'overlap': 0.3, 'shadow': 0.15}


def draw(index=0, *, split='train', layout=None, **change):
  arguments = {
    'seed': 0,
    'charset': 'alnum62',
    'layouts': (layout,) if layout else tuple(layouts.LAYOUTS),
    'height': 32,
    'width': 96,
  }
  return render(split=split, index=index, **(arguments | change))


def digest(example):
  return hashlib.sha256(example.image.tobytes()).hexdigest()


def test_an_image_depends_on_its_key_alone():
  # Red where something is drawn from a global or a shared generator, or where
  # a cache changes what is drawn.
  first = [draw(index) for index in range(20)]
  np.random.seed(1)
  fonts.glyph.cache_clear()
  again = [draw(index) for index in reversed(range(20))][::-1]
  for one, other in zip(first, again, strict=True):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.extents, other.extents)
    assert (one.text, one.layout) == (other.text, other.layout)


def test_another_process_draws_the_same_image():
  program = (
    'import hashlib; from ssljax.data.render import render; '
    'print(hashlib.sha256(render(seed=0, split="train", index=3, '
    'charset="alnum62", layouts=("arcs", "colors", "textured", "hollow"), '
    'height=32, width=96).image.tobytes()).hexdigest())'
  )
  # PYTHONHASHSEED differs between processes: red where a split's number came
  # from `hash`.
  output = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert output.strip() == digest(draw(3, layouts=layouts.SEEN_LAYOUTS[:4]))


def test_seed_split_and_index_all_matter_and_splits_share_no_image():
  drawn = [
    digest(draw(index, split=split, seed=seed))
    for seed in (0, 1)
    for split in SPLITS
    for index in range(60)
  ]
  assert len(set(drawn)) == len(drawn) == 720


def test_unseen_splits_have_layouts_and_faces_of_their_own(monkeypatch):
  """And the others have none of these: nothing held out leaks."""
  used = []
  glyph = fonts.glyph
  monkeypatch.setattr(
    fonts, 'glyph', lambda face, *rest: used.append(face) or glyph(face, *rest)
  )
  found = {}
  for split in SPLITS:
    used.clear()
    drawn = [
      draw(index, split=split, layouts=layouts.SEEN_LAYOUTS).layout
      for index in range(100)
    ]
    found[split] = set(drawn), set(used)
  for split, (names, faces) in found.items():
    unseen = split in UNSEEN_SPLITS
    assert names == set(layouts.UNSEEN if unseen else layouts.SEEN), split
    assert faces == set(fonts.HELD_OUT_FACES if unseen else fonts.FACES), split
  assert not set(fonts.HELD_OUT_FACES) & set(fonts.FACES)
  assert len(layouts.UNSEEN) == 4 and len(layouts.LAYOUTS) >= 12


def fingerprint(layout):
  """Eight digits of the pixels of examples of a layout, at both sizes."""
  pixels = hashlib.sha256()
  split = 'test_unseen' if layout in layouts.UNSEEN else 'test'
  for (height, width), charset in zip(
    SIZES[:2], ('digits', 'alnum62'), strict=True
  ):
    for index in range(8):
      example = draw(
        index,
        seed=1,
        split=split,
        charset=charset,
        layouts=(layout,),
        unseen_layouts=(layout,),
        height=height,
        width=width,
      )
      pixels.update(example.image.tobytes())
  return pixels.hexdigest()[:8]


FINGERPRINTS = {
  'arcs': '7d4e580e',
  'colors': 'd81a041a',
  'textured': 'c75b0e9a',
  'hollow': '640a1c2c',
  'overlap': 'fa4d5614',
  'warp': '05e9b943',
  'grid': '35fbad63',
  'salt': '3729d38b',
  'spaced': '3806e28f',
  'arched': '75791928',
  'pixel': '354aca0b',
  'shadow': '80217576',
  'jpeg': 'cf8f5c22',
}


@pytest.mark.parametrize('layout', layouts.LAYOUTS)
def test_the_benchmark_is_the_one_of_its_version(layout):
  """Red where an image changes, by this code or by what draws for it."""
  assert VERSION == '1.0.0', 'record the fingerprints of the new version'
  assert fingerprint(layout) == FINGERPRINTS[layout], (
    'images of this layout have changed: raise render.VERSION if that is '
    'meant, and find the cause if not'
  )


def test_text_and_layout_do_not_depend_on_the_size():
  for index in range(10):
    small, large = draw(index), draw(index, height=60, width=160)
    assert (small.text, small.layout) == (large.text, large.layout)


@pytest.mark.parametrize('charset', CHARSETS)
def test_texts_have_every_length_and_character(charset):
  examples = [draw(index, charset=charset) for index in range(300)]
  lengths = [len(example.text) for example in examples]
  assert set(lengths) == {4, 5, 6}
  assert min(lengths.count(length) for length in (4, 5, 6)) > 60
  assert set(''.join(e.text for e in examples)) == set(CHARSETS[charset])
  # Doubled characters are what CTC fails on, so they must occur.
  assert any(
    a == b for e in examples for a, b in zip(e.text, e.text[1:], strict=False)
  )


@pytest.mark.parametrize('charset', ["αβД.,'-:", '47abcé'])
@pytest.mark.parametrize('lengths', [(1, 2), (7, 9)])
def test_any_characters_and_lengths_are_drawn(charset, lengths):
  """At the least size, too: a full stop is then smaller than a pixel."""
  drawn = [
    draw(index, charset=charset, lengths=lengths, height=16, width=48)
    for index in range(150)
  ]
  assert set(''.join(each.text for each in drawn)) == set(charset)
  assert {len(each.text) for each in drawn} == {
    *range(lengths[0], lengths[1] + 1)
  }
  for each in drawn:
    left, right = each.extents.T
    assert len(each.extents) == len(each.text) and (left < right).all()


def test_a_name_is_short_for_its_characters():
  for index in range(5):
    named, spelt = draw(index), draw(index, charset=CHARSETS['alnum62'])
    np.testing.assert_array_equal(named.image, spelt.image)


def test_faces_without_a_character_are_not_used(monkeypatch):
  used, glyph = set(), fonts.glyph
  monkeypatch.setattr(
    fonts, 'glyph', lambda face, *rest: used.add(face) or glyph(face, *rest)
  )
  for index in range(40):
    draw(index, charset='Д1')
  assert used == set(fonts.having('Д', tuple(fonts.FACES)))
  assert fonts.having('Д', tuple(fonts.FACES)) == (
    'sans_semibold', 'serif_regular', 'serif_black', 'manrope_regular',
    'manrope_extrabold',
  )  # fmt: skip
  latin = ''.join(CHARSETS.values()) + 'äé€?'
  assert fonts.having(latin, tuple(fonts.ALL_FACES)) == tuple(fonts.ALL_FACES)


def test_layouts_are_drawn_evenly_from_those_given():
  names = [
    draw(index, layouts=('arcs', 'hollow')).layout for index in range(99)
  ]
  assert set(names) == {'arcs', 'hollow'}
  assert 30 < names.count('arcs') < 69


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', layouts.LAYOUTS)
def test_shapes_and_extents(layout, size):
  height, width = size
  for index in range(15):
    example = draw(index, layout=layout, height=height, width=width)
    assert example.image.shape == (height, width, 3)
    assert example.image.dtype == np.uint8
    assert example.extents.shape == (len(example.text), 2)
    assert example.extents.dtype == np.float32
    left, right = example.extents.T
    assert (left >= 0).all() and (right <= width).all()
    assert (left < right).all()
    assert (np.diff(left) > 0).all() and (np.diff(right) > 0).all()


@pytest.mark.parametrize('size', SIZES[:2])
@pytest.mark.parametrize('layout', layouts.LAYOUTS)
def test_a_character_is_inside_its_extent_and_fills_it(
  layout, size, monkeypatch
):
  # Each character in turn is left out; what changes in the image is its ink.
  # Red where extents ignore rotation, stroke, slant, wave or the shrinking of
  # long lines, or are off by a pixel on the inside.
  height, width = size
  set_line = drawing.set_line
  # JPEG moves a little of everything in the blocks around, and no character.
  monkeypatch.setattr(held_out, 'compressed', lambda image, quality: image)
  for index in range(6):
    whole = draw(index, layout=layout, height=height, width=width)
    for place, (left, right) in enumerate(whole.extents.astype(int)):

      def without(*args, _place=place, **kwargs):
        marks = set_line(*args, **kwargs)
        mark = marks[_place]
        marks[_place] = mark._replace(
          fill=0 * mark.fill, outline=0 * mark.outline
        )
        return marks

      with monkeypatch.context() as patch:
        patch.setattr(drawing, 'set_line', without)
        rest = draw(index, layout=layout, height=height, width=width)
      changed = np.abs(whole.image.astype(int) - rest.image).sum((0, 2))
      columns = np.flatnonzero(changed)
      assert columns.size, (index, place)
      assert left <= columns[0] and columns[-1] < right
      # A neighbour or a line over it can hide a column or two at the sides.
      hidden = HIDDEN.get(layout, 3 / height) * height
      assert columns[0] - left <= hidden
      assert right - 1 - columns[-1] <= hidden


def test_layouts_look_different():
  # Light on dark, dark on light, many hues: red where two layouts are one.
  def mean(layout, of):
    return np.mean([of(draw(i, layout=layout).image) for i in range(20)])

  brightness = {name: mean(name, np.mean) for name in layouts.LAYOUTS}
  assert brightness['textured'] < 110 < 150 < brightness['hollow']
  assert brightness['hollow'] < brightness['arcs']

  def roughness(image):
    return np.abs(np.diff(image.astype(float), axis=1)).mean()

  rough = {name: mean(name, roughness) for name in layouts.LAYOUTS}
  assert rough['colors'] > 1.3 * rough['arcs']


def test_every_face_has_every_character_and_faces_differ():
  # Red where a package renamed its files, or a face draws a box for a glyph.
  pictures = set()
  for face in fonts.ALL_FACES:
    masks = [fonts.glyph(face, c, 40)[0].tobytes() for c in CHARSETS['alnum62']]
    assert len(set(masks)) == 62
    assert all(any(mask) for mask in masks)
    pictures.add(tuple(masks))
  assert len(pictures) == len(fonts.ALL_FACES) >= 10


@pytest.mark.parametrize(
  'change, words',
  [
    ({'charset': 'digit'}, ["'digit'", 'alnum36']),
    ({'layouts': ('arc',)}, ["'arc'", 'arcs']),
    ({'layouts': ()}, ['no layout', 'arcs']),
    ({'split': 'valid'}, ["'valid'", 'validation']),
    ({'seed': -1}, ['-1', '2**32']),
    ({'seed': 2**32}, ['2**32']),
    ({'index': -1}, ['-1']),
    ({'height': 8}, ['8', '16']),
    ({'width': 40}, ['40', 'third', '64 pixels']),
    ({'width': 96, 'lengths': (4, 10)}, ['96', '10 characters', '107']),
    ({'lengths': (0, 4)}, ['(0, 4)', 'shortest']),
    ({'lengths': (6, 4)}, ['(6, 4)', 'longest']),
    ({'charset': ''}, ['expected one of digits']),
    ({'charset': '01中あ'}, ["'中' (U+4E2D), 'あ' (U+3042)", 'cannot draw']),
    ({'charset': '01 '}, ["' ' (U+0020)", 'ink']),
  ],
)
def test_errors_name_what_was_found_and_expected(change, words):
  with pytest.raises(ValueError) as error:
    draw(**change)
  assert all(word in str(error.value) for word in words)
