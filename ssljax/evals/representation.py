"""What features are worth: kNN, and linear probes with few labels and many.

Every figure carries its protocol, and figures of different protocols do not go
into one table.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from ssljax.errors import UserError
from ssljax.evals import subsets
from ssljax.evals.knn import knn
from ssljax.evals.linear import LIMIT, STRENGTHS, linear_probe
from ssljax.evals.text_metrics import bootstrap


class Features(NamedTuple):
  """Features of a split; those of a sequence are averaged over time."""

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
  """Figures of frozen features, by name.

  Args:
    train: labelled features, of which the probes see some and the kNN all.
    test: what accuracy is measured on.
    classes: their number.
    per_class: labels a class; each figure is the mean over `draws` subsets,
      with a 95 % interval over the draws.
    draws: subsets, the same ones for every encoder, so that rows are paired.
    fractions: shares of all labels; one subset each, with a 95 % interval over
      the test images.
    k: neighbours; half of the train images where there are fewer than twice k.
    temperature: of the kNN.
    seed: of the subsets.
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
  for count in per_class:
    # The first draw chooses the penalty for all.
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


def proportion(hits, protocol: dict) -> dict:
  """A share of the test images, with its 95 % bootstrap interval."""
  hits = np.asarray(hits, float)
  low, high = bootstrap(hits, np.ones(len(hits)))
  return {
    'value': float(hits.mean()),
    'low': low,
    'high': high,
    'protocol': protocol,
  }


def over_draws(values: Sequence[float]) -> dict:
  """Mean over draws, with its 95 % interval by Student's t."""
  values = np.asarray(values, float)
  half = 0.0
  if len(values) > 1:
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
  mean = float(values.mean())
  return {'value': mean, 'low': mean - half, 'high': mean + half}


def paired(a: Mapping, b: Mapping) -> dict:
  """The difference a - b of two figures, draw by draw.

  Raises:
    UserError: figures of different protocols.
  """
  comparable({'a': a, 'b': b})
  return over_draws(np.subtract(a['by_draw'], b['by_draw']))


def comparable(figures: Mapping[str, Mapping]) -> None:
  """UserError unless the figures of a column share one protocol."""
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
        f'Found figures of different protocols: {said}; expected one protocol '
        'in a table. Evaluate both alike, or make two tables.'
      )
