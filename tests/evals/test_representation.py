"""Figures of features: what they are, and what may stand beside what."""

import json

import numpy as np
import pytest
from scipy import stats

from ssljax import evals
from ssljax.errors import UserError
from ssljax.evals import representation
from ssljax.evals.linear import linear_probe


def _features(count, seed, time=()):
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % 3
  noise = rng.normal(size=(count, *time, 4))
  shape = (count, *(1 for _ in time), 4)
  rows = noise + 1.5 * np.eye(4)[labels].reshape(shape)
  return evals.Features(rows.astype(np.float32), labels)


def _evaluate(train, test, **options):
  chosen = {'draws': 3, 'per_class': (2,), 'fractions': (0.5,), 'k': 5}
  return evals.evaluate(train, test, classes=3, **chosen | options)


def test_a_figure_that_a_class_has_too_few_labels_for_is_left_out():
  """Told when the folder is opened, and no reason to end a trained run."""
  train, test = _features(36, 0), _features(50, 1)
  keep = [0, *np.flatnonzero(train.labels)]
  train = evals.Features(train.features[keep], train.labels[keep])
  found = _evaluate(train, test, per_class=(1, 2))
  assert list(found) == ['kNN', 'linear, 1 a class', 'linear, 50%']


def test_figures_are_those_of_the_parts():
  train, test = _features(36, 0), _features(50, 1)
  found = _evaluate(train, test)
  json.dumps(found)
  assert list(found) == ['kNN', 'linear, 2 a class', 'linear, 50%']
  votes = evals.knn(*train, test.features, classes=3, k=5)
  assert found['kNN']['value'] == np.mean(votes == test.labels)
  for draw, value in enumerate(found['linear, 2 a class']['by_draw']):
    chosen = evals.per_class(train.labels, 2, seed=draw)
    guesses, _ = linear_probe(
      train.features[chosen], train.labels[chosen], test.features
    )
    assert value == np.mean(guesses == test.labels)
  assert len(set(found['linear, 2 a class']['by_draw'])) > 1
  for figure in found.values():
    assert figure['low'] <= figure['value'] <= figure['high']


def test_a_sequence_is_averaged_over_time():
  train, test = _features(36, 0, (7,)), _features(20, 1, (7,))
  flat = [x._replace(features=x.features.mean(1)) for x in (train, test)]
  assert _evaluate(train, test) == _evaluate(*flat)


def test_the_protocol_stands_beside_the_number():
  train, test = _features(36, 0), _features(50, 1)
  found = _evaluate(train, test, seed=4, temperature=0.2)
  sizes = {'train': 36, 'test': 50, 'checkpoint': 'last'}
  expected = sizes | {'evaluation': 'kNN', 'k': 5, 'temperature': 0.2}
  assert found['kNN']['protocol'] == expected
  probe = found['linear, 2 a class']['protocol']
  assert probe.items() >= {**sizes, 'seed': 4, 'draws': 3}.items()
  assert probe['labels'] == '2 a class'
  assert found['linear, 50%']['protocol']['count'] == 18


def test_k_where_images_are_few():
  """What was used is what is recorded."""
  found = _evaluate(_features(36, 0), _features(9, 1), k=200)
  assert found['kNN']['protocol']['k'] == 18


def test_the_test_images_choose_nothing():
  """A figure of some test images does not depend on the others."""
  train, test = _features(36, 0), _features(50, 1)
  half = evals.Features(test.features[:25], test.labels[:25])
  other = np.random.default_rng(5).permutation(test.labels)
  mixed = np.concatenate([test.labels[:25], other[25:]])
  whole = _evaluate(train, evals.Features(test.features, mixed), draws=1)
  # Hits are counted: those of the half are the whole's less the rest's.
  rest = evals.Features(test.features[25:], mixed[25:])
  parts = [_evaluate(train, x, draws=1) for x in (half, rest)]
  for name, figure in whole.items():
    mean = (parts[0][name]['value'] + parts[1][name]['value']) / 2
    assert figure['value'] == pytest.approx(mean)


def test_over_draws_against_scipy():
  values = np.random.default_rng(0).random(10)
  found = representation.over_draws(values)
  interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
  np.testing.assert_allclose(
    [found['value'], found['low'], found['high']], [values.mean(), *interval]
  )


def test_paired_against_scipy():
  rng = np.random.default_rng(0)
  hard = rng.random(10)  # draws that are hard for both
  a, b = hard + 0.05 + 0.01 * rng.random(10), hard
  figures = [{'by_draw': x.tolist(), 'protocol': {}} for x in (a, b)]
  found = evals.paired(*figures)
  interval = stats.ttest_rel(a, b).confidence_interval(0.95)
  np.testing.assert_allclose([found['low'], found['high']], interval)
  assert found['low'] > 0.04  # unpaired it would reach far below 0
  assert found['value'] == pytest.approx(np.mean(a - b))


def test_a_table_of_two_protocols_is_refused():
  train, test = _features(36, 0), _features(50, 1)
  one = _evaluate(train, test)
  evals.comparable({'a': one['kNN'], 'b': one['kNN'], 'c': one['kNN']})
  for options, key in (({'k': 6}, 'k 6'), ({'temperature': 1.0}, 'temper')):
    other = _evaluate(train, test, **options)['kNN']
    with pytest.raises(UserError, match=f"{key}.* of 'c' .* of 'a'"):
      evals.comparable({'a': one['kNN'], 'b': one['kNN'], 'c': other})
  other = _evaluate(train, test, seed=1)['linear, 2 a class']
  with pytest.raises(UserError, match='seed'):
    evals.paired(one['linear, 2 a class'], other)
  # A key that only one of them has.
  with pytest.raises(UserError, match='labels'):
    evals.comparable({'a': one['kNN'], 'b': one['linear, 50%']})
