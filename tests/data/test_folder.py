"""A person's folder: what is read of it, and every way that it can be wrong."""

import csv
import importlib
import os
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ssljax.data import files, images, reading
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
    UserError, match=r'a/06\.png \(labels.csv row 8\).*no image'
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


def test_names_that_cannot_be_printed_are_escaped(own):
  # A file system knows bytes; such a name has no row in a CSV of UTF-8.
  for name, code in (('39', b'\xff'), ('37', b'\n'), ('35', b'\xc3\xa9')):
    path = os.fsencode(own / 'b' / f'{name}.png')
    os.rename(path, os.fsencode(own) + b'/b/' + code + b'.png')
  found = _open(own)
  assert len(found.names) == 40
  assert found.contents == _open(own).contents
  source = found.open('unlabeled')
  names = {source.describe(place).name for place in range(len(source))}
  assert {r'b/\xff.png', r'b/\n.png', 'b/\xe9.png'} <= names
  with open(os.fsencode(own) + b'/b/\xff.png', 'wb') as file:
    file.write(b'no image')
  _many(own, 100)
  assert [name for name, _ in _open(own).skipped] == [r'b/\xff.png']


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
    (('a/30.png', ''), r"row 22, 'a/30.png': found an empty label"),
    (
      ('a/30.png', '12x'),
      r"row 22, .*found 'x' \(U\+0078\) in the label '12x'",
    ),
    (('a/30.png', '12 '), r"found ' ' \(U\+0020\)"),
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


@pytest.mark.parametrize('header', [(), ('name', 'label'), ('file;text',)])
def test_another_header(own, header):
  _label(own, [], header=header)
  with pytest.raises(UserError, match=r'Found the header.*expected'):
    _open(own)


def test_labels_that_are_not_text(own):
  (own / 'labels.csv').write_bytes(b'file,text\n\xff\xfe\x00')
  with pytest.raises(UserError, match=r'unreadable.*UTF-8'):
    _open(own)


def _many(directory, count):
  for i in range(count):
    _save(directory / f'{i:03}.png', value=i % 250)


def test_a_few_bad_files_are_skipped_and_listed(tmp_path):
  _many(tmp_path, 199)
  (tmp_path / 'page.jpg').write_text('<html>')  # known by its head
  path = tmp_path / '007.png'
  path.write_bytes(path.read_bytes()[:-30])  # known when it is decoded
  _label(tmp_path, [('007.png', '1'), ('008.png', '2'), ('009.png', '3')])
  found = _open(tmp_path)
  assert [name for name, _ in found.skipped] == ['007.png', 'page.jpg']
  assert 'unreadable' in found.skipped[0][1]
  assert 'found a web page in it' in found.skipped[1][1]
  assert len(found.names) == 198
  # Its row goes with it.
  assert set(found.labels) == {'008.png', '009.png'}
  source = found.open('unlabeled')
  assert len(source) == 197
  for place, example in enumerate(source):
    name = source.describe(place).name
    assert int(name[:3]) == example['image'][0, 0, 0]


def test_only_what_is_an_image_or_claims_to_be_counts(tmp_path):
  _many(tmp_path, 20)
  system = 'Thumbs.db desktop.ini README.txt notes .DS_Store ._000.png'
  for name in system.split():
    (tmp_path / name).write_bytes(b'x' * 100)
  (tmp_path / 'BMW').write_bytes(b'BMW and so on, a text like any other')
  for folder in ('__MACOSX', '@eaDir'):
    _save(tmp_path / folder / '0.png')
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'gone').symlink_to(tmp_path / 'nowhere')
  found = _open(tmp_path)
  assert (len(found.names), found.skipped) == (20, [])
  # By its content, and by its name alone.
  Image.new('RGB', (9, 9)).save(tmp_path / 'scan', format='TIFF')
  (tmp_path / 'photo.HEIC').write_bytes(b'x')
  assert set(files.list_files(tmp_path)) - set(found.names) == {
    'scan',
    'photo.HEIC',
  }


def test_a_pipe_is_named_and_never_opened(tmp_path):
  _many(tmp_path, 99)
  os.mkfifo(tmp_path / 'pipe.png')
  assert _open(tmp_path).skipped == [
    ('pipe.png', 'found a pipe; expected a file')
  ]


def test_links_to_folders_are_followed_without_loops(tmp_path):
  own, other = tmp_path / 'own', tmp_path / 'other'
  for i in range(3):
    _save(own / 'real' / f'{i}.png')
    _save(other / f'{i}.png')
  (other / 'deep').mkdir()
  _save(other / 'deep' / '3.png')
  links = {
    'a': own / 'real',  # has its images already
    'b': other,
    'c': other / 'deep',
    'd': own,
    'e': tmp_path,  # leads here again
  }
  for name, target in links.items():
    (own / name).symlink_to(target)
  (other / 'back').symlink_to(own)
  _save(tmp_path / 'above.png')  # nobody who links back wants this too
  assert files.list_files(own) == [
    *(f'b/{i}.png' for i in range(3)),
    'b/deep/3.png',
    *(f'real/{i}.png' for i in range(3)),
  ]


def test_a_link_to_nothing_is_listed_too(tmp_path):
  _many(tmp_path, 99)
  (tmp_path / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  (tmp_path / 'linked').symlink_to(tmp_path)
  assert [name for name, _ in _open(tmp_path).skipped] == ['gone.png']


def test_wrong_labels_are_told_before_images_are_decoded(own, monkeypatch):
  _label(own, [('a/99.png', '1')])
  monkeypatch.setattr(images, 'size_of', None)
  with pytest.raises(UserError, match='no such file'):
    _open(own)


def test_more_than_one_in_a_hundred_stops_with_the_list(tmp_path, monkeypatch):
  _many(tmp_path, 197)
  for i in range(2):
    (tmp_path / f'scan{i}.tiff').write_bytes(b'%PDF')
  # Their heads tell, and nothing has to be decoded.
  monkeypatch.setattr(reading, 'read_files', None)
  with pytest.raises(UserError, match='Found 2 of 199 files') as error:
    _open(tmp_path)
  for i in range(2):
    assert f'scan{i}.tiff: found PDF in it; expected' in str(error.value)


def test_every_image_is_decoded_once(own, monkeypatch):
  decoded = []
  load = PngImagePlugin.PngImageFile.load_end
  monkeypatch.setattr(
    PngImagePlugin.PngImageFile,
    'load_end',
    lambda image: decoded.append(image) or load(image),
  )
  found = _open(own, height=0, width=0)
  for split in found.splits:
    source = found.open(split)
    source.gather(range(len(source)))
  assert len(decoded) == 40


def test_processes_read_what_threads_read(own, monkeypatch):
  (own / 'b' / '39.png').write_bytes(b'\x89PNG\r\n\x1a\n')
  _many(own, 100)
  threads = _open(own)
  monkeypatch.setattr(reading, 'MANY', 0)
  monkeypatch.setattr(reading.workers, 'available_cores', lambda: 2)
  processes = _open(own)
  assert processes.skipped == threads.skipped != []
  assert processes.contents == threads.contents
  for name in ('image', 'width', 'text'):
    np.testing.assert_array_equal(
      processes.held.columns[name], threads.held.columns[name]
    )


def test_the_frame_is_that_of_the_pictures_not_of_their_heads(own):
  """A wide picture that is broken further on, and a PNG turned at its end."""
  _many(own, 100)
  frame = _open(own, height=0, width=0).fitted.frame
  wide = own / 'wide.png'
  _save(wide, size=(300, 40))
  assert _open(own, height=0, width=0).fitted.frame != frame
  wide.write_bytes(wide.read_bytes()[:60])
  found = _open(own, height=0, width=0)
  assert found.skipped and found.fitted.frame == frame
  assert found.open('unlabeled')[0]['image'].shape[:2] == frame


def test_pictures_that_show_nothing_are_named(tmp_path):
  rng = np.random.default_rng(0)
  for i in range(20):
    pixels = rng.integers(0, 256, (20, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{i:02}.png')
  Image.new('RGBA', (60, 20)).save(tmp_path / 'clear.png')
  _save(tmp_path / 'plain.png')
  blue = np.zeros((20, 60, 3), np.uint8)
  blue[5:10, 5:10, 2] = 255
  Image.fromarray(blue).save(tmp_path / 'blue.png')
  (warning,) = _open(tmp_path).warnings
  assert warning.startswith('2 of 23 pictures show nothing')
  assert ': clear.png, plain.png.' in warning


def _line(path, size, rows):
  """Dark bars of some rows on white."""
  pixels = np.full((size[1], size[0], 3), 255, np.uint8)
  pixels[rows, 10:-10:3] = 0
  Image.fromarray(pixels).save(path)


def test_text_that_gets_too_low_is_warned_of(tmp_path):
  for i in range(20):
    _line(tmp_path / f'{i}.png', (120, 40), slice(10, 30))
  assert _open(tmp_path, height=0, width=0).warnings == ()
  for i in range(20):
    _line(tmp_path / f'long{i}.png', (900, 40), slice(10, 30))
  (warning,) = _open(tmp_path, height=0, width=0).warnings
  # Half of the 17 rows that are left of 40.
  assert '20 of 40 pictures' in warning and 'about 9 pixels high' in warning
  assert '48 x 384' in warning and '--config.data.width=1080' in warning
  assert _open(tmp_path, height=0, width=1080).warnings == ()


def test_text_in_the_middle_of_nothing_is_warned_of(tmp_path):
  for i in range(20):
    _line(tmp_path / f'{i}.png', (120, 240), slice(110, 140))
  (warning,) = _open(tmp_path, height=0, width=0).warnings
  assert '20 of 20 pictures' in warning and 'about 6 pixels high' in warning
  assert (
    'closer to the text' in warning and '--config.data.height=96' in warning
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda path: None, 'Found nothing at'),
    (lambda path: path.write_text(''), 'Found a file at'),
    (
      lambda path: path.mkdir(),
      r'Found no images in .*mine; expected some of PNG, JPEG',
    ),
    (
      lambda path: (
        (path / 'a').mkdir(parents=True)
        or (path / 'a' / 'b.Pdf').write_bytes(b'%PDF')
      ),
      r'Found no images in .*, only 1 others \(\.Pdf\); expected some of PNG',
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
