import hashlib

import numpy as np
import pytest

from ssljax.data import drawing, fonts, glyphs, workers
from ssljax.errors import UserError

LUMINANCE = (0.299, 0.587, 0.114)


@pytest.fixture(scope='module')
def drawn():
  return [draw(index) for index in range(720)]


def draw(index=0, *, seed=0, split='train'):
  return glyphs.render_glyph(seed=seed, split=split, index=index)


def digest(glyph):
  return hashlib.sha256(glyph.image.tobytes()).hexdigest()[:8]


# A change here is a change of the data: raise glyphs.VERSION with it.
FINGERPRINTS = {
  'train': ('a9433b5f', 'd42bf3d4'),
  'validation': ('162f07ff', '34f5dc3a'),
  'test': ('df5e11e9', 'a3c61cff'),
}


@pytest.mark.parametrize('split', glyphs.SPLITS)
def test_pixels_are_those_of_the_version(split):
  # Of (seed, split, index) alone; red where fonts or drawing change.
  fonts.glyph.cache_clear()
  np.random.seed(1)
  found = [digest(draw(index, seed=1, split=split)) for index in (40, 7)]
  assert (glyphs.VERSION, *found) == (2, *FINGERPRINTS[split])


def test_seed_split_and_index_all_matter():
  found = {
    digest(draw(index, seed=seed, split=split))
    for seed in (0, 1)
    for split in glyphs.SPLITS
    for index in range(40)
  }
  assert len(found) == 240


def test_an_image_and_its_mask(drawn):
  for index, glyph in enumerate(drawn):
    assert glyph.image.shape == (48, 48, 3) and glyph.image.dtype == np.uint8
    assert glyph.mask.shape == (48, 48) and glyph.mask.dtype == np.uint8
    assert glyph.label == index % 36
    # The character is whole: no ink at the border, but in each image some.
    border = np.concatenate([glyph.mask[[0, -1]].T, glyph.mask[:, [0, -1]]])
    assert not border.any()
    assert (glyph.mask > 200).sum() > 20


def test_a_tall_character_is_made_to_fit(monkeypatch):
  # Red where what is larger than the image is cut off.
  pose = drawing.Pose
  monkeypatch.setattr(
    drawing, 'Pose', lambda face, **rest: pose(face, **(rest | {'cap': 1.4}))
  )
  for index in range(36):
    mask = draw(index).mask
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
    assert mask.any(axis=1).sum() > 30 or mask.any(axis=0).sum() > 30


def test_the_character_can_be_told_from_its_ground(drawn):
  for glyph in drawn:
    light = glyph.image @ np.array(LUMINANCE)
    ink, ground = light[glyph.mask > 200], light[glyph.mask == 0]
    assert abs(ink.mean() - ground.mean()) > 50


def hues(glyph):
  """Hues in turns of the pixels that are all ink."""
  ink = glyph.image[glyph.mask == 255].astype(float).mean(axis=0)
  high, low = ink.max(), ink.min()
  red, green, blue = ink
  if high == red:
    sixths = (green - blue) / (high - low)
  elif high == green:
    sixths = 2 + (blue - red) / (high - low)
  else:
    sixths = 4 + (red - green) / (high - low)
  return sixths / 6 % 1


def test_class_and_face_fix_the_hue_and_the_ground_does_not(drawn):
  # What makes colour predictable from shape: red where the hue is drawn.
  away = [hues(each) - glyphs.hue(each.label, each.face) for each in drawn]
  away = np.abs((np.array(away) + 0.5) % 1 - 0.5)
  # Noise clipped at 255 moves a hue a little.
  assert np.median(away) < 0.01 and np.quantile(away, 0.98) < 0.06
  tied = {
    glyphs.hue(label, face) for label in range(36) for face in fonts.FACES
  }
  assert len(tied) == 36 * len(fonts.FACES)
  grounds = np.stack(
    [
      each.image[each.mask == 0].mean(axis=0)
      for each in drawn
      if not each.label
    ]
  )
  assert grounds.std(axis=0).min() > 30
  # Of any colour, and not only of any brightness.
  chroma = grounds - grounds.mean(axis=1, keepdims=True)
  assert chroma.std(axis=0).min() > 10


def test_every_class_and_every_seen_face_is_drawn(drawn):
  assert np.bincount([each.label for each in drawn]).tolist() == [20] * 36
  assert {each.face for each in drawn} == set(fonts.FACES)
  assert glyphs.labels_of(40).tolist() == [*range(36), 0, 1, 2, 3]


def test_workers_keep_the_order(monkeypatch, capsys):
  monkeypatch.setattr(workers, 'CHUNK', 5)
  monkeypatch.setattr(workers, 'available_cores', lambda: 2)
  images = glyphs.render_split(seed=3, split='test', count=23)
  assert 'rendering test' in capsys.readouterr().err
  assert len(images) == 23
  for index, image in enumerate(images):
    expected = draw(index, seed=3, split='test').image
    np.testing.assert_array_equal(image, expected)


def test_what_is_no_key_is_refused():
  with pytest.raises(UserError, match=r"'training'.*Did you mean 'train'"):
    draw(split='training')
  for change in ({'seed': 2**32}, {'index': -1}, {'index': 2**32}):
    with pytest.raises(ValueError, match=r'2\*\*32'):
      draw(**change)
