"""`ssljax.load`: what it reads, of what, and when it refuses."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_ocr
from PIL import Image

import ssljax
from ssljax import build, core, reader
from ssljax.checkpoint import Checkpoints
from ssljax.errors import UserError
from ssljax.log import write_json
from ssljax.text import shown_frames

CONFIG = tiny_ocr.get_config()
HEIGHT, WIDTH = CONFIG.data.height, CONFIG.data.width
RNG = np.random.default_rng(0)


def _state(stage):
  method = build.method(CONFIG, CONFIG[stage])
  batch = {
    'image': np.zeros((8, HEIGHT, WIDTH, 3), np.uint8),
    'index': np.arange(8, dtype=np.int32),
    'label': np.ones((8, 6), np.int32),
  }
  params, method_state = method.init(jax.random.key(1), batch)
  optimizer = build.optimizer(CONFIG[stage], steps=1)
  state = core.create_state(
    jax.random.key(1), batch, method=method, optimizer=optimizer, params=params
  )
  return method, state._replace(method_state=method_state)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run of three finished stages and one that was stopped."""
  path = tmp_path_factory.mktemp('run')
  write_json(path / 'config.json', CONFIG.to_dict())
  for stage in ('pretrain', 'finetune', 'head'):
    metadata = {
      'config': CONFIG.to_dict(),
      'stage': stage,
      'characters': build.charset(CONFIG).characters,
      'preprocessing': build.preprocessing(CONFIG),
    }
    with Checkpoints(path / stage / 'checkpoints', metadata=metadata) as saved:
      saved.save(1, _state(stage)[1])
    if stage != 'head':
      write_json(path / stage / 'stage.json', {'steps': 1})
  return path


@pytest.fixture(scope='module')
def loaded(workdir):
  return ssljax.load(workdir)


def _images(count):
  return RNG.integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.uint8)


def test_it_reads_what_the_method_predicts(loaded):
  images = _images(3)
  method, state = _state('finetune')
  logits = method.predict(state.params, state.method_state, images)
  expected = build.charset(CONFIG).greedy(np.asarray(logits))
  found = loaded.recognize(images)
  assert [text for text, _ in found] == [text for text, _ in expected]
  # Random weights write something, or the test above would say little.
  assert any(text for text, _ in found)
  for (_, a), (_, b) in zip(found, expected, strict=True):
    assert a == pytest.approx(b, rel=1e-3)
  features = method.encode(state.params, state.method_state, images)
  np.testing.assert_allclose(loaded.encode(images), features, atol=1e-5)
  assert loaded.encode(images).dtype == np.float32


def test_paths_pictures_and_arrays_are_one(loaded, tmp_path):
  pixels = _images(1)[0]
  path = tmp_path / 'a.png'
  Image.fromarray(pixels).save(path)
  expected = loaded.encode([pixels])
  for image in (path, str(path), Image.fromarray(pixels), pixels):
    for given in (image, [image]):
      np.testing.assert_array_equal(loaded.encode(given), expected)
  alpha = np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)])
  np.testing.assert_array_equal(loaded.encode(alpha), expected)


def test_gray_is_three_equal_channels(loaded):
  gray = _images(1)[0][..., 0]
  expected = loaded.encode(np.repeat(gray[..., None], 3, axis=-1))
  for image in (gray, gray[..., None], Image.fromarray(gray)):
    np.testing.assert_array_equal(loaded.encode(image), expected)


def test_the_order_is_kept_over_batches(loaded):
  images = _images(reader.BUCKETS[-1] + 9)
  found = loaded.encode(images)
  assert len(found) == len(images)
  for place in (0, 8, reader.BUCKETS[-1] - 1, reader.BUCKETS[-1], -1):
    one = loaded.encode(images[place])
    np.testing.assert_allclose(found[place], one[0], atol=1e-4)


def test_three_compilations_at_most(workdir, monkeypatch):
  traces = []
  build_method = build.method

  def counted(*args, **options):
    method = build_method(*args, **options)

    def encode(*args):
      traces.append(None)
      return method.encode(*args)

    return method._replace(encode=encode)

  monkeypatch.setattr(build, 'method', counted)
  loaded = ssljax.load(workdir)
  for count in (1, 2, 7, 8, 9, 64, 65, 130, 3, 1):
    # And of any size.
    shape = (count, 20 + count % 7, 50 + count, 3)
    loaded.encode(np.zeros(shape, np.uint8))
  assert len(traces) == len(reader.BUCKETS)


def test_another_size_is_fitted_and_its_padding_reads_as_nothing(loaded):
  small = RNG.integers(0, 256, (2 * HEIGHT, HEIGHT, 3)).astype(np.uint8)
  ((text, confidence),) = loaded.recognize(small)
  frames = loaded.encode(small).shape[1]
  shown = shown_frames([HEIGHT // 2], frames=frames, width=WIDTH).sum()
  assert shown < frames
  assert len(text) <= shown
  assert 0 < confidence <= 1


def test_nothing_gives_nothing(loaded):
  assert loaded.recognize([]) == []
  features = loaded.encode([])
  assert features.shape == (0, *loaded.encode(_images(1)).shape[1:])


def test_shown_frames():
  found = shown_frames([96, 5, 4, 1], frames=24, width=96)
  assert found.sum(axis=1).tolist() == [24, 2, 1, 1]
  assert found[1, :2].all() and not found[1, 2:].any()
  # Frames of which the last is cut: 90 pixels in 23.
  assert shown_frames([90, 45], frames=23, width=90).sum(axis=1).tolist() == [
    23, 12
  ]  # fmt: skip


@pytest.mark.parametrize(
  'image',
  [
    np.zeros((HEIGHT, WIDTH, 3), np.float32),
    np.zeros((HEIGHT, WIDTH, 3), bool),
    np.zeros((HEIGHT, WIDTH, 2), np.uint8),
    np.zeros((0, WIDTH, 3), np.uint8),
    3,
  ],
)
def test_what_is_no_image(loaded, image):
  with pytest.raises(UserError, match=r'Found .*expected a path'):
    loaded.encode([image])


def test_a_file_that_cannot_be_read_is_named(loaded, tmp_path):
  path = tmp_path / 'broken.png'
  path.write_bytes(b'hello')
  with pytest.raises(UserError, match=r'broken\.png: found no PNG image'):
    loaded.recognize([path])
  with pytest.raises(UserError, match=r'gone\.png: '):
    loaded.recognize(tmp_path / 'gone.png')


def test_a_stage_without_a_head_encodes_and_does_not_read(workdir):
  pretrained = ssljax.load(workdir, stage='pretrain')
  assert pretrained.encode(_images(2)).shape[0] == 2
  with pytest.raises(UserError, match=r"'pretrain'.*no head.*finetune"):
    pretrained.recognize(_images(1))


def test_what_is_no_finished_run(workdir, tmp_path):
  with pytest.raises(UserError, match='Found no config'):
    ssljax.load(tmp_path)
  with pytest.raises(UserError, match='Found no config'):
    ssljax.load(tmp_path / 'nowhere')
  write_json(tmp_path / 'config.json', {'model': 'another program'})
  with pytest.raises(UserError, match='Found no recipe'):
    ssljax.load(tmp_path)
  with pytest.raises(UserError, match=r"'finetun'.*mean 'finetune'"):
    ssljax.load(workdir, stage='finetun')
  with pytest.raises(UserError, match=r'head unfinished.*goes on'):
    ssljax.load(workdir, stage='head')


def test_the_package_alone_starts_no_jax():
  program = (
    'import sys, ssljax, ssljax.data.render; print("jax" in sys.modules)'
  )
  found = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert found.strip() == 'False'
  with pytest.raises(AttributeError, match="no attribute 'lode'"):
    getattr(ssljax, 'lo' + 'de')
