"""Three figures for how well text was read, and their confidence intervals.

All of them compare a list of predictions with the list of their labels by the
Levenshtein distance d: the least number of characters to insert, delete or
replace.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from rapidfuzz.distance import Levenshtein


class Samples(NamedTuple):
  """The values that the figures are computed from, one per sample.

  Attributes:
    distances: the Levenshtein distance of the prediction from the label.
    lengths: the number of characters of the label.
    exact: whether the prediction equals the label.
  """

  distances: Int[np.ndarray, 'samples']
  lengths: Int[np.ndarray, 'samples']
  exact: Bool[np.ndarray, 'samples']

  @property
  def accuracies(self) -> Float[np.ndarray, 'samples']:
    """1 - d / len(label), which is below 0 if d exceeds the label's length."""
    return 1 - self.distances / self.lengths


def edit_distance_accuracy(
  predictions: Sequence[str], labels: Sequence[str]
) -> float:
  """The mean over samples of 1 - d / len(label), the article's figure.

  It is at most 1 and has no lower bound, because a prediction that is longer
  than its label can have more mistakes than the label has characters. It is
  not cut off at 0; otherwise a model that babbles would score like a model
  that says nothing.

  Raises:
    ValueError: as for `per_sample`.
  """
  return float(per_sample(predictions, labels).accuracies.mean())


def exact_match(predictions: Sequence[str], labels: Sequence[str]) -> float:
  """The share of samples that are read without a mistake.

  Raises:
    ValueError: as for `per_sample`.
  """
  return float(per_sample(predictions, labels).exact.mean())


def character_error_rate(
  predictions: Sequence[str], labels: Sequence[str]
) -> float:
  """Σ d / Σ len(label): mistakes per character of the labels.

  It can exceed 1 if predictions are longer than their labels. As a ratio of
  sums it gives long labels more weight; 1 minus the edit-distance accuracy is
  a mean of ratios instead.

  Raises:
    ValueError: as for `per_sample`.
  """
  samples = per_sample(predictions, labels)
  return float(samples.distances.sum() / samples.lengths.sum())


def per_sample(predictions: Sequence[str], labels: Sequence[str]) -> Samples:
  """Computes the distance, label length and exactness of every sample.

  Raises:
    ValueError: there are no samples, a label is empty, a prediction or label
      is not a string, or the lists have different lengths.
  """
  if len(predictions) != len(labels) or not len(labels):
    raise ValueError(
      f'Found {len(predictions)} predictions and {len(labels)} labels, '
      'expected one prediction per label and at least one. Pass two lists of '
      'one length.'
    )
  pairs = list(zip(predictions, labels, strict=True))
  for index, pair in enumerate(pairs):
    # Bytes or a (text, confidence) pair would have a distance too, but a wrong
    # one.
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
  that the interval also holds for a ratio of sums, such as the character error
  rate. The interval covers the choice of the test images, but not the choice
  of the seed or of the training labels.

  Args:
    values: one value per sample.
    sizes: the denominator of each value; 1 by default, which gives the mean.
    seed: the seed of the draws; the same seed gives the same interval.
    resamples: how many times to draw as many samples as there are.

  Returns:
    (low, high), the 2.5th and 97.5th percentile.

  Raises:
    ValueError: there are no values, or not one size per value.
  """
  values = np.asarray(values, np.float64)
  sizes = np.ones_like(values) if sizes is None else np.asarray(sizes)
  if values.ndim != 1 or not len(values) or sizes.shape != values.shape:
    raise ValueError(
      f'Found values of shape {values.shape} and sizes of shape '
      f'{sizes.shape}, expected two vectors of one length, at least 1. Pass '
      'one size per value.'
    )
  rng = np.random.default_rng(seed)
  count = len(values)
  rows = max(1, 2**21 // count)  # 16 MB of indices at a time
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
  """Computes every figure with its interval, over all samples and per layout.

  Args:
    predictions: the texts that were read.
    labels: the texts that the images show.
    layouts: the layout of each sample, as an index into `names`.
    names: the names of the layouts; a layout without samples is left out.
    seed: the seed of the bootstrap.
    resamples: the number of bootstrap resamples.

  Returns:
    {'all' or a layout: {'count': int, and for each of
    'edit_distance_accuracy', 'exact_match' and 'character_error_rate':
    {'value': float, 'low': float, 'high': float}}}, ready for JSON.

  Raises:
    ValueError: as for `per_sample`; also if a layout is not an index into
      `names`, or is called 'all'.
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

  def figure(values: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    low, high = bootstrap(values, sizes, seed=seed, resamples=resamples)
    value = float(values.sum() / sizes.sum())
    return {'value': value, 'low': low, 'high': high}

  def figures(part: np.ndarray) -> dict[str, Any]:
    some = Samples(*(array[part] for array in samples))
    ones = np.ones(len(some.lengths))
    return {
      'count': len(ones),
      'edit_distance_accuracy': figure(some.accuracies, ones),
      'exact_match': figure(some.exact, ones),
      'character_error_rate': figure(some.distances, some.lengths),
    }

  return {name: figures(part) for name, part in parts.items() if part.any()}
