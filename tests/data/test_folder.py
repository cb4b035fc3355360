"""A person's folder: what is read of it, and every way that it can be wrong."""

import csv
import importlib
import os
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from ssljax.data import images
from ssljax.data.folder import open_folder
from ssljax.data.labels import SHOWN
from ssljax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
HEIGHT, WIDTH = 16, 48


def _save(path, value=0, size=(32, 16)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size, (value, 100, 255 - value)).save(path)


def _label(directory, rows, header=('file', 'text')):
  with (directory / 'labels.csv').open('w', newline='') as file:
    csv.writer(file).writerows([header, *rows])


@pytest.fixture
def own(tmp_path):
  """40 images in two folders, 20 of them labelled."""
  names = [f'{"ab"[i % 2]}/{i:02}.png' for i in range(40)]
  for i, name in enumerate(names):
    _save(tmp_path / name, value=5 * i)
  _label(tmp_path, [(name, f'{i:02}7') for i, name in enumerate(names[:20])])
  return tmp_path


def _open(directory, **options):
  options = {'height': HEIGHT, 'width': WIDTH, 'progress': False} | options
  return open_folder(directory, **options)


def _names(found, split):
  return {found.names[i] for i in found.splits[split]}


def test_what_a_folder_holds(own):
  _save(own / '.hidden.png')
  _save(own / '.folder' / 'x.png')
  found = _open(own)
  assert len(found.names) == 40
  assert found.names == sorted(found.names)
  assert found.characters == ''.join(sorted('0123456789'))
  assert found.max_length == 3
  assert found.skipped == []
  assert set(found.splits) == {'unlabeled', 'train', 'test'}
  train, test = _names(found, 'train'), _names(found, 'test')
  assert not train & test
  assert train | test == set(found.labels)
  # Pretraining sees the pixels of labelled images, and none that test.
  assert _names(found, 'unlabeled') == set(found.names) - test


def test_an_example(own):
  source = _open(own, holdout=0.0).open('train')
  assert source.layouts == ('images',)
  example = source[3]
  name = source.describe(3).name
  assert name == 'a/06.png (labels.csv row 8)'
  assert example['text'] == '067' == source.describe(3).text
  assert example['image'].shape == (HEIGHT, WIDTH, 3)
  assert example['image'].dtype == np.uint8
  assert example['image'][0, 0].tolist() == [30, 100, 225]
  assert (example['layout'], example['width']) == (0, 32)
  assert source.describe(3).width == 32
  assert source.describe(3).layout == 0


def test_an_image_without_a_label_says_nothing(own):
  source = _open(own).open('unlabeled')
  texts = [source.describe(i).text for i in range(len(source))]
  assert texts.count('') == 20
  place = texts.index('')
  assert source.describe(place).name.endswith('.png')


def test_index_is_the_place_among_all_images(own):
  found = _open(own)
  for split, places in found.splits.items():
    source = found.open(split)
    assert source.gather(range(len(source)))['index'].tolist() == places


def test_on_disk_as_in_memory(own):
  found = _open(own, memory=0)
  for split in found.splits:
    disk, memory = found.open(split), _open(own).open(split)
    assert type(disk) is not type(memory)
    order = list(range(len(memory)))[::-1]
    a, b = disk.gather(order), memory.gather(order)
    assert set(a) == set(b)
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
      assert a[name].dtype.kind == b[name].dtype.kind
    for i in order:
      assert disk.describe(i).name == memory.describe(i).name
      assert disk.describe(i).text == memory.describe(i).text
      assert disk.describe(i).width == memory.describe(i).width
    for source in (disk, memory):
      for position in (-1, len(source)):
        with pytest.raises(IndexError):
          source[position]


def test_an_image_that_breaks_later_is_named(own):
  source = _open(own, memory=0, holdout=0.0).open('train')
  (own / 'a' / '06.png').write_bytes(b'')
  with pytest.raises(
    UserError, match=r'a/06\.png \(labels.csv row 8\).*no PNG'
  ):
    source[3]


def test_more_images_leave_the_others_where_they_are(own):
  before = _open(own, holdout=0.3)
  for i in range(40, 80):
    _save(own / f'{i}.png')
  rows = [(name, label.text) for name, label in before.labels.items()]
  _label(own, rows + [(f'{i}.png', '1') for i in range(40, 80)])
  after = _open(own, holdout=0.3)
  assert _names(before, 'test') <= _names(after, 'test')
  assert 8 < len(after.splits['test']) < 30
  assert before.contents != after.contents


def test_two_labels_make_two_splits_and_one_makes_one(own):
  rows = [('a/00.png', '1'), ('b/01.png', '2')]
  _label(own, rows)
  for holdout in (0.1, 1.0):
    splits = _open(own, holdout=holdout).splits
    assert len(splits['train']) == len(splits['test']) == 1
  _label(own, rows[:1])
  assert set(_open(own).splits) == {'unlabeled', 'train'}
  _label(own, rows)
  assert 'test' not in _open(own, holdout=0.0).splits


def test_contents_tell_a_changed_folder(own):
  first = _open(own).contents
  assert _open(own).contents == first
  labels = (own / 'labels.csv').read_text()
  (own / 'labels.csv').write_text(labels.replace('067', '068'))
  second = _open(own).contents
  _save(own / 'a' / '00.png', size=(33, 16))
  assert len({first, second, _open(own).contents}) == 3


def test_a_share_outside_zero_to_one_is_refused(own):
  for holdout in (-0.1, 1.1):
    with pytest.raises(UserError, match=f'holdout {holdout}; expected 0 to 1'):
      _open(own, holdout=holdout)


def test_a_name_that_is_not_unicode(own):
  # A file system knows bytes; such a name has no row in a CSV of UTF-8.
  os.rename(own / 'b' / '39.png', os.fsencode(own) + b'/b/\xff.png')
  found = _open(own)
  assert len(found.names) == 40
  assert found.contents == _open(own).contents


def test_a_given_charset_and_length(own):
  found = _open(own, charset='9876543210', max_length=5)
  assert (found.characters, found.max_length) == ('9876543210', 5)


def test_a_byte_order_mark_and_blank_lines(own):
  text = (own / 'labels.csv').read_text()
  (own / 'labels.csv').write_text('\ufeff' + text + '\n\n', encoding='utf-8')
  assert len(_open(own).labels) == 20


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    (
      ('a/30.png', '12x'),
      r"row 22, .*found 'x' \(U\+0078\) in the label '12x'",
    ),
    (('a/30.png', '1 2'), r"found ' ' \(U\+0020\)"),
    (('a/30.png', '12345'), r'row 22.*found 5 characters.*at most 4'),
    (('a/99.png', '1'), r"row 22, 'a/99.png': found no such file"),
    (('../b.png', '1'), r"row 22, '../b.png': found no such file"),
    (('a/02.png', '1'), r"row 22, 'a/02.png': found twice, first in row 4"),
    (('./a/02.png', '1'), r'found twice, first in row 4'),
    (('a/30.png',), r'row 22.*found 1 columns, expected file,text'),
    (('a/30.png', '1', '2'), r'row 22.*found 3 columns'),
  ],
)
def test_a_row_that_cannot_be_used(own, row, message):
  with (own / 'labels.csv').open('a', newline='') as file:
    csv.writer(file).writerow(row)
  with pytest.raises(UserError, match=message):
    _open(own, charset='0123456789', max_length=4)


def test_all_wrong_rows_are_named_at_once(own):
  _label(own, [(f'{i}.png', '1') for i in range(30)])
  with pytest.raises(UserError, match=r'Found 30 rows') as error:
    _open(own)
  assert str(error.value).count('no such file') == SHOWN
  assert 'and 10 more' in str(error.value)


@pytest.mark.parametrize('header', [(), ('bild', 'inhalt'), ('file',)])
def test_another_header(own, header):
  _label(own, [], header=header)
  with pytest.raises(UserError, match=r'Found the header.*expected'):
    _open(own)


def test_labels_that_are_not_text(own):
  (own / 'labels.csv').write_bytes(b'file,text\na/00.png,\x81\x00')
  with pytest.raises(UserError, match=r"found '\\x81' \(U\+0081\)"):
    _open(own)


def _many(directory, count):
  for i in range(count):
    _save(directory / f'{i:03}.png', value=i % 250)


def test_a_few_bad_files_are_skipped_and_listed(tmp_path):
  _many(tmp_path, 199)
  (tmp_path / 'note.txt').write_text('hello')
  path = tmp_path / '007.png'
  path.write_bytes(path.read_bytes()[:-30])
  _label(tmp_path, [('007.png', '1'), ('008.png', '2'), ('009.png', '3')])
  found = _open(tmp_path)
  assert [name for name, _ in found.skipped] == ['007.png', 'note.txt']
  assert 'unreadable' in found.skipped[0][1]
  assert '.txt; expected one of .png' in found.skipped[1][1]
  assert len(found.names) == 198
  # Its row goes with it.
  assert set(found.labels) == {'008.png', '009.png'}


def test_a_link_to_nothing_is_listed_too(tmp_path):
  _many(tmp_path, 99)
  (tmp_path / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  (tmp_path / 'linked').symlink_to(tmp_path)
  assert [name for name, _ in _open(tmp_path).skipped] == ['gone.png']


def test_wrong_labels_are_told_before_images_are_decoded(own, monkeypatch):
  _label(own, [('a/99.png', '1')])
  monkeypatch.setattr(images, 'read_image', None)
  with pytest.raises(UserError, match='no such file'):
    _open(own)


def test_more_than_one_in_a_hundred_stops_with_the_list(tmp_path):
  _many(tmp_path, 197)
  for i in range(2):
    Image.new('RGB', (9, 9)).save(tmp_path / f'scan{i}.tiff')
  with pytest.raises(UserError, match='Found 2 of 199 files') as error:
    _open(tmp_path)
  for i in range(2):
    assert f'scan{i}.tiff: found a .tiff; expected' in str(error.value)


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda path: None, 'Found nothing at'),
    (lambda path: path.write_text(''), 'Found a file at'),
    (
      lambda path: path.mkdir(),
      r'Found no images in .*expected files of \.png',
    ),
  ],
)
def test_no_folder_of_images(tmp_path, make, message):
  make(tmp_path / 'mine')
  with pytest.raises(UserError, match=message):
    _open(tmp_path / 'mine')


def test_a_stage_that_needs_labels_says_what_they_look_like(own):
  (own / 'labels.csv').unlink()
  found = _open(own)
  assert found.characters == '' and found.max_length == 0
  assert set(found.splits) == {'unlabeled'}
  with pytest.raises(UserError, match=r'Found 0 labelled .*file,text'):
    found.open('train')


def test_a_split_without_images_says_why(own):
  found = _open(own, holdout=0.0)
  with pytest.raises(UserError, match=r"Found 20 labelled .*none for 'test'"):
    found.open('test')
  with pytest.raises(UserError, match=r"'tset'.*Did you mean 'test'"):
    found.open('tset')


def test_images_of_another_program(tmp_path):
  """Of a kind that the renderer does not make, at another size."""
  pytest.importorskip('captcha', reason='of the extra benchmarks')
  sys.path.insert(0, str(ROOT / 'benchmarks'))
  kind = importlib.import_module('captcha_folder').KIND
  folders = importlib.import_module('_folders')
  made = kind._replace(count=12, tested=1)
  folders.make(made, tmp_path / 'made', labels=(5,), draws=1)
  found = open_folder(
    tmp_path / 'made' / 'draw0' / '5', height=32, width=96, progress=False
  )
  assert len(found.names) == 12 and len(found.labels) == 5
  example = found.open('train')[0]
  assert example['text'].isdigit() and 4 <= len(example['text']) <= 6
  assert example['width'] == 85  # 160x60 at a height of 32


def _splits(found):
  return {split: _names(found, split) for split in found.splits}


def test_folders_of_ones_own_are_the_splits(tmp_path):
  """Whatever their capitals; nothing else is held out."""
  folders = ['Train', 'VAL', 'testing', 'other']
  names = [f'{folder}/{i}.png' for folder in folders for i in range(8)]
  for i, name in enumerate(names):
    _save(tmp_path / name, value=i)
  labelled = [name for name in names if not name.endswith(('6.png', '7.png'))]
  _label(tmp_path, [(name, '1') for name in labelled])
  found = _open(tmp_path)
  assert _splits(found) == {
    'unlabeled': {name for name in names if name.startswith(('Train', 'oth'))},
    'train': {name for name in labelled if name.startswith(('Train', 'oth'))},
    'validation': {name for name in labelled if name.startswith('VAL')},
    'test': {name for name in labelled if name.startswith('testing')},
  }
  assert len(found.open('validation')) == 6
  first, second = found.warnings
  assert '12 train, 6 validation, 6 test. No others are held out' in first
  assert second.startswith('4 images of your splits')


def test_a_column_of_splits_counts_more_than_folders(own):
  rows = [
    ('a/00.png', '1', 'test'),
    ('b/01.png', '2', ''),
    ('a/02.png', '', ''),
  ]
  _label(own, [*rows, ('b/03.png', '3', 'Valid')], ('file', 'text', 'split'))
  found = _open(own)
  assert _names(found, 'test') == {'a/00.png'}
  assert _names(found, 'validation') == {'b/03.png'}
  assert _names(found, 'train') == {'b/01.png'}
  assert len(found.splits['unlabeled']) == 38
  # Another division is another content, even of the same texts.
  rows[0] = ('a/00.png', '1', 'train')
  _label(own, [*rows, ('b/03.png', '3', 'Valid')], ('file', 'text', 'split'))
  assert _open(own).contents != found.contents
  (own / 'test').mkdir()
  os.rename(own / 'b' / '01.png', own / 'test' / '01.png')
  _label(own, [('test/01.png', '2', 'val')], ('file', 'text', 'split'))
  assert _names(_open(own), 'validation') == {'test/01.png'}


def test_a_test_folder_without_labels_is_left_alone(own):
  for i in range(3):
    _save(own / 'test' / f'{i}.png')
  found = _open(own)
  assert len(found.splits['train']) + len(found.splits['test']) == 20
  assert not any(
    name.startswith('test/') for name in _names(found, 'unlabeled')
  )
  assert not any(name.startswith('test/') for name in _names(found, 'test'))
  assert '3 images of your splits validation and test' in found.warnings[0]


def test_validation_alone_says_where_its_figures_are(own):
  os.rename(own / 'a', own / 'val')
  _label(own, [('val/00.png', '1'), ('b/01.png', '2')])
  found = _open(own)
  assert set(found.splits) == {'unlabeled', 'train', 'validation'}
  assert any('stage.json' in warning for warning in found.warnings)


def test_folders_that_only_train_leave_the_holdout(own):
  os.rename(own / 'a', own / 'train')
  _label(own, [(f'train/{i:02}.png', '1') for i in range(0, 40, 2)])
  assert 'test' in _open(own).splits


def test_texts_in_names_and_what_is_said_of_them(tmp_path):
  for i, text in enumerate(['ab', 'cd', 'ef', 'ab']):
    _save(tmp_path / f'{text}_{i}.png', value=i)
  _save(tmp_path / 'gh.png')
  found = _open(tmp_path, labels='names', holdout=0.0)
  assert found.characters == 'abcdefgh' and len(found.labels) == 5
  name = found.open('train').describe(0).name
  assert name == 'ab_0.png (the text in its name)'
  assert 'no _' in found.warnings[0]
