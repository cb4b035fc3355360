"""`ssljax.load`: what it reads, of what, and when it refuses."""

import concurrent.futures
import functools
import io
import itertools
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import making
import numpy as np
import pytest
import tiny_ocr
from PIL import ExifTags, Image

import ssljax
from ssljax import build, decoding, programs, reader, tasks
from ssljax.checkpoint import Checkpoints
from ssljax.data import inputs
from ssljax.data.images import fit
from ssljax.errors import UserError
from ssljax.records import write_json
from ssljax.text import BLANK, shown_frames

CONFIG = tiny_ocr.get_config()
TASK = tasks.make(CONFIG)
HEIGHT, WIDTH = CONFIG.data.height, CONFIG.data.width
RNG = np.random.default_rng(0)
ORIENTATION = ExifTags.Base.Orientation


@functools.cache
def _trained(stage):
  """(method, state) of random arrays."""
  method = making.method(CONFIG, stage)
  batch = {
    'image': np.zeros((8, HEIGHT, WIDTH, 3), np.uint8),
    'index': np.arange(8, dtype=np.int32),
    'label': np.ones((8, 6), np.int32),
  }
  params, method_state = making.arrays(method, batch)
  if 'head' in params:
    params['head']['Dense_1']['bias'][BLANK] = -20  # padding too is to write
  return method, {'params': params, 'method_state': method_state}


def _save(folder, stage, *, finished=True):
  metadata = {
    'config': CONFIG.to_dict(),
    'stage': stage,
    **TASK.metadata,
  }
  with Checkpoints(folder / 'checkpoints', metadata=metadata) as checkpoints:
    checkpoints.save(1, _trained(stage)[1])
  if finished:
    write_json(folder / 'stage.json', {'steps': 1})


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run of two finished stages and one that was stopped."""
  path = tmp_path_factory.mktemp('run')
  write_json(path / 'config.json', CONFIG.to_dict())
  for stage in ('pretrain', 'finetune', 'head'):
    _save(path / stage, stage, finished=stage != 'head')
  return path


@pytest.fixture(scope='module')
def loaded(workdir):
  return ssljax.load(workdir)


@pytest.fixture
def traces(monkeypatch):
  """The batch size of each compilation of an `encode` that gives the pixels."""
  sizes, build_method = [], build.method

  def encode(params, method_state, images, widths=None):
    sizes.append(len(images))
    return images[:, 0]

  monkeypatch.setattr(
    build,
    'method',
    lambda *args, **options: build_method(*args, **options)._replace(
      encode=encode
    ),
  )
  return sizes


def _images(count):
  return RNG.integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.uint8)


def _assert_reads(found, expected):
  assert [text for text, _ in found] == [text for text, _ in expected]
  for (_, a), (_, b) in zip(found, expected, strict=True):
    assert a == pytest.approx(b, rel=1e-3)


def test_it_reads_what_the_method_predicts(loaded):
  images = _images(3)
  method, state = _trained('finetune')
  logits = jax.jit(method.predict)(*state.values(), images)
  expected = decoding.decode(np.asarray(logits), None, TASK.charset)
  # Weights that write the same of every image would not tell them apart.
  assert len({text for text, _ in expected} - {''}) == 3
  _assert_reads(loaded.recognize(images), expected)
  features = jax.jit(method.encode)(*state.values(), images)
  np.testing.assert_allclose(loaded.encode(images), features, atol=1e-4)
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


def test_a_photograph_opened_before_is_turned_as_its_file_is(loaded, tmp_path):
  exif = Image.Exif()
  exif[ORIENTATION] = 6
  path = tmp_path / 'turned.png'
  Image.fromarray(_images(1)[0]).save(path, exif=exif)
  expected = loaded.encode(path)
  with Image.open(path) as opened:
    np.testing.assert_array_equal(loaded.encode(opened), expected)


@pytest.mark.parametrize('several', [False, True])
def test_arrays_of_other_libraries(loaded, several):
  """One of JAX is one image, not as many as it has rows."""
  pixels = _images(1)[0]
  given = pixels[None] if several else pixels
  expected = loaded.encode([pixels])
  np.testing.assert_array_equal(loaded.encode(jnp.asarray(given)), expected)


def test_several_come_as_any_sequence(workdir, traces, tmp_path):
  loaded = ssljax.load(workdir)
  images = _images(2)
  paths = [tmp_path / f'{place}.png' for place in range(2)]
  for path, image in zip(paths, images, strict=True):
    Image.fromarray(image).save(path)
  for given in (
    images,
    tuple(images),
    (image for image in images),
    np.array([str(path) for path in paths]),
  ):
    np.testing.assert_array_equal(loaded.encode(given), images[:, 0])
  gray = images[..., :1]
  np.testing.assert_array_equal(
    loaded.encode(gray), np.repeat(gray[:, 0], 3, axis=-1)
  )


def test_the_order_is_kept_over_batches(workdir, traces):
  loaded = ssljax.load(workdir)
  for count in (1, 2, 3, 8, 9, 64, 65, 2 * 64 + 3):
    images = _images(count)
    np.testing.assert_array_equal(loaded.encode(images), images[:, 0])


def test_a_compilation_for_each_power_of_two(workdir, traces):
  """Nine images cost sixteen at most, and not sixty-four."""
  loaded = ssljax.load(workdir)
  for count in (1, 2, 7, 9, 17, 64, 65, 130, 3, 1):
    # And of any size.
    shape = (count, 20 + count % 7, 50 + count, 3)
    loaded.encode(np.zeros(shape, np.uint8))
  assert sorted(traces) == list(programs.BUCKETS) == [1, 2, 4, 8, 16, 32, 64]


def test_another_size_is_fitted_and_its_padding_reads_as_nothing(loaded):
  narrow = RNG.integers(0, 256, (3, 2 * HEIGHT, HEIGHT, 3)).astype(np.uint8)
  pixels, widths = zip(
    *[fit(Image.fromarray(each), HEIGHT, WIDTH) for each in narrow], strict=True
  )
  assert widths == (HEIGHT // 2,) * 3
  method, state = _trained('finetune')
  logits = np.asarray(
    jax.jit(method.predict)(*state.values(), np.stack(pixels), np.array(widths))
  )
  valid = shown_frames(widths, frames=logits.shape[1], width=WIDTH)
  charset = TASK.charset
  expected = decoding.decode(logits, valid, charset)
  # The padding does write something, or masking it would not be seen.
  unmasked = decoding.decode(logits, None, charset)
  assert [text for text, _ in unmasked] != [text for text, _ in expected]
  _assert_reads(loaded.recognize(narrow), expected)


def test_the_features_of_an_image_do_not_depend_on_its_padding(loaded):
  """It is padded with the colour of its border; here that colour changes."""
  frames = TASK.frames(build.encoder(CONFIG), HEIGHT // 2)
  image = RNG.integers(0, 256, (2 * HEIGHT, HEIGHT, 3)).astype(np.uint8)
  pixels, width = fit(Image.fromarray(image), HEIGHT, WIDTH)
  (found,) = loaded.encode(image)
  assert width == HEIGHT // 2
  assert np.abs(found[:frames]).max() > 1
  assert (found[frames:] == 0).all()
  method, state = _trained('finetune')
  wide = np.pad(pixels, ((0, 0), (0, 64), (0, 0)), constant_values=77)
  wide[:, width:] = 77
  (expected,) = jax.jit(method.encode)(
    *state.values(), wide[None], np.array([width])
  )
  np.testing.assert_allclose(found[:frames], expected[:frames], atol=1e-4)


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
  # A frame shows four pixels; 88 of them are 22 frames.
  assert shown_frames([88], frames=23, width=90).sum() == 22


@pytest.mark.parametrize(
  'image',
  [
    np.zeros((HEIGHT, WIDTH, 3), np.float32),
    np.zeros((HEIGHT, WIDTH, 3), bool),
    np.zeros((HEIGHT, WIDTH, 2), np.uint8),
    np.zeros((0, WIDTH, 3), np.uint8),
    np.zeros((5, HEIGHT, WIDTH), np.uint8),  # several, or of 96 channels?
    np.uint8(3),
    Image.new('RGB', (0, HEIGHT)),
    [[1, 2], [3]],
    3,
    None,
  ],
)
@pytest.mark.parametrize('several', [False, True])
def test_what_is_no_image(loaded, image, several):
  with pytest.raises(UserError, match=r'Found .*expected a path'):
    loaded.encode([image] if several else image)


def test_a_file_that_cannot_be_read_is_named(loaded, tmp_path):
  path = tmp_path / 'broken.png'
  path.write_bytes(b'hello')
  with pytest.raises(UserError, match=r'broken\.png: found no .*image'):
    loaded.recognize([path])
  with pytest.raises(UserError, match=r'gone\.png: '):
    loaded.recognize(tmp_path / 'gone.png')


def test_a_stage_without_a_head_encodes_and_does_not_read(workdir):
  pretrained = ssljax.load(workdir, stage='pretrain')
  assert pretrained.encode(_images(2)).shape[0] == 2
  with pytest.raises(UserError, match=r"'pretrain'.*no head.*'finetune'\)"):
    pretrained.recognize(_images(1))
  # What cannot read either is no remedy.
  pretrained.config['recipe'] = ['pretrain']
  with pytest.raises(UserError, match=r'no head.*has none; run a recipe'):
    pretrained.recognize(_images(1))


def test_the_folder_of_a_stage_will_do(workdir):
  assert ssljax.load(workdir / 'pretrain').stage == 'pretrain'
  with pytest.raises(UserError, match=r"'finetun'.*mean 'finetune'"):
    ssljax.load(workdir / 'finetun')


@pytest.mark.parametrize(
  ('product', 'recipe', 'finished', 'expected'),
  [
    ('pretrain', ('pretrain', 'head'), ('pretrain', 'head'), 'pretrain'),
    # Cut short, the recipe ends before its product or leaves it out.
    ('finetune', ('pretrain', 'head'), ('pretrain', 'head'), 'head'),
    (None, ('pretrain',), ('pretrain',), 'pretrain'),
    (None, ('head', 'pretrain'), ('head', 'pretrain'), 'head'),
    (None, ('pretrain', 'head'), ('pretrain',), 'pretrain'),
    # The baseline comes last, and is not what the run is for.
    (None, tuple(tiny_ocr.STEPS), tuple(tiny_ocr.STEPS), 'finetune'),
    (None, ('supervised',), ('supervised',), 'supervised'),
  ],
)
def test_the_stage_that_is_meant(
  tmp_path, monkeypatch, product, recipe, finished, expected
):
  config = CONFIG.to_dict() | {'product': product, 'recipe': recipe}
  if product is None:
    del config['product']  # as in a recipe of somebody's own
  write_json(tmp_path / 'config.json', config)
  for stage in finished:
    (tmp_path / stage).mkdir()
    write_json(tmp_path / stage / 'stage.json', {})
  opened = []
  monkeypatch.setattr(
    reader, 'read', lambda folder, *_: opened.append(folder) or 1 / 0
  )
  with pytest.raises(ZeroDivisionError):
    ssljax.load(tmp_path)
  assert opened == [tmp_path / expected / 'checkpoints']


def test_what_is_no_finished_run(workdir, tmp_path):
  for path in (tmp_path, tmp_path / 'nowhere', __file__):
    with pytest.raises(UserError, match=r'Found no config\.json.*run'):
      ssljax.load(path)
  with pytest.raises(UserError, match=r"'finetun'.*mean 'finetune'"):
    ssljax.load(workdir, stage='finetun')
  with pytest.raises(UserError, match=r'head unfinished.*goes on'):
    ssljax.load(workdir, stage='head')
  shutil.copy(workdir / 'config.json', tmp_path)
  with pytest.raises(UserError, match=r'finetune unfinished.*goes on'):
    ssljax.load(tmp_path)
  # A product that the recipe lacks is not replaced where it is asked for.
  config = CONFIG.to_dict() | {'recipe': ['pretrain'], 'product': 'finetune'}
  write_json(tmp_path / 'config.json', config)
  with pytest.raises(UserError, match=r"'finetune'; expected one of pretrain"):
    ssljax.load(tmp_path, stage='finetune')
  shutil.copy(workdir / 'config.json', tmp_path)
  # A stage.json alone is no trained stage either.
  (tmp_path / 'finetune').mkdir()
  write_json(tmp_path / 'finetune' / 'stage.json', {})
  with pytest.raises(UserError, match=r'no checkpoint.*Run that stage'):
    ssljax.load(tmp_path)


@pytest.mark.parametrize(
  'content',
  [
    b'{"model": "another program"}',
    b'{"model.size": 3}',
    b'{"recipe": ["flour", "eggs"]}',
    b'{"recipe": "bread"}',
    b'{"recipe": 3}',
    b'{"recipe": []}',
    b'[1]',
  ],
)
def test_a_config_of_something_else(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(UserError, match=r'Found no recipe.*run of ssljax'):
    ssljax.load(tmp_path)


@pytest.mark.parametrize('content', [b'{', b'\xff\xfe'])
def test_a_config_that_is_no_json(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(UserError, match=r'config.json damaged: .*expected JSON'):
    ssljax.load(tmp_path)


def test_the_checkpoint_says_how_it_was_trained(workdir, tmp_path):
  """Its own metadata, and not a config.json that was touched since."""
  shutil.copytree(workdir / 'finetune', tmp_path / 'finetune')
  config = CONFIG.to_dict()
  config['data'] = config['data'] | {'charset': 'alnum36', 'height': 64}
  write_json(tmp_path / 'config.json', config)
  loaded = ssljax.load(tmp_path)
  assert loaded.charset == TASK.charset
  assert (loaded.height, loaded.width) == (HEIGHT, WIDTH)


def test_the_package_alone_starts_no_jax():
  program = (
    'import sys, ssljax, ssljax.data.render; print("jax" in sys.modules)'
  )
  found = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert found.strip() == 'False'
  with pytest.raises(AttributeError, match="no attribute 'lode'"):
    getattr(ssljax, 'lo' + 'de')


def test_loading_starts_without_what_only_training_needs():
  """Each of them takes longer to import than a trained run takes to read."""
  heavy = (
    'grain',
    'matplotlib',
    'scipy.stats',
    'sklearn',
    'tensorflow_datasets',
  )
  program = (
    'import sys, ssljax.reader; '
    f'print([name for name in {heavy} if name in sys.modules])'
  )
  found = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert found == '[]\n'


def _png(pixels):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG')
  return file


def test_bytes_open_files_and_folders(loaded, tmp_path):
  images = _images(3)
  expected = loaded.encode(images)
  files = [_png(each) for each in images]  # whose position is at the end
  for place, file in enumerate(files):
    (tmp_path / f'{place}.png').write_bytes(file.getvalue())
  with (tmp_path / '2.png').open('rb') as opened:
    mixed = [files[0].getvalue(), tmp_path / '1.png', opened]
    np.testing.assert_array_equal(loaded.encode(mixed), expected)
  for given in (files[0], files[0].getvalue(), memoryview(files[0].getvalue())):
    (found,) = loaded.encode(given)
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
  (tmp_path / 'notes.txt').write_text('no image')
  np.testing.assert_array_equal(loaded.encode(tmp_path), expected)
  doubled = loaded.encode([str(tmp_path), images[0]])
  np.testing.assert_array_equal(doubled[[0, 1, 2, 3]], doubled[[3, 1, 2, 0]])


@pytest.mark.parametrize(
  ('given', 'named'),
  [
    (b'hello', '5 bytes: found no'),
    (
      io.StringIO('hello'),
      r'a StringIO: found a file of text; open it by open',
    ),
  ],
)
def test_bytes_that_are_no_image(loaded, given, named):
  with pytest.raises(UserError, match=named):
    loaded.recognize(given)


def test_bad_images_are_skipped_in_their_place(loaded, tmp_path):
  images = _images(2)
  empty = tmp_path / 'empty'
  empty.mkdir()
  given = [images[0], tmp_path / 'gone.png', b'', None, empty, images[1]]
  found = loaded.recognize(given, errors='skip')
  assert found[1:5] == [None] * 4
  _assert_reads([found[0], found[5]], loaded.recognize(images))
  assert loaded.recognize(given[1:3], errors='skip') == [None, None]
  with pytest.raises(UserError, match=r"'ignore'.*expected one of raise, skip"):
    loaded.recognize(given, errors='ignore')
  why = [str(each) for each in loaded.outcomes(given[1:5])]
  for line, part in zip(
    why, ['gone.png', '0 bytes', 'None', 'no images in'], strict=True
  ):
    assert part in line


def test_a_generator_is_read_piece_by_piece(loaded):
  """Without an end it would otherwise never give a reading."""
  (image,) = _images(1)
  found = loaded.outcomes(image for _ in itertools.count())
  expected = loaded.recognize([image] * 3)
  _assert_reads(list(itertools.islice(found, 3)), expected)


def test_an_image_is_taken_before_the_generator_goes_on():
  """Which may close it then, or draw the next one into the same array."""
  canvas = np.zeros(1)

  def drawn():
    for shade in range(5):
      canvas[:] = shade
      yield canvas

  def slowly(image):
    time.sleep(0.01)
    return int(image[0])

  assert list(inputs.prepared(drawn(), slowly)) == [0, 1, 2, 3, 4]


def test_constraints_and_alternatives(loaded):
  images = _images(3)
  for text, _ in loaded.recognize(images, pattern='DD', charset='123'):
    assert len(text) == 2 and set(text) <= set('123')
  found = loaded.recognize(images, length=(3, 4), top=3)
  assert {len(text) for text, _ in found} <= {3, 4}
  assert [len(each.alternatives) for each in found] == [3] * 3
  assert [len(each.text) for each in loaded.recognize(images, length=2)] == [
    2
  ] * 3
  words = (word for word in ['12', '345'])
  assert {text for text, _ in loaded.recognize(images, lexicon=words)} <= {
    '12', '345'
  }  # fmt: skip
  with pytest.warns(UserWarning, match='words of the lexicon are never read'):
    loaded.recognize(images, lexicon=['12', 'ab!'])
  with pytest.raises(UserError):
    loaded.outcomes(images, length=(4, 3))  # before any image is asked for


def test_a_doubtful_reading_is_left_empty(loaded):
  images = _images(3)
  plain = loaded.recognize(images)
  least = sorted(confidence for _, confidence in plain)[1]
  found = loaded.recognize(images, min_confidence=least)
  for reading, before in zip(found, plain, strict=True):
    doubtful = before.confidence < least
    assert reading == (('' if doubtful else before.text), before.confidence)
    if doubtful:
      assert reading.alternatives == (tuple(before),)
  assert sum(not reading.text for reading in found) == 1


def test_narrow_images_read_as_they_do_beside_wide_ones(loaded, monkeypatch):
  narrow = RNG.integers(0, 256, (3, HEIGHT, WIDTH // 2, 3)).astype(np.uint8)
  wide = _images(2)
  widths = []
  run = programs.Program._run
  monkeypatch.setattr(
    programs.Program,
    '_run',
    lambda self, pixels, shown: (
      widths.append((len(pixels), pixels.shape[2])) or run(self, pixels, shown)
    ),
  )
  mixed = [narrow[0], wide[0], narrow[1], wide[1], narrow[2]]
  found = loaded.recognize(mixed)
  assert widths == [(2, WIDTH), (3, WIDTH // 2)]
  # In the whole frame, whose padding the encoder does not see.
  monkeypatch.setattr(loaded._predict, '_stride', None)
  expected = loaded.recognize(mixed)
  assert widths[2:] == [(5, WIDTH)]
  assert len({text for text, _ in expected}) > 1
  _assert_reads(found, expected)


def test_the_temperature_is_the_runs(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / 'run')
  images = _images(2)
  plain = ssljax.load(tmp_path / 'run')
  assert plain.temperature == 1
  path = tmp_path / 'run' / 'finetune' / 'stage.json'
  write_json(path, {'steps': 1, 'calibration': {'temperature': 4.0}})
  cooled = ssljax.load(tmp_path / 'run')
  assert cooled.temperature == 4
  for (_, before), (_, after) in zip(
    plain.recognize(images), cooled.recognize(images), strict=True
  ):
    assert after < before


def test_the_home_folder_is_expanded(workdir, monkeypatch):
  monkeypatch.setenv('HOME', str(workdir.parent))
  assert ssljax.load(f'~/{workdir.name}').stage == 'finetune'


def test_a_reader_is_pickled_by_its_folder(loaded, workdir, tmp_path):
  images = _images(2)
  data = pickle.dumps(loaded)
  assert len(data) < 1000
  _assert_reads(pickle.loads(data).recognize(images), loaded.recognize(images))
  shutil.copytree(workdir, tmp_path / 'run')
  data = pickle.dumps(ssljax.load(tmp_path / 'run'))
  shutil.rmtree(tmp_path / 'run')
  # Raised here, it would end a pool's worker, and the pool wait for ever.
  gone = pickle.loads(data)
  for use in (gone.recognize, gone.encode, gone.outcomes):
    with pytest.raises(UserError, match=r'Found no config\.json'):
      use(images)


def test_threads_share_a_reader(workdir):
  loaded = ssljax.load(workdir)
  images = [_images(count) for count in (1, 3, 2, 5, 1, 4)]
  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    found = list(threads.map(loaded.recognize, images))
  for readings, each in zip(found, images, strict=True):
    _assert_reads(readings, loaded.recognize(each))


@pytest.mark.slow  # starts a process
def test_a_process_by_spawn_reads(loaded):
  images = _images(2)
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    found = pool.submit(loaded.recognize, images).result(timeout=120)
  _assert_reads(found, loaded.recognize(images))


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
@pytest.mark.filterwarnings('ignore:.*fork:RuntimeWarning')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='of systems that fork')
def test_a_forked_process_says_what_to_do(loaded):
  """JAX would hang there."""
  images = _images(1)
  with multiprocessing.get_context('fork').Pool(1) as pool:
    waiting = pool.apply_async(loaded.recognize, (images,))
    with pytest.raises(UserError, match=r"forked.*get_context\('spawn'\)"):
      waiting.get(timeout=60)


@pytest.mark.slow  # starts processes
def test_programs_are_kept_for_later_processes(workdir, tmp_path):
  """And a cache of the user's own, or JAX's config, stays as it was."""
  program = (
    'import sys, jax, numpy as np, ssljax\n'
    'jax.jit(lambda x: x + 1)(1.0)  # JAX has looked for a cache before\n'
    'if len(sys.argv) > 2:\n'
    '  jax.config.update("jax_compilation_cache_dir", sys.argv[2])\n'
    'before = jax.config.jax_compilation_cache_dir\n'
    'loaded = ssljax.load(sys.argv[1])\n'
    'shape = 1, loaded.height, loaded.width, 3\n'
    'loaded.recognize(np.zeros(shape, np.uint8))\n'
    'assert jax.config.jax_compilation_cache_dir == before\n'
    'assert jax.config.jax_persistent_cache_min_compile_time_secs > 0\n'
    '# A program of the user, who has no cache.\n'
    'jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)\n'
    'jax.jit(lambda x: x * 5)(1.0)\n'
  )
  clean = {k: v for k, v in os.environ.items() if 'CACHE' not in k}
  environment = clean | {'SSLJAX_DATA_DIR': str(tmp_path)}

  def run(*arguments):
    command = [sys.executable, '-c', program, str(workdir), *arguments]
    subprocess.run(command, env=environment, check=True)
    return sorted(path.name for path in tmp_path.glob('compiled/*-cache'))

  (kept,) = run()
  assert 'predict' in kept
  stamp = (tmp_path / 'compiled' / kept).stat().st_mtime_ns
  assert run() == [kept]
  assert (tmp_path / 'compiled' / kept).stat().st_mtime_ns == stamp
  shutil.rmtree(tmp_path / 'compiled')
  assert run(str(tmp_path / 'own')) == []
