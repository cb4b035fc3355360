"""Sets of tensorflow-datasets by name, from files of CIFAR's shapes."""

import io
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ssljax.data import datasets, prepared_images
from ssljax.errors import UserError

CIFAR = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)


def encoded(pixels, kind='PNG'):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, kind)
  file.seek(0)
  return file


def prepare(data_dir, splits, *, name='cifar10', features=None, **options):
  """Writes a set of that name: of each split a list of examples."""
  options = {'file_format': 'array_record'} | options
  features = features or {
    'image': tfds.features.Image(shape=(32, 32, 3)),
    'label': tfds.features.ClassLabel(names=CIFAR),
  }

  def _info(self):
    info = tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )
    info.initialize_from_bucket = lambda: None
    return info

  def _shard_iterators_per_split(self, dl_manager):
    return {
      split: [lambda examples=examples: iter(enumerate(examples))]
      for split, examples in splits.items()
    }

  body = {
    'VERSION': tfds.core.Version('3.0.2'),
    'name': name,
    'url_infos': None,
    '_info': _info,
    '_shard_iterators_per_split': _shard_iterators_per_split,
    '_log_download_bytes': lambda self: None,
    '_log_download_done': lambda self: None,
  }
  with tfds.core.registered.skip_registration():
    kind = type('Mock', (tfds.core.ShardBasedBuilder,), body)
  kind(data_dir=data_dir, **options).download_and_prepare()


def cifar(count, seed=0):
  """Random pixels, the first of which is the place among the count."""
  pixels = np.random.default_rng(seed).integers(
    0, 256, (count, 32, 32, 3), np.uint8
  )
  pixels[:, 0, 0] = np.arange(count)[:, None]
  return pixels


def examples(pixels, kind='PNG', label=None):
  return [
    {
      'image': encoded(each, kind),
      'label': place % 10 if label is None else label,
    }
    for place, each in enumerate(pixels)
  ]


def opened(data_dir, name='cifar10', **options):
  options = {'name': name, 'size': 32, 'seed': 0, 'counts': {}} | options
  return datasets.open_dataset(options, data_dir=str(data_dir))


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('data')
  prepare(
    data_dir,
    {'train': examples(cifar(200)), 'test': examples(cifar(30, seed=1))},
  )
  return data_dir


@pytest.mark.parametrize('memory', [0, 2**20])
def test_what_was_prepared_is_read(prepared, memory):
  found = opened(prepared, memory=memory)
  assert found.splits == ('train', 'validation', 'test')
  assert found.resolved['classes'] == CIFAR
  assert found.resolved['contents'] == 'cifar10/3.0.2 200 30'
  train, validation = found.open('train'), found.open('validation')
  assert (len(train), len(validation)) == (180, 20)
  expected, seen = cifar(200), []
  for source in (train, validation):
    assert source.classes == CIFAR
    for place, example in enumerate(source):
      number = example['image'][0, 0, 0]
      seen.append(number)
      np.testing.assert_array_equal(example['image'], expected[number])
      assert example['label'] == number % 10 == source.labels[place]
  assert sorted(seen) == list(range(200))
  test = found.open('test').gather(range(30))
  np.testing.assert_array_equal(test['image'], cifar(30, seed=1))
  assert test['label'].tolist() == list(range(10)) * 3


def test_the_part_that_validates_is_fixed(prepared):
  one, other = (
    opened(prepared, seed=seed).open('validation').gather(range(20))
    for seed in (0, 1)
  )
  np.testing.assert_array_equal(one['image'], other['image'])
  # Not merely the last of the files, which may be in order of their classes.
  assert one['image'][:, 0, 0, 0].min() < 100


def test_labels_are_read_once(tmp_path, monkeypatch):
  # To read those of ImageNet takes minutes.
  prepare(tmp_path, {'train': examples(cifar(20)), 'test': examples(cifar(5))})
  opened(tmp_path, memory=0).open('train')
  with monkeypatch.context() as patch:
    patch.setattr(prepared_images, 'BLOCK', None)
    assert opened(tmp_path, memory=0).open('train').labels.sum() > 0
  # Another set in the same place has labels of its own.
  (tmp_path / 'cifar10').rename(tmp_path / 'old')
  again = examples(cifar(20), label=7)
  prepare(tmp_path, {'train': again, 'test': again[:5]})
  assert set(opened(tmp_path, memory=0).open('train').labels) == {7}


IMAGENET = {
  'image': tfds.features.Image(encoding_format='jpeg'),
  'label': tfds.features.ClassLabel(names=CIFAR),
}


def test_imagenet_is_tested_by_its_validation(tmp_path):
  # Its own `test` has no labels; images are of any size, some of them gray.
  shapes = [(40, 60, 3), (70, 30, 3), (24, 24, 3), (50, 50)]
  pixels = [np.full(shape, 90, np.uint8) for shape in shapes * 5]
  splits = {
    'train': examples(pixels, 'JPEG'),
    'validation': examples(pixels[:4], 'JPEG'),
    'test': examples(pixels[:3], 'JPEG', label=-1),
  }
  prepare(tmp_path, splits, name='imagenet2012', features=IMAGENET)
  found = opened(tmp_path, 'imagenet2012', stored=48, size=32)
  sizes = {split: len(found.open(split)) for split in found.splits}
  assert sizes == {'train': 18, 'validation': 2, 'test': 4}
  test = found.open('test').gather(range(4))
  assert test['label'].tolist() == [0, 1, 2, 3]
  assert test['image'].shape == (4, 48, 48, 3)
  assert np.abs(test['image'].astype(int) - 90).max() <= 2


def test_a_set_may_have_all_three_splits(tmp_path):
  splits = {
    'train': examples(cifar(20)),
    'validation': examples(cifar(6)),
    'test': examples(cifar(7)),
  }
  prepare(tmp_path, splits)
  found = opened(tmp_path)
  sizes = [len(found.open(split)) for split in found.splits]
  assert sizes == [20, 6, 7]


def message(data_dir, name='cifar10'):
  with pytest.raises(UserError) as error:
    opened(data_dir, name)
  return str(error.value)


def test_how_to_prepare_is_said(tmp_path):
  found = message(tmp_path)
  command = (
    f"tfds.builder('cifar10', data_dir='{tmp_path}', "
    "file_format='array_record').download_and_prepare()"
  )
  assert command in found and 'tensorflow ' in found
  # And it is a program that tfds has the functions of.
  program = found.partition('python -c "')[2].rpartition('"')[0]
  compile(program, 'message', 'exec')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'name', ['cifar01', 'CIFAR10', '../cifar10', 'cifar 10']
)
def test_an_unknown_name_is_refused(prepared, name):
  assert "Did you mean 'cifar10'?" in message(prepared, name)


def test_a_config_that_was_not_prepared_is_refused(prepared):
  assert 'Found cifar10/3.0.2 in' in message(prepared, 'cifar10/tiny')


def test_a_file_format_that_has_an_order_is_refused(prepared, tmp_path):
  old = pathlib.Path(prepared) / 'cifar10' / '3.0.2'
  new = tmp_path / 'cifar10' / '3.0.2'
  new.mkdir(parents=True)
  for file in old.iterdir():
    text = file.read_bytes().replace(b'"array_record"', b'"tfrecord"')
    (new / file.name.replace('array_record', 'tfrecord')).write_bytes(text)
  found = message(tmp_path)
  assert 'as tfrecord in' in found and f"data_dir='{tmp_path}'" in found


@pytest.mark.parametrize(
  'splits, features, words',
  [
    ({'train': 5}, None, ['splits train', 'test or']),
    ({'test': 5}, None, ['splits test', 'expected train']),
    ({'train': 5, 'test': 5}, ('image',), ['features image', 'label']),
  ],
)
def test_a_set_that_is_of_no_use_is_refused(tmp_path, splits, features, words):
  kinds = {'image': tfds.features.Image(shape=(32, 32, 3))}
  made = {split: examples(cifar(count)) for split, count in splits.items()}
  if features:
    for split in made.values():
      for example in split:
        del example['label']
  prepare(tmp_path, made, features=kinds if features else None)
  found = message(tmp_path)
  assert all(word in found for word in words), found


def test_neither_tensorflow_nor_jax_is_imported(prepared):
  program = (
    'import sys; from ssljax.data import datasets; '
    f'datasets.open_dataset(dict(name="cifar10", size=32), data_dir='
    f'"{prepared}").open("train"); '
    'print([m for m in ("tensorflow", "jax") if m in sys.modules])'
  )
  output = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert output == '[]\n'
