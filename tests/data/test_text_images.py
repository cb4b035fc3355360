import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ssljax import durable
from ssljax.data import sources, text_images
from ssljax.data.layouts import LAYOUTS
from ssljax.data.render import VERSION, render

RECIPE = {
  'charset': 'alnum36',
  'height': 32,
  'width': 96,
  'layouts': ('arcs', 'hollow'),
  'seed': 3,
}
COUNTS = {'unlabeled': 30, 'train': 12, 'test': 7}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('data')
  return text_images.prepare(
    data_dir=data_dir, counts=COUNTS, progress=False, **RECIPE
  )


def assert_is_rendered(example, split, index):
  expected = render(split=split, index=index, **RECIPE)
  np.testing.assert_array_equal(example['image'], expected.image)
  assert example['image'].dtype == np.uint8
  assert (example['text'], example['index']) == (expected.text, index)
  assert tuple(LAYOUTS)[example['layout']] == expected.layout
  length = len(expected.text)
  np.testing.assert_array_equal(example['extents'][:length], expected.extents)
  assert (example['extents'][length:] == -1).all()


@pytest.mark.parametrize('memory', [0, 2**30])
@pytest.mark.parametrize('kept', [False, True])
def test_what_is_read_is_what_is_rendered(prepared, memory, kept, tmp_path):
  # Red where the writer shuffles, PNG loses a bit, or columns are mixed up.
  folder = tmp_path if kept else None
  for split, count in COUNTS.items():
    for _ in range(1 + kept):  # the second time from the file
      source = sources.open_split(prepared, split, memory=memory, folder=folder)
    assert isinstance(source, sources.MemorySource) == bool(memory)
    assert len(source) == count
    for index, example in enumerate(source):
      assert_is_rendered(example, split, index)
      assert source.describe(index).text == example['text']
      assert source.describe(index).layout == example['layout']


def test_decoded_images_are_not_decoded_again(prepared, tmp_path, monkeypatch):
  def first():
    return sources.open_split(prepared, 'train', folder=tmp_path).gather([1])

  found = first()
  monkeypatch.setattr(sources.StoredSource, 'gather', None)
  again = first()
  assert found.keys() == again.keys()
  for name, column in found.items():
    assert column.dtype == again[name].dtype
    np.testing.assert_array_equal(column, again[name])


def test_shards_and_workers_keep_the_order(tmp_path, monkeypatch):
  monkeypatch.setattr(text_images, 'CHUNK', 4)
  monkeypatch.setattr(text_images, 'SHARD', 8)
  monkeypatch.setattr(text_images, 'WORTH_WORKERS', 1)
  builder = text_images.prepare(
    data_dir=tmp_path, counts=COUNTS, progress=False, processes=2, **RECIPE
  )
  assert builder.info.splits['unlabeled'].shard_lengths == [8, 8, 8, 6]
  for split in COUNTS:
    for index, example in enumerate(sources.open_split(builder, split)):
      assert_is_rendered(example, split, index)


def test_texts_of_any_characters_and_lengths(tmp_path):
  recipe = RECIPE | {'charset': 'ß/7', 'lengths': (7, 8)}
  builder = text_images.prepare(
    data_dir=tmp_path, counts={'train': 6}, progress=False, **recipe
  )
  for index, example in enumerate(sources.open_split(builder, 'train')):
    expected = render(split='train', index=index, **recipe)
    np.testing.assert_array_equal(example['image'], expected.image)
    assert example['text'] == expected.text
    assert example['extents'].shape == (8, 2)


def test_prepared_data_is_not_rendered_again(prepared, monkeypatch):
  monkeypatch.setattr(text_images.render_lib, 'render_chunk', None)
  again = text_images.prepare(
    data_dir=prepared.data_dir_root, counts=COUNTS, progress=False, **RECIPE
  )
  assert again.data_dir == prepared.data_dir
  assert len(sources.open_split(again, 'train')) == COUNTS['train']


def test_recipes_have_folders_of_their_own(monkeypatch):
  def name(counts=COUNTS, **change):
    config = text_images.recipe_config(counts=counts, **(RECIPE | change))
    return config.name

  names = [
    name(),
    name(seed=4),
    name(charset='digits'),
    name(height=33),
    name(width=97),
    name(layouts=('arcs', 'colors')),
    name(layouts=('hollow', 'arcs')),
    name(counts=COUNTS | {'train': 13, 'test': 6}),
    name(lengths=(4, 5)),
    name(charset='/äb'),
  ]
  # What has been rendered already is found again.
  assert names[0] == name(lengths=(4, 6))
  assert names[0] == 'alnum36_32x96_2layouts_49_2ea7a7dc94'
  assert names[-1].startswith('3characters_32x96_')
  assert len(set(names)) == len(names)
  assert name(counts=dict(reversed(COUNTS.items()))) == names[0]
  assert name(counts=COUNTS | {'validation': 0}) == names[0]
  monkeypatch.setattr(text_images, 'VERSION', VERSION + '1')
  assert name() != names[0]


@pytest.mark.parametrize(
  'counts, words',
  [
    ({'training': 5}, ["'training'", 'validation']),
    ({'train': -1}, ['-1']),
    ({'train': 0}, ['no images', 'train']),
  ],
)
def test_impossible_counts_are_refused(counts, words):
  with pytest.raises(ValueError) as error:
    text_images.recipe_config(counts=counts, **RECIPE)
  assert all(word in str(error.value) for word in words)


def test_a_split_that_was_not_prepared_is_named(prepared):
  with pytest.raises(ValueError, match=r"'validation'.*unlabeled"):
    sources.open_split(prepared, 'validation')


def test_an_interrupted_preparation_leaves_nothing(tmp_path, monkeypatch):
  draw = text_images.render_lib.render

  def interrupted(*, index, **rest):
    if index == 8:
      raise KeyboardInterrupt
    return draw(index=index, **rest)

  arguments = {'data_dir': tmp_path, 'counts': COUNTS, 'progress': False}
  with monkeypatch.context() as patch:
    patch.setattr(text_images.render_lib, 'render', interrupted)
    with pytest.raises(KeyboardInterrupt):
      text_images.prepare(**arguments, **RECIPE)
  assert not list(tmp_path.rglob('*.array_record*'))
  builder = text_images.prepare(**arguments, **RECIPE)
  assert len(sources.open_split(builder, 'unlabeled')) == 30


def test_a_flipped_bit_is_refused_by_name(tmp_path):
  arguments = {'data_dir': tmp_path, 'counts': {'train': 3}, 'progress': False}
  text_images.prepare(**arguments, **RECIPE)
  for name in ('dataset_info.json', 'digests.json', '*.array_record*'):
    (path,) = tmp_path.rglob(name)
    whole = path.read_bytes()
    path.write_bytes(whole[:99] + bytes([whole[99] ^ 16]) + whole[100:])
    with pytest.raises(durable.Damaged, match='the same command renders') as it:
      text_images.prepare(**arguments, **RECIPE)
    assert name == 'digests.json' or str(path) in str(it.value)
    path.write_bytes(whole)
  (path,) = tmp_path.rglob('digests.json')
  path.unlink()  # as of an earlier version
  text_images.prepare(**arguments, **RECIPE)
  assert path.exists()


def test_a_full_disk_is_named(tmp_path, monkeypatch):
  def full(self):
    raise RuntimeError('write() failed: No space left on device; at byte 9')

  monkeypatch.setattr(text_images.TextImages, 'download_and_prepare', full)
  with pytest.raises(durable.CannotWrite, match=r'text_images.*room on its di'):
    text_images.prepare(data_dir=tmp_path, counts={'train': 3}, **RECIPE)


PROGRAM = """
import sys
from ssljax.data import sources, text_images
builder = text_images.prepare(
  data_dir=sys.argv[1], counts={'unlabeled': int(sys.argv[2]), 'train': 12},
  progress=False, charset='alnum36', height=32, width=96,
  layouts=('arcs', 'hollow'), seed=3,
)
print(len(sources.open_split(builder, 'unlabeled')))
print([name for name in ('tensorflow', 'torch') if name in sys.modules])
"""


def start(data_dir, count):
  return subprocess.Popen(
    [sys.executable, '-c', PROGRAM, str(data_dir), str(count)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_processes_that_prepare_the_same_data_share_it(tmp_path):
  # Also: no TensorFlow is loaded, and nothing is printed.
  processes = [start(tmp_path, 600) for _ in range(2)]
  for process in processes:
    output, errors = process.communicate(timeout=60)
    assert output == '600\n[]\n'
    assert errors == ''
  assert len(list(tmp_path.rglob('dataset_info.json'))) == 1
  assert not list(tmp_path.rglob('incomplete*'))


def test_a_killed_preparation_can_be_repeated(tmp_path):
  # 1,100 images start worker processes; these must end with their parent.
  process = start(tmp_path, 1100)
  give_up = time.monotonic() + 120
  while not list(tmp_path.rglob('*.array_record*')):
    assert time.monotonic() < give_up and process.poll() is None
    time.sleep(0.02)
  children = children_of(process.pid)
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert list(tmp_path.rglob('incomplete*'))
  second = start(tmp_path, 1100)
  output, errors = second.communicate(timeout=60)
  assert output == '1100\n[]\n', errors
  assert not list(tmp_path.rglob('incomplete*'))
  # A worker ends once it has done its task, and init may take its time.
  while any(alive(pid) for pid in children):
    assert time.monotonic() < give_up, children
    time.sleep(0.05)


def alive(pid):
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  return state.rpartition(')')[2].split()[0] != 'Z'


def children_of(pid):
  path = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
  return path.read_text().split() if path.exists() else []
