"""Figures of a stage: of which examples they are."""

import csv
import types

import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import core, evals, evaluate, train
from ssljax.data import sources
from ssljax.decoding import Reading
from ssljax.evals import text_metrics
from ssljax.tasks.reading import read_splits
from ssljax.text import Charset


def _source(count, start=0):
  """Images whose pixels are their numbers."""
  numbers = np.arange(start, start + count)
  images = np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, 3))
  columns = {
    'image': images.astype(np.uint8),
    'index': numbers.astype(np.int32),
    'text': np.array([str(number) for number in numbers]),
    'layout': np.zeros(count, np.int32),
  }
  return sources.MemorySource(columns, ('arcs',))


@pytest.mark.parametrize('count', [1, 7, 8, 9, 16])
def test_features_are_those_of_each_example_once(count, monkeypatch):
  """The last batch is filled up with copies, which are no examples."""
  monkeypatch.setattr(train, 'EVALUATION_BATCH', 8)

  def encode(params, method_state, images):
    rows = images.astype(jnp.float32).mean(axis=(1, 2))
    return params['scale'] * rows + method_state['shift']

  method = core.Method(init=None, loss=None, encode=encode)
  stage = types.SimpleNamespace(method=method, source=_source(count))
  found = train.encode_all(stage, {'scale': 3.0}, {'shift': 0.5})
  expected = 3.0 * np.arange(count, dtype=np.float64) + 0.5
  np.testing.assert_allclose(found, expected[:, None].repeat(3, axis=1))


def test_features_and_readings_are_of_images_without_their_padding():
  """The widths go to `encode` and `predict` where the data has them."""
  source = _source(3)
  source.columns['width'] = np.array([1, 2, 4], np.int32)

  def encode(params, method_state, images, widths):
    return jnp.asarray(widths, jnp.float32)[:, None]

  method = core.Method(init=None, loss=None, encode=encode)
  stage = types.SimpleNamespace(method=method, source=source)
  assert train.encode_all(stage, {}, {}).tolist() == [[1], [2], [4]]

  def predict(images, widths):
    """One frame, an 'a' of narrow images and a 'b' of wide ones."""
    return np.eye(3)[1 + (widths > 2)][:, None]

  batches = [source.gather([0, 1, 2]) | {'valid': np.ones(3, bool)}]
  assert evals.read(predict, batches, Charset('ab')).texts == ['a', 'a', 'b']


def test_the_second_best_is_another_text():
  """Also where the best path is not the most probable text."""
  # 'a' is more probable than the empty text, the best path of both rows.
  logits = np.log([[[0.55, 0.35, 0.1]] * 2, [[0.9, 0.06, 0.04]] * 2])
  outputs = evals.Outputs(logits, None, ['a', 'b'], [0, 0])
  found = evals.read_outputs([outputs], Charset('ab'), second=True)
  assert found.texts == ['', '']
  for reading, order in zip(found.readings, ('a-', '-a'), strict=True):
    assert [text or '-' for text, _ in reading.alternatives] == list(order)
    assert reading in reading.alternatives


class _Dataset:
  """Splits of different sizes."""

  def __init__(self, **sizes):
    self.splits, self.sizes, self.opened = tuple(sizes), sizes, []

  def files(self, split):
    return ()

  def open(self, split):
    self.opened.append(split)
    start = 10 * (1 + self.splits.index(split))
    return _source(self.sizes[split], start)


# How many examples of each split are read right: no two shares are the same.
RIGHT = {'train': 1, 'validation': 2, 'test': 3, 'test_unseen': 4}


def _read_all(source, second=False):
  """The first examples of a split right, and the others not at all."""
  labels = [str(text) for text in source.columns['text']]
  right = list(RIGHT.values())[int(labels[0]) // 10 - 1]
  predictions = [
    Reading(label if place < right else '', 0.5, (), [('x', 0.25)] * second)
    for place, label in enumerate(labels)
  ]
  return evals.Read(predictions, labels, source.columns['layout'].tolist())


def test_each_figure_is_of_the_split_that_it_names(tmp_path):
  dataset = _Dataset(train=8, validation=8, test=8, test_unseen=5)
  found = read_splits(_read_all, dataset.open('train'), dataset, tmp_path)
  named = {'fit': 'train', 'validation': 'validation'}
  named |= {split: split for split in ('test', 'test_unseen')}
  assert set(found) == set(named)
  for name, split in named.items():
    share = RIGHT[split] / dataset.sizes[split]
    assert found[name]['exact_match'] == pytest.approx(share), name
    assert found[name]['edit_distance_accuracy'] == pytest.approx(share), name
    assert found[name]['character_error_rate'] == pytest.approx(1 - share)
  with (tmp_path / 'predictions.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  # What chooses is not among what is reported.
  assert {row['split'] for row in rows} == {'test', 'test_unseen'}
  for split in ('test', 'test_unseen'):
    of_split = [row for row in rows if row['split'] == split]
    assert [row['file'] for row in of_split] == [
      f'example {place}' for place in range(dataset.sizes[split])
    ]
    assert {row['confidence'] for row in of_split} == {'0.5'}
    assert {row['second_best'] for row in of_split} == {'x'}
    assert len(of_split) == dataset.sizes[split]
    exact = text_metrics.exact_match(
      [row['prediction'] for row in of_split],
      [row['label'] for row in of_split],
    )
    assert exact == pytest.approx(found[split]['exact_match'])


def test_without_a_validation_split_nothing_validates(tmp_path):
  """No other split stands in for it."""
  dataset = _Dataset(train=8, test=8)
  found = read_splits(_read_all, dataset.open('train'), dataset, tmp_path)
  assert set(found) == {'fit', 'test'}


def test_a_task_is_tested_on_prints_of_the_images_themselves():
  """Also where it learns from the prints of other images."""

  class _Masked:
    splits = ('train', 'test')

    def open(self, split):
      return _source(6)

    def masks(self, split):
      return np.arange(6, dtype=np.uint8)[:, None, None] * np.ones(
        (4, 4), np.uint8
      )

  method = core.Method(init=None, loss=None, encode=None, examine=lambda: None)
  stage = types.SimpleNamespace(method=method, clean='other')
  batch = evaluate.held_out(stage, _Masked()).gather(range(6))
  np.testing.assert_array_equal(batch['clean'][:, 0, 0, 0], 255 - np.arange(6))
