"""What a stage decides before its loop, and what the loop watches."""

import functools

import jax
import ml_collections
import numpy as np
import pytest
import tiny_ocr

from configs import simclr_ocr
from ssljax import build, plan, train
from ssljax.data import sources
from ssljax.errors import UserError
from ssljax.records import write_json

CONFIG = tiny_ocr.get_config()


def _source(texts, width=96):
  count = len(texts)
  columns = {
    'image': np.zeros((count, 32, width, 3), np.uint8),
    'index': np.arange(count, dtype=np.int32),
    'text': np.array(texts),
    'layout': np.zeros(count, np.int32),
    'extents': np.full((count, 6, 2), -1, np.float32),
  }
  return sources.MemorySource(columns, ('arcs',))


def _batch(size):
  return {
    'image': np.zeros((size, 32, 96, 3), np.uint8),
    'index': np.arange(size, dtype=np.int32),
    'label': np.ones((size, 6), np.int32),
  }


@functools.cache
def _cost(stage, size=8):
  return plan.loss_flops(build.method(CONFIG, CONFIG[stage]), _batch(size))


def test_the_cost_of_a_step_grows_with_the_batch():
  assert _cost('supervised', 16) == pytest.approx(
    2 * _cost('supervised', 8), rel=0.02
  )


def test_a_frozen_encoder_has_no_backward_pass():
  """Or equal compute would be compared with FLOPs that nobody spends."""
  config = simclr_ocr.get_config('laptop')
  head, finetune = (
    plan.loss_flops(build.method(config, config[stage]), _batch(8))
    for stage in ('head', 'finetune')
  )
  # A third, and the views.
  assert 0.3 < head / finetune < 0.5


def test_the_cost_is_that_of_the_matrices():
  """Within a factor: 2 FLOPs a multiplication, forwards and twice back."""
  params, _ = jax.eval_shape(
    build.method(CONFIG, CONFIG.supervised).init, jax.random.key(0), _batch(8)
  )
  # Dense layers of the head, of which each works once a frame.
  weights = sum(
    leaf.size for leaf in jax.tree.leaves(params['head']) if leaf.ndim == 2
  )
  head = 3 * 2 * 8 * build.frames(CONFIG) * weights
  assert _cost('supervised') > head


def test_equal_compute_is_equal_within_a_hundredth(tmp_path):
  steps = {'pretrain': 500, 'head': 100, 'finetune': 900}
  for name, count in steps.items():
    write_json(tmp_path / name / 'stage.json', {'flops': _cost(name) * count})
  stage = tiny_ocr.get_config().supervised
  stage.match_compute, stage.steps = tuple(steps), None
  cost = _cost('supervised')
  found = plan.stage_steps(stage, _source(['1'] * 32), tmp_path, cost)
  spent = sum(_cost(name) * count for name, count in steps.items())
  assert found * cost == pytest.approx(spent, rel=0.01)


def test_steps_are_given_or_counted_in_epochs():
  stage = tiny_ocr.get_config().supervised
  source = _source(['1'] * 35)
  stage_steps = functools.partial(plan.stage_steps, stage, source, None, 1.0)
  assert stage_steps() == tiny_ocr.STEPS['supervised']
  # As --config.supervised.epochs=3 does: epochs of whole batches.
  stage.epochs = 3
  assert stage_steps() == 3 * 4
  stage.epochs, stage.steps = 0, 0
  assert stage_steps() == 0  # an evaluation
  stage.steps = None
  with pytest.raises(UserError, match=r'0 epochs of 35 .* set epochs or steps'):
    stage_steps()


def test_the_best_rate_is_that_of_the_best_on_validation(tmp_path):
  config = ml_collections.ConfigDict(
    {
      name: {'optimizer': {'learning_rate': rate}, 'best_rate_of': ()}
      for name, rate in (('slow', 1e-4), ('middle', 1e-3), ('fast', 1e-2))
    }
  )
  config.chosen = {
    'optimizer': {'learning_rate': 5.0},
    'best_rate_of': ('slow', 'middle', 'fast'),
  }
  # Test and training figures point elsewhere.
  for name, validation, other in (
    ('slow', 0.3, 1.0), ('middle', 0.5, 0.0), ('fast', 0.4, 1.0)
  ):  # fmt: skip
    figures = {
      'validation': {'edit_distance_accuracy': validation},
      'test': {'edit_distance_accuracy': other},
      'fit': {'edit_distance_accuracy': other},
    }
    write_json(tmp_path / name / 'stage.json', figures)
  assert plan.chosen_rate(config, config.chosen, tmp_path) == 1e-3
  assert plan.chosen_rate(config, config.fast, tmp_path) == 1e-2


def test_labels_that_cannot_be_read_are_refused():
  check = functools.partial(plan.check_labels, CONFIG)
  check(_source(['1234', '111111']))
  with pytest.raises(UserError, match=r"'12x4' has 'x'.*correct the label"):
    check(_source(['1234', '12x4']))
  with pytest.raises(UserError, match='has 7 characters, expected at most 6'):
    check(_source(['1234567']))
  narrow = tiny_ocr.get_config()
  narrow.data.width = 28
  check = functools.partial(plan.check_labels, narrow)
  assert build.frames(narrow) == 7
  check(_source(['123456', '112345', '1234'], width=28))
  # Six characters fit in seven frames, but not with two blanks between.
  with pytest.raises(UserError, match=r"'112245' of example 1.* 8 frames"):
    check(_source(['123456', '112245'], width=28))
  # What counts is the image, not the frame that it is padded to.
  source = _source(['1234', '1234'])
  source.columns['width'] = np.array([16, 12], np.int32)
  with pytest.raises(UserError, match=r'example 1.* 12 pixels wide gives 3'):
    check(source)


def test_a_figure_that_is_not_finite_stops():
  train.check_finite('head', 3, {'loss': 1.0})
  for bad in (np.nan, np.inf, -np.inf):
    with pytest.raises(UserError, match=r'found loss not finite at step 3'):
      train.check_finite('head', 3, {'loss': bad, 'other': 0.0})


def test_one_bad_step_shows_in_the_average():
  """A window hides nothing: the state after it is not saved."""
  window = [{'loss': np.float32(v)} for v in (1.0, np.nan, 2.0)]
  assert np.isnan(train.averages(window)['loss'])
  window = [{'loss': np.float32(v)} for v in (1.0, 2.0)]
  assert train.averages(window) == {'loss': 1.5}


def test_a_batch_as_the_step_reads_it():
  source = _source(['1234', '111111'])
  batch = plan.to_arrays(CONFIG, source.gather([0, 1]))
  assert set(batch) == {'image', 'index', 'label'}
  assert batch['image'].dtype == np.uint8
  np.testing.assert_array_equal(
    batch['label'], [[2, 3, 4, 5, 0, 0], [2, 2, 2, 2, 2, 2]]
  )


def test_an_unknown_method_is_refused_with_a_suggestion():
  config = tiny_ocr.get_config()
  config.pretrain.method.name = 'simclear'
  with pytest.raises(UserError, match=r"'simclear'.*mean 'simclr'\?"):
    build.method(config, config.pretrain)


def test_a_method_gets_its_options():
  """Those of the config reach the factory, and a strange one is no silence."""
  config = tiny_ocr.get_config()
  with config.unlocked():
    config.pretrain.method.temprature = 0.2
  with pytest.raises(UserError, match="Did you mean 'temperature'"):
    build.method(config, config.pretrain)
