import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssljax.data import datasets, glyphs, pipeline
from ssljax.errors import UserError

COUNTS = {'train': 40, 'validation': 0, 'test': 9}


def opened(data_dir, **options):
  return datasets.open_dataset(options, data_dir=str(data_dir))


@pytest.mark.parametrize('size', [8, 16, 32])
def test_digits_are_split_whole_and_evenly(tmp_path, size):
  found = opened(tmp_path, name='digits', size=size, seed=3)
  assert found.resolved['classes'] == tuple('0123456789')
  sizes = {split: len(found.open(split)) for split in found.splits}
  assert sizes == {'train': 1200, 'validation': 197, 'test': 400}
  whole = np.bincount(load_digits().target)
  seen = 0
  for split, count in sizes.items():
    labels = found.open(split).labels
    seen = seen + np.bincount(labels)
    away = np.bincount(labels) - whole * count / 1797
    assert np.abs(away).max() < 1.5, split
  np.testing.assert_array_equal(seen, whole)
  assert found.open('train')[0]['image'].shape == (size, size, 3)


def test_digits_are_those_of_scikit_learn(tmp_path):
  digits = load_digits()
  expected = {
    (np.round(image * 255 / 16).astype(np.uint8).tobytes(), target)
    for image, target in zip(digits.images, digits.target, strict=True)
  }
  found, seen = opened(tmp_path, name='digits', size=8, seed=0), []
  for split in found.splits:
    for example in found.open(split):
      image = example['image']
      assert (image == image[..., :1]).all()
      seen.append((image[..., 0].tobytes(), example['label']))
  assert set(seen) == expected and len(seen) == 1797


def test_the_split_of_digits_is_of_the_seed(tmp_path):
  def labels(seed):
    found = opened(tmp_path, name='digits', size=8, seed=seed)
    return found.open('test').gather(range(400))['image']

  np.testing.assert_array_equal(labels(0), labels(0))
  assert (labels(0) != labels(1)).any()


@pytest.mark.parametrize('memory', [0, 2**20])
def test_glyphs_are_those_that_are_rendered(tmp_path, memory):
  options = {'name': 'glyphs', 'size': 48, 'seed': 2, 'counts': COUNTS}
  for _ in range(2):  # rendered, then read
    found = opened(tmp_path, **options, memory=memory)
    assert found.splits == ('train', 'test')
    assert found.resolved['classes'] == tuple(glyphs.CLASSES)
    assert len(glyphs.CLASSES) == 36
    for split in found.splits:
      source = found.open(split)
      assert len(source) == COUNTS[split]
      for index in (0, 8):
        expected = glyphs.render_glyph(seed=2, split=split, index=index)
        np.testing.assert_array_equal(source[index]['image'], expected.image)
        assert source[index]['label'] == expected.label


def test_glyphs_are_rendered_when_asked_for_and_once(tmp_path, monkeypatch):
  rendered = []
  draw = glyphs.render_split

  def counted(**arguments):
    rendered.append(arguments)
    return draw(**arguments)

  monkeypatch.setattr(glyphs, 'render_split', counted)

  def run(counts=COUNTS, seed=0):
    found = opened(tmp_path, name='glyphs', seed=seed, counts=counts)
    assert found.open('test') is found.open('test')
    return len(rendered)

  assert run() == run() == 1  # and not `train`
  # Nothing else than what was asked for is read.
  assert run(seed=1) == 2
  assert run(counts=COUNTS | {'test': 8}) == 3
  # As many of another split are other images.
  assert run(counts={'test': 40}) == 4
  opened(tmp_path, name='glyphs', seed=0, counts=COUNTS).open('train')
  assert len(rendered) == 5
  monkeypatch.setattr(glyphs, 'VERSION', glyphs.VERSION + 1)
  assert run() == 6


def test_a_folder_is_opened_by_name(tmp_path):
  for place in range(10):
    path = tmp_path / 'own' / 'ab'[place % 2] / f'{place}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (9, 30), (place, 0, 0)).save(path)
  (tmp_path / 'own' / 'a' / '.hidden').touch()
  options = {'name': 'folder', 'directory': str(tmp_path / 'own'), 'size': 16}
  found = opened(tmp_path, **options, classes=(), contents='of before')
  assert found.resolved['classes'] == ('a', 'b')
  assert len(found.resolved['contents']) == 12
  assert found.open('train')[0]['image'].shape == (16, 16, 3)
  stored = opened(tmp_path, **options, stored=20).open('train')
  assert stored[0]['image'].shape == (20, 20, 3)


@pytest.mark.parametrize(
  'source',
  [
    {'name': 'digits', 'size': 8},
    {'name': 'glyphs', 'counts': {'train': 50}},
    {'name': 'glyphs', 'counts': {'train': 50}, 'memory': 0},
  ],
)
def test_the_pipeline_reads_images(tmp_path, source):
  source = opened(tmp_path, **source).open('train')
  found = [
    *pipeline.batches(source, batch_size=16, seed=0, steps=4),
    *pipeline.evaluation_batches(source, 16),
  ]
  assert len(found) == 4 + -(-len(source) // 16)
  for batch in found:
    assert batch['image'].dtype == np.uint8
    assert batch['label'].dtype == batch['index'].dtype == np.int32
    for place, index in enumerate(batch['index']):
      example = source[index]
      np.testing.assert_array_equal(batch['image'][place], example['image'])
      assert batch['label'][place] == example['label']
  assert sum(batch['valid'].sum() for batch in found[4:]) == len(source)


@pytest.mark.parametrize(
  'options, words',
  [
    ({'name': 'digits', 'size': 12}, ['size 12', '8, 16, 32']),
    ({'name': 'glyphs', 'size': 32}, ['size 32', '48']),
    ({'name': 'glyphs', 'counts': {'tain': 5}}, ["'tain'", "'train'?"]),
    ({'name': 'glyphs', 'counts': {'train': -5}}, ['-5', "'train'"]),
    ({'name': 'digits', 'seed': -1}, ['seed -1']),
    ({'name': 'folder', 'size': 8}, ['no directory', 'directory=DIR']),
    ({'name': 'folder', 'directory': 'x'}, ['size 0', 'size=64']),
    ({'name': 'folder', 'directory': '/nowhere', 'size': 8}, ['/nowhere']),
    ({'name': 'digitz', 'size': 8}, ["'digitz'", "'digits'"]),
  ],
)
def test_impossible_options_are_refused(tmp_path, options, words):
  with pytest.raises(UserError) as error:
    opened(tmp_path, **options)
  assert all(word in str(error.value) for word in words), error.value


def test_an_unknown_split_is_refused(tmp_path):
  found = opened(tmp_path, name='digits', size=8)
  with pytest.raises(UserError, match=r"'tests'.*Did you mean 'test'"):
    found.open('tests')
