"""The user's images, and rendered text that joins with them."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from configs import common
from ssljax.data import datasets, images, sources, text_images
from ssljax.data.layouts import LAYOUTS
from ssljax.data.render import render
from ssljax.errors import UserError


def _label(folder, texts):
  with (folder / 'labels.csv').open('w', newline='') as file:
    rows = [(f'{i}.png', text) for i, text in enumerate(texts)]
    csv.writer(file).writerows([('file', 'text'), *rows])


@pytest.fixture
def own(tmp_path):
  """Nine images, of which the median is 80 pixels wide at a height of 48."""
  folder = tmp_path / 'own'
  folder.mkdir()
  for i in range(9):
    size = (60 + 5 * i, 48)
    Image.new('RGB', size, (9 * i, 90, 200)).save(folder / f'{i}.png')
  return folder


@pytest.fixture
def opened(own, tmp_path):
  def open_own(charset='', **options):
    config = common.own_data(str(own), charset, 'smoke')
    config.update({'rendered': 40} | options)
    return datasets.open_dataset(config.to_dict(), data_dir=str(tmp_path))

  return open_own


def _expected(index, **change):
  recipe = {
    'seed': 1,
    'split': 'train',
    'charset': 'digits',
    'layouts': tuple(LAYOUTS),
    'height': 48,
    'width': 96,
  }
  return render(index=index, **(recipe | change))


def test_the_frame_is_the_users_own_whatever_the_labels(own, opened):
  without = opened('digits')
  assert without.resolved['height'] == 48
  assert without.resolved['width'] == 104
  _label(own, ['123456789'] * 5)
  labelled = opened('digits')
  for name in ('height', 'width'):
    assert labelled.resolved[name] == without.resolved[name]
  assert labelled.resolved['contents'] != without.resolved['contents']
  assert labelled.note == without.note != ''
  given = opened('digits', height=32, width=64)
  assert given.open('unlabeled')[0]['image'].shape == (32, 64, 3)
  assert given.open('rendered')[0]['image'].shape == (32, 64, 3)


def test_rendered_text_stands_as_the_users_pictures_do(opened):
  source = opened('digits').open('rendered')
  assert len(source) == 40
  for index, example in enumerate(source):
    picture = Image.fromarray(_expected(index).image)
    # 80 pixels are too few for six characters: they are made smaller.
    pixels, _ = images.fit(picture, 48, 80)
    pixels, width = images.fit(Image.fromarray(pixels), 48, 104)
    np.testing.assert_array_equal(example['image'], pixels)
    assert example['width'] == width == 80
    assert example['text'] == _expected(index).text
    assert source.layouts[example['layout']] == _expected(index).layout
    assert example['index'] == index
    assert source.describe(index) == sources.Description(
      f'rendered example {index}', example['text'], 80, example['layout']
    )
  assert source.layouts == tuple(LAYOUTS)


def test_a_text_that_fits_is_rendered_at_the_typical_width(opened):
  source = opened('digits', lengths=(2, 3)).open('rendered')
  expected = _expected(5, width=80, lengths=(2, 3))
  np.testing.assert_array_equal(source[5]['image'][:, :80], expected.image)
  assert source[5]['text'] == expected.text


def test_rendered_images_validate_with_a_twentieth(opened):
  source = opened('digits').open('rendered_validation')
  assert len(source) == 2
  assert source[1]['text'] == _expected(1, split='validation').text


def test_characters_and_lengths_are_those_of_the_labels(own, opened):
  _label(own, ['aé', 'é7x', 'x7aéa'])
  found = opened()
  assert found.resolved['lengths'] == (2, 5)
  source = found.open('rendered')
  texts = [source.describe(i).text for i in range(40)]
  assert set(''.join(texts)) == set('7aéx')
  assert {len(text) for text in texts} == {2, 3, 4, 5}
  assert found.resolved['max_length'] == 5
  longer = opened(lengths=(3, 8))
  assert longer.resolved['lengths'] == (3, 8)
  assert longer.resolved['max_length'] == 8


def test_lengths_without_labels(opened):
  def resolved(**options):
    found = opened('digits', **options).resolved
    return found['lengths'], found['max_length']

  assert resolved() == ((4, 6), 6)
  assert resolved(lengths=(2, 3)) == ((2, 3), 3)
  assert resolved(max_length=10) == ((4, 6), 10)
  assert resolved(max_length=5) == ((4, 5), 5)
  with pytest.raises(UserError, match=r'Found lengths \(6, 4\)'):
    opened('digits', lengths=(6, 4))


@pytest.mark.parametrize('memory', [0, 2**30])
def test_rendered_text_joins_with_the_users_images(opened, memory):
  found = opened('digits', memory=memory)
  rendered, own = found.open('rendered'), found.open('unlabeled')
  assert isinstance(rendered, sources.MemorySource) == bool(memory)
  joined = sources.Joined([rendered, own])
  assert len(joined) == 49
  assert joined.layouts == (*LAYOUTS, 'images')
  order = [44, 3, 48, 40, 39]
  batch = joined.gather(order)
  assert set(batch) == set(own[0]) == set(rendered[0])
  assert batch['index'].tolist() == order
  for row, position in enumerate(order):
    mine = position >= 40
    part = own[position - 40] if mine else rendered[position]
    example = joined[position]
    described = joined.describe(position)
    for name in set(batch) - {'index', 'layout'}:
      np.testing.assert_array_equal(batch[name][row], part[name])
      np.testing.assert_array_equal(example[name], part[name])
    for layout in (batch['layout'][row], example['layout'], described.layout):
      wanted = 'images' if mine else rendered.layouts[part['layout']]
      assert joined.layouts[layout] == wanted
    assert described.text == part['text']
    assert described.width == part['width']
    assert batch['layout'].dtype == example['layout'].dtype == np.int32
  # Layouts of both can be chosen by name.
  assert len(sources.subset(joined, 9, ['images'])) == 9


def test_nothing_is_rendered_before_a_split_is_opened(opened, monkeypatch):
  monkeypatch.setattr(text_images, 'prepare', None)
  found = opened()  # without labels and without a charset
  assert found.splits == ('unlabeled', 'rendered', 'rendered_validation')
  assert len(found.open('unlabeled')) == 9
  with pytest.raises(UserError, match=r'no labels in .*charset=digits'):
    found.open('rendered')


def test_what_cannot_be_rendered_is_told(own, opened):
  with pytest.raises(UserError, match=r"'中' \(U\+4E2D\)"):
    opened('01中').open('rendered')
  none = opened('digits', rendered=0)
  assert none.splits == ('unlabeled',)
  with pytest.raises(UserError, match=r'no images.*data\.rendered=20000'):
    none.open('rendered')
  with pytest.raises(UserError, match=r"'rendred'.*Did you mean 'rendered'"):
    none.open('rendred')


def test_the_files_behind_a_split(own, opened):
  _label(own, ['1234', '5678'])
  found = opened(holdout=0.0)
  assert found.files('train') == ['0.png', '1.png']
  assert found.files('unlabeled') == [f'{i}.png' for i in range(9)]
  assert not found.files('rendered')
  os.rename(own / '3.png', os.fsencode(own) + b'/3\xff.png')
  assert r'3\xff.png' in opened().files('unlabeled')  # which a CSV can hold


def test_the_scale_sets_how_much_is_rendered():
  assert common.own_data('x').rendered == 20_000
  assert common.own_data('x', scale='smoke').rendered == 256


@pytest.mark.parametrize(
  ('charset', 'meant'),
  [
    ('alnum63', 'alnum62'),
    ('alnum37', 'alnum36'),
    ('Digits', 'digits'),
    ('digit', 'digits'),
    ('hex16', None),
    ('0120', None),
  ],
)
def test_a_charset_that_looks_like_a_misspelt_name(opened, charset, meant):
  message = rf"charset '{charset}'.*alnum62.*ascending"
  if meant:
    message += rf".*Did you mean '{meant}'"
  with pytest.raises(UserError, match=message):
    opened(charset)


@pytest.mark.parametrize(
  'charset',
  ['abc123', '47abc', '3ACEFHKMNPRTXY', 'xyz', 'abcABC012', '36almnu'],
)
def test_characters_are_no_name(opened, charset):
  assert opened(charset).resolved['charset'] == charset


def test_warnings_of_the_labels_are_told(own, opened):
  _label(own, ['12 ', '34'])
  warning, *_ = opened('digits').warnings  # others tell of plain pictures
  assert 'spaces around the text were removed in 1 row (2)' in warning


def test_where_the_labels_are_is_an_option(own, opened, tmp_path):
  _label(own, ['12', '34', '56'])
  (tmp_path / 'mended.csv').write_text('file,text\n0.png,78\n')
  config = common.own_data(str(own), labels=str(tmp_path / 'mended.csv'))
  found = datasets.open_dataset(config.to_dict(), data_dir=str(tmp_path))
  texts = {example['text'] for example in found.open('unlabeled')}
  assert {'78', '34'} & texts and '12' not in texts
  # Older runs have no such option, and a config without it is as theirs.
  assert 'labels' not in common.own_data(str(own))
