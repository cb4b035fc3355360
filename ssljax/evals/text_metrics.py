"""How well text was read: three figures, and how far to trust them.

All compare a list of predictions with the list of their labels, through the
Levenshtein distance d: the fewest characters to insert, delete or replace.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from rapidfuzz.distance import Levenshtein


class Samples(NamedTuple):
  """What every figure is made of, one value per sample."""

  distances: Int[np.ndarray, 'samples']
  lengths: Int[np.ndarray, 'samples']
  exact: Bool[np.ndarray, 'samples']

  @property
  def accuracies(self) -> Float[np.ndarray, 'samples']:
    """1 - d / len(label); below 0 where the guess is wrong and longer."""
    return 1 - self.distances / self.lengths


def edit_distance_accuracy(
  predictions: Sequence[str], labels: Sequence[str]
) -> float:
  """The mean over samples of 1 - d / len(label), the article's figure.

  At most 1 and without a lower bound: a guess that is longer than its label
  can cost more than the label is long. It is not cut off at 0, so that a
  model that babbles does not score like one that is silent.

  Raises:
    ValueError: no samples, an empty label, or as many predictions as not
      labels.
  """
  return float(per_sample(predictions, labels).accuracies.mean())


def exact_match(predictions: Sequence[str], labels: Sequence[str]) -> float:
  """The share of samples without a mistake. Raises as the others do."""
  return float(per_sample(predictions, labels).exact.mean())


def character_error_rate(
  predictions: Sequence[str], labels: Sequence[str]
) -> float:
  """Σ d / Σ len(label): mistakes per character, above 1 for long guesses.

  A ratio of sums, where long labels weigh more; 1 minus the edit-distance
  accuracy is the mean of ratios. Raises as the others do.
  """
  samples = per_sample(predictions, labels)
  return float(samples.distances.sum() / samples.lengths.sum())


def per_sample(predictions: Sequence[str], labels: Sequence[str]) -> Samples:
  """Distance, label length and exactness of every sample.

  Raises:
    ValueError: no samples, an empty label, something that is no string, or
      lists of different lengths.
  """
  if len(predictions) != len(labels) or not len(labels):
    raise ValueError(
      f'Found {len(predictions)} predictions and {len(labels)} labels, '
      f'expected one prediction per label and at least one.'
    )
  pairs = list(zip(predictions, labels, strict=True))
  for index, pair in enumerate(pairs):
    # Bytes or a (text, confidence) pair have a distance too, a wrong one.
    if not all(isinstance(text, str) for text in pair):
      raise ValueError(
        f'Found {pair} at index {index}, expected two strings; decode bytes '
        f'and leave confidences out.'
      )
    if not pair[1]:
      raise ValueError(
        f'The label at index {index} is empty, expected at least one '
        f'character: d / len(label) is undefined. Leave the sample out.'
      )
  distances = np.array([Levenshtein.distance(*pair) for pair in pairs])
  lengths = np.array([len(label) for label in labels])
  return Samples(distances, lengths, distances == 0)


def bootstrap(
  values: Shaped[np.ndarray, 'samples'],
  sizes: Shaped[np.ndarray, 'samples'] | None = None,
  *,
  seed: int = 0,
  resamples: int = 1000,
) -> tuple[float, float]:
  """The 95 % percentile interval of Σ values / Σ sizes.

  Samples are drawn with replacement, each value together with its size, so
  that a ratio of sums (the character error rate) is one as well. It covers
  the choice of test images, not that of the seed or the training labels.

  Args:
    values: one per sample.
    sizes: their denominators; 1 each by default, which gives the mean.
    seed: of the draws; the same seed gives the same interval.
    resamples: how many times to draw as many samples as there are.

  Returns:
    (low, high), the 2.5th and 97.5th percentile.

  Raises:
    ValueError: no values, or not one size per value.
  """
  values = np.asarray(values, np.float64)
  sizes = np.ones_like(values) if sizes is None else np.asarray(sizes)
  if values.ndim != 1 or not len(values) or sizes.shape != values.shape:
    raise ValueError(
      f'Found values of shape {values.shape} and sizes of shape '
      f'{sizes.shape}, expected two vectors of one length, at least 1.'
    )
  rng = np.random.default_rng(seed)
  count = len(values)
  rows = max(1, 2**21 // count)  # 16 MB of indices at a time.
  ratios = []
  for start in range(0, resamples, rows):
    shape = (min(rows, resamples - start), count)
    chosen = rng.integers(count, size=shape)
    ratios.append(values[chosen].sum(axis=1) / sizes[chosen].sum(axis=1))
  low, high = np.percentile(np.concatenate(ratios), [2.5, 97.5])
  return float(low), float(high)


def report(
  predictions: Sequence[str],
  labels: Sequence[str],
  layouts: Int[np.ndarray, 'samples'] | Sequence[int],
  names: Sequence[str],
  *,
  seed: int = 0,
  resamples: int = 1000,
) -> dict[str, dict]:
  """Every figure with its interval, over all samples and per layout.

  Args:
    predictions: what was read.
    labels: what was there.
    layouts: each sample's layout, an index into `names`.
    names: the layouts' names; one without samples is left out.
    seed: of the bootstrap.
    resamples: of the bootstrap.

  Returns:
    {'all' or a layout: {'count': int, and for each of
    'edit_distance_accuracy', 'exact_match' and 'character_error_rate':
    {'value': float, 'low': float, 'high': float}}}, ready for JSON.

  Raises:
    ValueError: as `per_sample`; a layout outside `names`, or called 'all'.
  """
  samples = per_sample(predictions, labels)
  layouts = np.asarray(layouts)
  if layouts.shape != samples.lengths.shape:
    raise ValueError(
      f'Found layouts of shape {layouts.shape}, expected one of '
      f'{len(names)} for each of the {len(samples.lengths)} samples.'
    )
  if layouts.min() < 0 or layouts.max() >= len(names) or 'all' in names:
    raise ValueError(
      f'Found layouts from {layouts.min()} to {layouts.max()}, expected '
      f"indices into the names {tuple(names)}, none of them 'all'."
    )
  parts = {'all': np.ones(layouts.shape, bool)}
  parts |= {name: layouts == i for i, name in enumerate(names)}

  def figure(values, sizes):
    low, high = bootstrap(values, sizes, seed=seed, resamples=resamples)
    value = float(values.sum() / sizes.sum())
    return {'value': value, 'low': low, 'high': high}

  def figures(part):
    some = Samples(*(array[part] for array in samples))
    ones = np.ones(len(some.lengths))
    return {
      'count': len(ones),
      'edit_distance_accuracy': figure(some.accuracies, ones),
      'exact_match': figure(some.exact, ones),
      'character_error_rate': figure(some.distances, some.lengths),
    }

  return {name: figures(part) for name, part in parts.items() if part.any()}
