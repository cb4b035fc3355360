"""The summary before a run, and how the first steps correct it."""

import functools
import types

import jax
import numpy as np
import pytest
import tiny_ocr
from PIL import Image

from configs import common
from ssljax import core, forecast, stage, tasks
from ssljax.data import datasets


class _Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def _stage(name, flops, steps):
  return types.SimpleNamespace(name=name, flops=flops, steps=steps)


def test_what_is_left_of_a_run_is_forecast_and_then_measured(monkeypatch):
  monkeypatch.setattr(forecast, 'speed', lambda: 1e9)
  clock = _Clock()
  stages = [
    _stage('pretrain', 400e9, 400),
    _stage('head', 80e9, 20),
    _stage('test', 0.0, 0),
  ]
  pace = forecast.Pace(stages, clock)
  pace.begin(stages[0])
  assert pace.later == 80  # by the speed that was forecast
  clock.now = 100.0  # compiles
  pace.read(20)
  assert pace.later == 80
  clock.now = 110.0  # 20 GFLOP
  pace.read(40)
  assert pace.later == 40
  clock.now = 190.0  # 60 GFLOP since then
  pace.read(60 + 20)
  assert pace.later == pytest.approx(80 * 90 / 60)
  pace.begin(stages[1])
  assert pace.later == 0.0
  pace.begin(stages[2])  # takes no step
  pace.read(0)
  pace.read(0)
  assert pace.later == 0.0


def test_stages_of_seconds_are_not_forecast(monkeypatch):
  monkeypatch.delattr(forecast, 'speed')  # which would be asked
  clock = _Clock()
  stages = [_stage('pretrain', 4e9, 40), _stage('head', 8e9, 20)]
  pace = forecast.Pace(stages, clock)
  pace.begin(stages[0])
  assert pace.later is None
  pace.read(1)
  clock.now = 1.0
  pace.read(2)  # 0.1 GFLOP a second
  assert pace.later == pytest.approx(80)


@pytest.fixture(scope='module')
def resolved(tmp_path_factory):
  """The folder, its data and the resolved stages of a run on it."""
  folder = tmp_path_factory.mktemp('own')
  for place in range(20):
    Image.new('L', (60 + place, 30), 10 * place).save(
      folder / f'{place:02}.png'
    )
  rows = '\n'.join(f'{place:02}.png,4{place % 8}' for place in range(10))
  (folder / 'labels.csv').write_text(f'file,text\n{rows}\n')
  config = tiny_ocr.get_config()
  config.mapping = 'jit'
  config.data = common.own_data(str(folder))
  for name in config.recipe:
    config[name].data.count = None
    config[name].batch_size = 32 if name == 'pretrain' else 8
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='unused')
  config.data.update(dataset.resolved)
  recipe = stage.resolve(
    config, folder=folder / 'run', task=tasks.make(config), dataset=dataset
  )
  return folder, dataset, recipe


def test_the_state_has_the_bytes_of_its_arrays(resolved):
  first = resolved[2].stages[0]
  create = functools.partial(
    core.create_state, method=first.method, optimizer=first.optimizer
  )
  state = jax.jit(create)(jax.random.key(0), first.batch())
  arrays = jax.tree.leaves(state._replace(key=()))
  assert forecast.state_bytes(first) == sum(leaf.nbytes for leaf in arrays)


def test_the_summary_of_a_folder(resolved):
  folder, dataset, recipe = resolved
  survey = dataset.survey()
  told = forecast.summarize(
    recipe, folder=folder / 'run', dataset=dataset, survey=survey
  )
  assert '20 found, 20 used' in told
  assert '60 to 79 (median 70) wide, 30 high' in told
  assert 'Labels: 10 of 20 images' in told
  examples = 20 - len(survey.splits['test'])
  assert f'12 steps of {examples} (not 32, as the examples' in told
  assert 'too few to say' in told
  assert not (folder / 'run').exists()


def test_what_is_saved_is_done(resolved):
  _, _, recipe = resolved
  first = recipe.stages[0]
  (before,) = forecast.planned([first])
  (first.folder / 'checkpoints' / '3').mkdir(parents=True)
  (first.folder / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir()
  (after,) = forecast.planned([first])
  assert (before.done, after.done) == (0, 3)
  assert after.flops == pytest.approx(before.flops * 9 / 12)
  assert before.saved == 2 * before.state  # two checkpoints are kept


def test_twelve_pictures_are_drawn(resolved, tmp_path):
  _, dataset, _ = resolved
  forecast.draw(
    tmp_path / 'pictures.png', dataset=dataset, survey=dataset.survey()
  )
  with Image.open(tmp_path / 'pictures.png') as image:
    assert image.width == 1200
    pixels = np.asarray(image.convert('L'))
  # From the darkest picture to the lightest but for the test images.
  assert (
    pixels.min() == 0 and (pixels == 180).sum() + (pixels == 190).sum() > 99
  )


def test_pictures_of_classes_are_drawn_with_their_class(tmp_path, monkeypatch):
  for name in ('cat', 'dog'):
    (tmp_path / name).mkdir()
    for place in range(20):
      image = Image.new('L', (30 + place, 20), 10 * place)
      image.save(tmp_path / name / f'{place}.png')
  data = {'name': 'folder', 'directory': str(tmp_path), 'size': 8}
  dataset = datasets.open_dataset(data, data_dir='unused')
  survey = dataset.survey()
  assert sorted(survey.sizes) == sorted(2 * [(30 + n, 20) for n in range(20)])
  drawn = []
  monkeypatch.setattr(
    forecast.sheet, 'pictures', lambda *them: drawn.extend(them)
  )
  forecast.draw(tmp_path / 'x.png', dataset=dataset, survey=survey)
  images, captions, _ = drawn
  assert len(images) == 12
  for pixels, (label, name) in zip(images, captions, strict=True):
    assert name.startswith(f'{label}/')
    place = int(name.partition('/')[2].removesuffix('.png'))
    assert (pixels == 10 * place).all()
  assert {label for label, _ in captions} == {'cat', 'dog'}


def test_rendered_images_have_no_sheet(tmp_path):
  forecast.draw(tmp_path / 'a.png', dataset=None, survey=None)
  assert not (tmp_path / 'a.png').exists()


def test_the_speed_is_measured():
  assert 1e6 < forecast.speed() < 1e16
