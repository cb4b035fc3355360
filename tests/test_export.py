"""An export reads as the run does, and needs no JAX."""

import json
import pickle
import shutil
import subprocess
import sys

import making
import numpy as np
import pytest
import tiny_ocr
from PIL import ExifTags, Image

import ssljax
from ssljax import export, shipped, standalone, tasks
from ssljax.checkpoint import Checkpoints
from ssljax.errors import UserError
from ssljax.records import write_json
from ssljax.text import BLANK

pytest.importorskip('jax2onnx', reason="pip install 'ssljax[export]'")
CONFIG = tiny_ocr.get_config()
FIGURES = {
  **{'edit_distance_accuracy': 0.5, 'exact_match': 0.25},
  'character_error_rate': 0.5,
}
# Fails as an environment would that has none of these.
WITHOUT_JAX = """
import runpy, sys
for name in ('jax', 'jaxlib', 'flax', 'jaxtyping', 'ssljax'):
  sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of a stage that reads, and of one that does not."""
  folder = tmp_path_factory.mktemp('run')
  write_json(folder / 'config.json', CONFIG.to_dict())
  metadata = {'config': CONFIG.to_dict(), **tasks.make(CONFIG).metadata}
  batch = {
    'image': np.zeros((8, CONFIG.data.height, CONFIG.data.width, 3), np.uint8),
    'index': np.arange(8, dtype=np.int32),
    'label': np.ones((8, 6), np.int32),
  }
  for stage in ('pretrain', 'finetune'):
    method = making.method(CONFIG, stage)
    params, method_state = making.arrays(method, batch)
    if 'head' in params:
      # Random logits read something, and are not sure of it.
      params['head']['Dense_1']['bias'][BLANK] = -1
      params['head']['Dense_1']['kernel'] *= 4
    path = folder / stage / 'checkpoints'
    with Checkpoints(path, metadata={**metadata, 'stage': stage}) as saved:
      saved.save(1, {'params': params, 'method_state': method_state})
    write_json(
      folder / stage / 'stage.json',
      {
        **{'steps': 10, 'examples': 80, 'labels': 24, 'flops': 2e12},
        **{'fit': FIGURES, 'test': FIGURES},
        'calibration': {'temperature': 1.5, 'ece': {'after': 0.034}},
      },
    )
  rows = ''.join(f'{place}.png,test,,a,a,1,b\n' for place in range(12))
  (folder / 'finetune' / 'predictions.csv').write_text(
    f'file,split,layout,label,prediction,confidence,second_best\n{rows}'
  )
  return folder


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """Files of several modes and sizes, one of them to be turned."""
  folder = tmp_path_factory.mktemp('images')
  noise = np.random.default_rng(0)
  turned = Image.Exif()
  turned[ExifTags.Base.Orientation] = 6
  for place, (size, channels) in enumerate(
    [((32, 96), 3), ((40, 200), 4), ((90, 30), 3), ((33, 41), 1), ((7, 300), 3)]
  ):
    pixels = noise.integers(0, 256, (*size, channels), np.uint8).squeeze()
    Image.fromarray(pixels).save(folder / f'{place}.png', exif=turned)
  deep = noise.integers(0, 4096, (20, 70)).astype(np.uint16)
  Image.fromarray(deep).save(folder / 'deep.png')
  return folder


@pytest.fixture(scope='module')
def exported(run, images, tmp_path_factory):
  out = tmp_path_factory.mktemp('exports') / 'one'
  return out, export.export(run, out, images=images)


def test_an_export_reads_as_the_run_does(run, images, exported):
  out, parity = exported
  assert parity.good and parity.images == 6
  assert sorted(path.name for path in out.iterdir()) == [
    *('README.md', 'digests.json', 'model.json', 'model.onnx'),
    'onnx_reader.py',
  ]
  assert [path.name for path in out.parent.iterdir()] == ['one']
  files = sorted(images.iterdir())
  expected = ssljax.load(run, stage='finetune').recognize(files)
  assert all(0 < confidence < 1 for _, confidence in expected)
  # More than a batch, and one alone: any number goes through the network.
  reader = standalone.load(out / 'onnx_reader.py').Reader(out)
  for count in (1, 3, 70):
    many = [files[place % len(files)] for place in range(count)]
    found = reader.recognize(many)
    wanted = [expected[place % len(files)] for place in range(count)]
    assert [text for text, _ in found] == [text for text, _ in wanted]
    np.testing.assert_allclose(
      [odds for _, odds in found], [odds for _, odds in wanted], atol=1e-4
    )


def test_it_needs_no_jax(run, images, exported):
  out, _ = exported
  files = sorted(map(str, images.iterdir()))
  done = subprocess.run(
    [sys.executable, '-c', WITHOUT_JAX, str(out / 'onnx_reader.py'), *files],
    capture_output=True,
    text=True,
    check=False,
    cwd=out.parent,
  )
  assert done.returncode == 0, done.stderr
  rows = [line.split('\t') for line in done.stdout.splitlines()]
  expected = ssljax.load(run, stage='finetune').recognize(files)
  assert [row[:2] for row in rows] == [
    [file, text] for file, (text, _) in zip(files, expected, strict=True)
  ]


def test_what_cannot_be_read_is_named(exported, tmp_path):
  out, _ = exported
  (tmp_path / 'a.png').write_text('no image')
  done = subprocess.run(
    [sys.executable, out / 'onnx_reader.py', tmp_path / 'a.png'],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1 and 'Traceback' not in done.stderr
  assert f'Found {tmp_path / "a.png"} unreadable' in done.stderr


def test_the_card_says_what_is_known(exported):
  out, _ = exported
  text = (out / 'README.md').read_text()
  rows = [line for line in text.splitlines() if line.startswith('| ')]
  fit, test = (line.split() for line in rows[2:])
  assert fit[3] == '—' or not fit[3].isdigit()  # that many are not listed
  assert test[1:4:2] == ['test', '12'] and '0.250' in test
  for said in ('24 images', '2.00 TFLOP', '0.034', '`0123456789`'):
    assert said in text.replace('\n', ' ')
  settings = json.loads((out / 'model.json').read_text())
  assert settings['temperature'] == 1.5


def test_what_cannot_be_exported(run, images, tmp_path, monkeypatch):
  def refused(match, out=tmp_path / 'out', **options):
    with pytest.raises(UserError, match=match):
      export.export(run, out, images=images, **options)

  refused('new folder', tmp_path)
  refused('no head to read with', stage='pretrain')
  refused(r"format 'pickle'.*onnx", format='pickle')
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, 'jax2onnx', None)
    refused(r'no jax2onnx.*Install')
  monkeypatch.setattr(shipped, 'onnx_of', lambda *_: b'')
  monkeypatch.setattr(
    export, 'compared', lambda *_: export.Parity(6, 2e-4, 0.0, 6)
  )
  refused('outputs within 2.0e-04')
  assert not list(tmp_path.iterdir())
  assert not export.Parity(6, 0.0, 0.0, 5).good
  assert export.Parity(6, 0.0).good


def test_images_that_are_gone_are_missed(run, tmp_path):
  with pytest.raises(UserError, match=r'no folder.*--images'):
    export.export(run, tmp_path / 'out', images=tmp_path / 'none')


@pytest.fixture(scope='module', params=['safetensors', 'stablehlo'])
def opened(request, run, images, tmp_path_factory):
  """An export that `ssljax.load` opens."""
  out = tmp_path_factory.mktemp(request.param) / 'out'
  assert export.export(run, out, images=images, format=request.param).good
  return out


def test_an_export_is_loaded_as_a_run_is(opened, run, images):
  own, files = ssljax.load(run, stage='finetune'), sorted(images.iterdir())
  reader = ssljax.load(opened)
  assert (reader.stage, reader.temperature) == ('finetune', 1.5)
  for count in (1, 3, 70):
    many = [files[place % len(files)] for place in range(count)]
    found, wanted = reader.recognize(many, top=2), own.recognize(many, top=2)
    assert [each.text for each in found] == [each.text for each in wanted]
    np.testing.assert_allclose(
      [each.confidence for each in found],
      [each.confidence for each in wanted],
      atol=1e-5,
    )
  again = pickle.loads(pickle.dumps(reader))
  assert again.recognize(files) == reader.recognize(files)
  if 'safetensors' in opened.parent.name:
    np.testing.assert_allclose(
      reader.encode(files), own.encode(files), atol=1e-5
    )
  else:
    with pytest.raises(UserError, match='--part=encoder'):
      reader.encode(files)
  with pytest.raises(UserError, match=r"stage 'finetune'.*no other"):
    ssljax.load(opened, stage='pretrain')


def test_damage_is_found(opened, tmp_path):
  name = next(opened.glob('model.s*')).name
  for damage in ('bit', 'gone', 'foreign'):
    copy = tmp_path / damage
    shutil.copytree(opened, copy)
    data = bytearray((copy / name).read_bytes())
    (copy / name).unlink()
    if damage == 'bit':
      data[len(data) // 2] ^= 1
      (copy / name).write_bytes(data)
    elif damage == 'foreign':
      (copy / 'digests.json').unlink()
      (copy / name).write_bytes(data[:100])
    with pytest.raises(UserError, match=name):
      ssljax.load(copy)


@pytest.mark.parametrize('kind', shipped.FORMATS)
def test_the_encoder_alone(kind, run, images, tmp_path):
  out = tmp_path / 'out'
  parity = export.export(
    run, out, images=images, format=kind, part='encoder', stage='pretrain'
  )
  assert parity.good and parity.texts is None
  assert 'has no head' in (out / 'README.md').read_text()
  if kind == 'onnx':
    assert not (out / 'onnx_reader.py').exists()
    with pytest.raises(UserError, match=r'as ONNX.*--format=safetensors'):
      ssljax.load(out)
    return
  files = sorted(images.iterdir())
  reader, own = ssljax.load(out), ssljax.load(run, stage='pretrain')
  np.testing.assert_allclose(reader.encode(files), own.encode(files), atol=1e-5)
  with pytest.raises(UserError, match='an export of an encoder alone'):
    reader.recognize(files)


def test_a_program_takes_any_width_in_frames(run, images, tmp_path):
  export.export(run, tmp_path / 'out', images=images, format='stablehlo')
  reader = ssljax.load(tmp_path / 'out')
  height, whole = reader.height, reader.width
  pixels = np.full((2, height, whole, 3), 90, np.uint8)
  pixels[:, :, : reader.stride] = 200
  widths = np.full(2, 2 * reader.stride, np.int32)
  program = shipped.function_in(tmp_path / 'out')
  short = program(pixels[:, :, : 2 * reader.stride], widths)
  assert short.shape[1] == 2
  np.testing.assert_allclose(short, program(pixels, widths)[:, :2], atol=1e-4)
