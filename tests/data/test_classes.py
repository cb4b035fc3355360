"""A folder of images in folders of their classes, and how it can be wrong."""

import re

import numpy as np
import pytest
from PIL import Image

from ssljax.data import files, reading
from ssljax.data.classes import middle_square, open_classes
from ssljax.errors import UserError


def save(path, value=0, size=(20, 16)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size, (value, 100, 255 - value)).save(path)


def opened(directory, **options):
  """{split: source}, classes, digest, what is skipped, and warnings."""
  options = {'stored': 8, 'memory': 2**20, 'progress': False} | options
  openers, *rest, _ = open_classes(directory, **options)
  return {split: opener() for split, opener in openers.items()}, *rest


def names(source):
  return {source.describe(place).name for place in range(len(source))}


@pytest.fixture
def own(tmp_path):
  for place in range(60):
    name = f'{("dog", "cat", "emu")[place % 3]}/{place:02}.png'
    save(tmp_path / name, 4 * place)
  return tmp_path


@pytest.mark.parametrize('memory', [0, 2**20])
def test_folders_are_classes(own, memory):
  splits, classes, _, skipped, _ = opened(own, memory=memory)
  assert classes == ('cat', 'dog', 'emu')
  assert skipped == []
  everything = []
  for source in splits.values():
    everything += names(source)
    for place, example in enumerate(source):
      name = source.describe(place).name
      assert classes[example['label']] == name.partition('/')[0]
      assert example['index'] == place
      value = 4 * int(name[-6:-4])
      assert example['image'].tolist() == [[[value, 100, 255 - value]] * 8] * 8
  assert sorted(everything) == files.list_files(own)
  sizes = {split: len(source) for split, source in splits.items()}
  assert sizes['test'] > sizes['validation'] > 1 and sizes['train'] > 30, sizes


def test_more_images_move_no_other(own):
  before = {split: names(each) for split, each in opened(own)[0].items()}
  for place in range(30):
    save(own / 'ape' / f'{place}.png')  # a class that comes first
  after, classes, *_ = opened(own)
  assert classes == ('ape', 'cat', 'dog', 'emu')
  for split, found in before.items():
    assert found < names(after[split])


@pytest.mark.parametrize('count', [2, 3, 5])
def test_few_images_still_train_and_test(tmp_path, count):
  for place in range(count):
    save(tmp_path / f'{place}' / 'x.png')
  splits, *_ = opened(tmp_path)
  assert {'train', 'test'} <= set(splits)


def test_images_without_folders_are_all_to_learn_from(tmp_path):
  for place in range(20):
    save(tmp_path / f'{place}.png')
  splits, classes, *_ = opened(tmp_path)
  assert classes == () and set(splits) == {'train'}
  assert splits['train'].labels.tolist() == [-1] * 20


def test_some_images_may_have_no_class(own):
  save(own / 'x.png')
  splits, classes, *_ = opened(own)
  assert classes == ('cat', 'dog', 'emu')
  train = splits['train']
  assert 'x.png' in names(train)
  assert (train.labels == -1).sum() == 1


def test_splits_are_as_given(tmp_path):
  for place in range(12):
    save(tmp_path / 'train' / 'ab'[place % 2] / f'{place}.png')
  save(tmp_path / 'validation' / 'b' / 'x.png')
  save(tmp_path / 'test' / 'a' / 'deep' / 'x.png')
  save(tmp_path / 'test' / 'y.png')
  splits, classes, _, skipped, _ = opened(tmp_path)
  *_, pictures = open_classes(tmp_path, stored=8, memory=0, progress=False)
  assert pictures == [(20, 16)] * 14  # not of what is skipped
  assert classes == ('a', 'b')
  assert {split: len(source) for split, source in splits.items()} == {
    'train': 12,
    'validation': 1,
    'test': 1,
  }
  assert splits['test'].labels.tolist() == [0]
  assert splits['validation'].labels.tolist() == [1]
  # It could not be scored.
  assert [file for file, _ in skipped] == ['test/y.png']


@pytest.mark.parametrize('word', ['val', 'valid', 'Validation', 'VAL'])
@pytest.mark.parametrize('train, test', [('train', 'test'), ('Train', 'TEST')])
def test_splits_are_known_by_their_usual_names(tmp_path, train, word, test):
  for place in range(12):
    save(tmp_path / train / 'ab'[place % 2] / f'{place}.png')
  save(tmp_path / word / 'b' / 'x.png')
  save(tmp_path / test / 'a' / 'x.png')
  splits, classes, *_ = opened(tmp_path)
  assert classes == ('a', 'b')
  sizes = {split: len(source) for split, source in splits.items()}
  assert sizes == {'train': 12, 'validation': 1, 'test': 1}


def test_splits_without_a_test_are_warned_of(tmp_path):
  for split in ('train', 'val'):
    for place in range(12):
      save(tmp_path / split / 'ab'[place % 2] / f'{place}.png')
  splits, *_, warnings = opened(tmp_path)
  assert set(splits) == {'train', 'validation'}
  assert 'no accuracy can be given' in warnings[0]
  save(tmp_path / 'test' / 'a' / 'x.png')
  assert not any('accuracy' in warning for warning in opened(tmp_path)[4])


def test_a_linked_class_is_followed(tmp_path):
  for place in range(9):
    save(tmp_path / 'own' / 'a' / f'{place}.png')
    save(tmp_path / 'elsewhere' / f'{place}.png')
  (tmp_path / 'own' / 'b').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'elsewhere' / 'back').symlink_to(tmp_path / 'own')
  splits, classes, *_ = opened(tmp_path / 'own')
  assert classes == ('a', 'b')
  assert sum(len(source) for source in splits.values()) == 18


def test_every_image_is_read_once(own, monkeypatch):
  read, count = reading.images.read_image, []
  monkeypatch.setattr(
    reading.images, 'read_image', lambda data: count.append(1) or read(data)
  )
  splits, *_ = opened(own)
  for source in splits.values():
    source.gather(range(len(source)))
  assert len(count) == 60


def test_a_class_of_few_images_is_named(own):
  save(own / 'ape' / 'x.png')
  for place in range(3):
    save(own / 'bee' / f'{place}.png')
  warning, _ = opened(own)[4]
  assert '2 of 5 classes have fewer than 5 images' in warning
  counts = [int(n) for n in re.findall(r'(?:ape|bee) with (\d)', warning)]
  assert len(counts) == 2 and sum(counts) <= 4 and 'cat' not in warning


def test_pictures_of_one_colour_are_warned_of(own):
  (warning,) = opened(own)[4]
  assert warning.startswith('60 of 60 pictures show nothing')


def test_a_class_may_be_called_train(tmp_path):
  # Red where its images lose their label, and are never tested.
  for name in ('train', 'bus', 'test'):
    for place in range(9):
      save(tmp_path / name / f'{place}.png')
  splits, classes, *_ = opened(tmp_path)
  assert classes == ('bus', 'test', 'train')
  assert sum(len(source) for source in splits.values()) == 27
  assert not any((source.labels < 0).any() for source in splits.values())


@pytest.mark.parametrize(
  'files, words',
  [
    (['Train/a/1.png', 'b/a/1.png'], ['Train', 'also images in', '\n  b']),
    (['train/a/1.png', '1.png'], ['train', 'also images in']),
    (['test/a/1.png'], ['no training image', 'train']),
    (['train/a/1.png', 'test/A/1.png'], ['test', 'no image', '\n  A']),
  ],
)
def test_what_can_be_read_in_more_than_one_way_is_refused(
  tmp_path, files, words
):
  for file in files:
    save(tmp_path / file)
  with pytest.raises(UserError) as error:
    opened(tmp_path)
  assert all(word in str(error.value) for word in words), error.value


def test_a_few_bad_files_are_left_out_and_many_stop(tmp_path):
  for place in range(100):
    save(tmp_path / 'ab'[place % 2] / f'{place}.png')
  (tmp_path / 'a' / 'broken.png').write_bytes(b'no image')
  splits, _, _, skipped, _ = opened(tmp_path)
  assert [file for file, _ in skipped] == ['a/broken.png']
  assert not any('a/broken.png' in names(each) for each in splits.values())
  (tmp_path / 'a' / 'notes.txt').write_text('of mine')
  assert len(opened(tmp_path)[3]) == 1  # which never said to be an image
  (tmp_path / 'a' / 'page.jpg').write_text('<html>')
  with pytest.raises(UserError, match=r'2 of 102 .*\n.*broken.*\n.*page.jpg'):
    opened(tmp_path)


def test_an_image_that_goes_away_is_named(own):
  splits, *_ = opened(own, memory=0)
  source = splits['train']
  (own / source.describe(2).name).write_bytes(b'')
  with pytest.raises(
    UserError, match=f'^{source.describe(2).name} was an image'
  ):
    source.gather([1, 2])


def test_the_digest_tells_contents(own):
  before = opened(own)[2]
  assert opened(own)[2] == before
  save(own / 'dog' / '00.png', 3)
  assert opened(own)[2] != before


def test_the_middle_is_cut_from_any_shape():
  # Three bands, of which the middle one is the square.
  pixels = np.zeros((30, 90, 3), np.uint8)
  pixels[:, 30:60] = 200
  wide = Image.fromarray(pixels)
  tall = Image.fromarray(pixels.swapaxes(0, 1).copy())
  for image in (wide, tall):
    for size in (10, 30, 64):
      found = middle_square(image, size)
      assert found.shape == (size, size, 3)
      # Its edge is blended with what is beside it, and on both sides alike.
      edge = size // 8
      inner = found[edge:-edge, edge:-edge].astype(int)
      assert np.abs(inner - 200).max() <= 3
      assert (found == found[::-1, ::-1]).all() and found.min() > 90
  # Resized before it is cut, this would be 30 GB.
  strip = Image.new('RGB', (300_000, 1))
  assert middle_square(strip, 200).shape == (200, 200, 3)


def test_an_image_of_the_size_stays_as_it_is():
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  found = middle_square(Image.fromarray(pixels), 8)
  np.testing.assert_array_equal(found, pixels)
