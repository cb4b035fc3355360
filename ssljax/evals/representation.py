"""Evaluates features by kNN, and by linear probes with few and many labels.

Every figure carries its protocol, because figures of different protocols must
not be compared in one table.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from ssljax.errors import UserError
from ssljax.evals import subsets
from ssljax.evals.knn import knn
from ssljax.evals.linear import LIMIT, STRENGTHS, linear_probe
from ssljax.evals.text_metrics import bootstrap


class Features(NamedTuple):
  """The features and labels of a split; `flat` averages sequences over time."""

  features: Float[np.ndarray, 'n *time d']
  labels: Int[np.ndarray, 'n']

  def flat(self) -> Float[np.ndarray, 'n d']:
    if self.features.ndim == 3:
      return self.features.mean(axis=1)
    return self.features


def evaluate(
  train: Features,
  test: Features,
  *,
  classes: int,
  per_class: Sequence[int] = (5,),
  draws: int = 10,
  fractions: Sequence[float] = (0.01, 0.05, 0.1, 1.0),
  k: int = 200,
  temperature: float = 0.1,
  seed: int = 0,
) -> dict[str, dict]:
  """Measures the accuracy that frozen features give.

  Args:
    train: labelled features; the kNN uses all of them, a probe only a subset.
    test: the features and labels on which accuracy is measured.
    classes: the number of classes.
    per_class: numbers of labels per class. For each, the figure is the mean
      over `draws` subsets, with a 95 % interval over the draws. A number that
      some class has fewer labels than is left out.
    draws: the number of these subsets. They are the same for every encoder, so
      that two encoders can be compared draw by draw.
    fractions: shares of all labels. For each there is one subset, and its
      figure has a 95 % interval over the test images.
    k: the number of neighbours; with fewer than 2 k training images, half of
      the training images.
    temperature: the temperature of the kNN.
    seed: the seed of the subsets.

  Returns:
    The figures by name, such as 'kNN' or 'linear, 5 a class'. Each is a dict
    of 'value', 'low', 'high' and 'protocol'. The figures over draws also have
    'by_draw', the list of accuracies.
  """
  x, y = train.flat(), test.flat()
  labels, truth = train.labels, test.labels
  k = min(k, len(x) // 2)
  common = {'checkpoint': 'last', 'train': len(x), 'test': len(y)}
  votes = knn(x, labels, y, classes=classes, k=k, temperature=temperature)
  protocol = {'evaluation': 'kNN', 'k': k, 'temperature': temperature}
  found = {'kNN': proportion(votes == truth, protocol | common)}
  common |= {
    'evaluation': 'linear probe',
    'seed': seed,
    'penalty': 'cross-validated',
    'strengths': list(STRENGTHS),
    'iterations': LIMIT,
  }
  fewest = np.unique(labels[labels >= 0], return_counts=True)[1].min()
  for count in per_class:
    if count > fewest:
      continue
    # The penalty is chosen on the first draw, and all draws use it.
    hits, strength = [], None
    for draw in range(draws):
      chosen = subsets.per_class(labels, count, seed=seed + draw)
      guesses, strength = linear_probe(
        x[chosen], labels[chosen], y, strength=strength
      )
      hits.append(float(np.mean(guesses == truth)))
    protocol = common | {'labels': f'{count} a class', 'draws': draws}
    found[f'linear, {count} a class'] = {
      **over_draws(hits),
      'by_draw': hits,
      'protocol': protocol,
    }
  for fraction in fractions:
    chosen = subsets.share(labels, fraction, seed=seed)
    guesses, _ = linear_probe(x[chosen], labels[chosen], y)
    protocol = common | {'labels': f'{fraction:.0%}', 'count': len(chosen)}
    found[f'linear, {fraction:.0%}'] = proportion(guesses == truth, protocol)
  return found


def proportion(
  hits: Sequence[bool] | np.ndarray, protocol: Mapping[str, Any]
) -> dict[str, Any]:
  """The share of hits among the test images, and its 95 % bootstrap interval.

  Args:
    hits: whether each test image is classified correctly.
    protocol: how the figure was measured.
  """
  hits = np.asarray(hits, float)
  low, high = bootstrap(hits, np.ones(len(hits)))
  return {
    'value': float(hits.mean()),
    'low': low,
    'high': high,
    'protocol': protocol,
  }


def over_draws(values: Sequence[float] | np.ndarray) -> dict[str, float]:
  """The mean over draws, with its 95 % interval by Student's t."""
  values = np.asarray(values, float)
  half = 0.0
  if len(values) > 1:
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
  mean = float(values.mean())
  return {'value': mean, 'low': mean - half, 'high': mean + half}


def paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, float]:
  """The mean difference a - b of two figures with the same draws.

  The interval is that of the differences, draw by draw.

  Raises:
    UserError: the figures have different protocols.
  """
  comparable({'a': a, 'b': b})
  return over_draws(np.subtract(a['by_draw'], b['by_draw']))


def comparable(figures: Mapping[str, Mapping[str, Any]]) -> None:
  """Raises a UserError unless all figures have the same protocol."""
  (first, expected), *others = figures.items()
  for name, found in others:
    keys = [
      key
      for key in {**expected['protocol'], **found['protocol']}
      if expected['protocol'].get(key) != found['protocol'].get(key)
    ]
    if keys:
      said = ', '.join(
        f'{key} {found["protocol"].get(key)!r} of {name!r} and '
        f'{expected["protocol"].get(key)!r} of {first!r}'
        for key in keys
      )
      raise UserError(
        f'Found figures of different protocols: {said}; expected the same '
        'protocol in one table. Evaluate both alike, or make two tables.'
      )
