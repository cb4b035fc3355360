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
from configs import simclr_images
from ssljax import (
  comparison,
  export,
  onnx_model,
  parity,
  shipped,
  standalone,
)
from ssljax import weights as ssljax_weights
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
    making.save(folder, CONFIG, stage, params, method_state)
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
  refused('only readings tell', part='encoder', precision='float16')
  refused('the format onnx for int8', format='stablehlo', precision='int8')
  refused('--part=encoder', format='safetensors', names='torch')
  refused(
    'Found the encoder SequenceEncoder',
    **{'format': 'safetensors', 'part': 'encoder', 'names': 'torch'},
  )
  monkeypatch.setattr(onnx_model, 'converted', lambda *_: b'')
  monkeypatch.setattr(
    export, 'compared', lambda *_: parity.Parity(6, 2e-4, 0.0, 6)
  )
  refused('outputs within 2.0e-04')
  assert not list(tmp_path.iterdir())
  assert not parity.Parity(6, 0.0, 0.0, 5).good
  assert parity.Parity(6, 0.0).good


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


@pytest.mark.parametrize(
  ('kind', 'precision', 'near'),
  [
    ('onnx', 'int8', 0.1),
    ('onnx', 'float16', 5e-3),
    ('safetensors', 'float16', 5e-3),
    ('stablehlo', 'float16', 5e-3),
  ],
)
def test_fewer_bits(kind, precision, near, run, images, tmp_path, monkeypatch):
  # Random logits are close to each other, so that some texts differ.
  monkeypatch.setattr(parity, 'LOST', 0.5)
  out = tmp_path / 'out'
  found = export.export(
    run, out, images=images, format=kind, precision=precision
  )
  assert 1e-5 < found.outputs < near
  said = json.loads((out / 'model.json').read_text())
  size = (out / f'model.{kind}').stat().st_size
  assert said['bytes']['model'] == size < 0.95 * said['bytes']['float32']
  assert said['loss']['images'] == 6 and not said['loss']['labelled']
  card = ' '.join((out / 'README.md').read_text().split())
  assert said['loss']['told'] in card
  assert f'{size / 1e6:.2f} MB' in card and f'in {precision}' in card
  if precision == 'int8':
    reader = standalone.load(out / 'onnx_reader.py').Reader(out, threads=2)
    files = sorted(images.iterdir())
    # No image changes how another one is read.
    alone = [reader.recognize([file])[0] for file in files]
    assert reader.recognize(files) == alone


def test_fewer_bits_that_misread_are_refused(
  run, images, tmp_path, monkeypatch
):
  """A network of nothing but zeros reads nothing."""

  def zeros(model, precision):
    onnx = pytest.importorskip('onnx')
    found = onnx.load_model_from_string(model)
    for each in found.graph.initializer:
      values = onnx.numpy_helper.to_array(each)
      if values.dtype == np.float32:
        each.CopyFrom(onnx.numpy_helper.from_array(values * 0, each.name))
    return found.SerializeToString()

  monkeypatch.setattr(onnx_model, 'rounded', zeros)
  with pytest.raises(
    UserError, match=r'worse \(reads 0\.\d+ of 6 images.*0\.5 '
  ):
    export.export(run, tmp_path / 'out', images=images, precision='int8')
  assert not list(tmp_path.iterdir())


def test_what_fewer_bits_may_lose():
  labels = ['1'] * 1000
  wanted = ['1'] * 900 + ['2'] * 100

  def lost(right):
    read = ['1'] * right + ['3'] * (1000 - right)
    return parity.loss(wanted, read, labels)

  assert lost(896).good and not lost(894).good and lost(1000).good
  assert lost(896)[:4] == (1000, True, 0.9, 0.896)
  assert 'exact match 0.896, in float32 0.900, on 1,000 test' in str(lost(896))
  # Without labels, the readings in float32 count as right.
  assert parity.loss(wanted, wanted, None)[:4] == (1000, False, 1.0, 1.0)
  assert not parity.loss(wanted, labels, None).good
  assert not parity.loss([], [], []).good


def test_the_runs_own_test_judges_fewer_bits(
  run, images, tmp_path, monkeypatch
):
  """Of a folder: files that the run has tested, and that are still there."""
  (tmp_path / 'run' / 'finetune').mkdir(parents=True)
  stage = tmp_path / 'run' / 'finetune'
  rows = ['0.png,test,,12,1', '1.png,train,,3,3', 'gone.png,test,,4,4']
  rows += ['2.png,test,,,5', '3.png,test,,"6,7",1']
  (stage / 'predictions.csv').write_text(
    '\n'.join(['file,split,layout,label,prediction', *rows, ''])
  )
  data = {'directory': str(images)}
  files, labels = parity.tested(data, stage, data_dir='unused')
  assert [file.name for file in files] == ['0.png', '3.png']
  assert labels == ['12', '6,7']
  # Fewer than ten are too few to say.
  reader = ssljax.load(run, stage='finetune')
  files = sorted(images.iterdir())
  texts = [text for text, _ in reader.recognize(files)]
  kind = shipped.Kind('safetensors', 'reader', 'float16', 'ssljax')
  out = tmp_path / 'out'
  export.export(run, out, images=images, format='safetensors')
  for times, labelled in ((1, False), (2, True)):
    found = files * times, [*texts[:-1], 'x'] * times
    monkeypatch.setattr(parity, 'tested', lambda *_, found=found, **__: found)
    monkeypatch.setattr(parity, 'pictures', lambda *_, **__: files)
    lost = comparison.judged(reader, out, kind, None, 'unused')
    assert lost.labelled == labelled and lost.images == len(found[0])
    assert lost.before == lost.after == (5 / 6 if labelled else 1)


def test_an_encoder_goes_to_torch(tmp_path):
  config = simclr_images.get_config('smoke,dataset=digits,size=16')
  config.encoder = {'name': 'vit', 'width': 16, 'layers': 2, 'heads': 2}
  config.encoder.patch = 8
  config.data.update({'height': 16, 'width': 16})
  method = making.method(config, 'pretrain')
  pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
  arrays = making.arrays(
    method, {'image': pixels, 'index': np.arange(3, dtype=np.int32)}
  )
  run = tmp_path / 'run'
  write_json(run / 'config.json', config.to_dict())
  making.save(run, config, 'pretrain', *arrays)
  write_json(
    run / 'pretrain/stage.json',
    {'steps': 1, 'examples': 3, 'labels': 0, 'flops': 1e9},
  )
  shown = tmp_path / 'images'
  shown.mkdir()
  for place, each in enumerate(pixels):
    Image.fromarray(each).save(shown / f'{place}.png')
  out = tmp_path / 'out'
  found = export.export(
    *(run, out),
    stage='pretrain',
    images=shown,
    format='safetensors',
    part='encoder',
    names='torch',
  )
  assert found.good and found.images == 3
  tensors, metadata = ssljax_weights.read_weights(out / 'model.safetensors')
  assert tensors['blocks.1.attn.qkv.weight'].shape == (48, 16)
  assert metadata['mean'] == '[0.5, 0.5, 0.5]'
  np.testing.assert_allclose(
    ssljax.load(out).encode(pixels),
    ssljax.load(run, stage='pretrain').encode(pixels),
    atol=1e-5,
  )
  card = (out / 'README.md').read_text()
  assert 'timm.models.VisionTransformer(' in card
  assert 'img_size=(16, 16)' in card and 'embed_dim=16' in card
  changed = {name: each + 1 for name, each in tensors.items()}
  ssljax_weights.write_weights(out / 'model.safetensors', changed, metadata)
  with pytest.raises(UserError, match=r'model\.safetensors'):
    ssljax.load(out)
