"""The examples of a stage: splits of the data, or some of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ssljax import evals
from ssljax.data import sources
from ssljax.data.clean import Cleaned
from ssljax.data.datasets import Dataset
from ssljax.errors import UserError


def examples_of(
  described: Mapping[str, Any], dataset: Dataset, splits: Iterable[str]
) -> sources.Source:
  """The stage's examples: whole splits, or some of a layout or a class."""
  parts: list[Any] = [dataset.open(split) for split in splits]
  source: Any = parts[0] if len(parts) == 1 else sources.Joined(parts)
  options = described['data']
  for draw, amount in (
    (evals.per_class, options['per_class']),
    (evals.share, options['share']),
  ):
    if amount is not None:
      positions = draw(source.labels, amount, seed=described['seed'])
      return sources.Subset(source, positions)
  layouts = tuple(options['layouts']) or None
  if options['count'] is None and layouts is None:
    return source
  return sources.subset(source, options['count'] or len(source), layouts)


def with_clean(
  source: sources.Source,
  dataset: Dataset,
  splits: Iterable[str],
  *,
  kind: str,
) -> sources.Source:
  """The source with the plain print of its images, where one is asked for.

  Args:
    source: the examples.
    dataset: of the examples.
    splits: the splits of the data that the examples are of.
    kind: '' for none, 'own', or 'other' for the print of other images.
  """
  if not kind:
    return source
  masks = [dataset.masks(split) for split in splits]
  # The masks of one split stay the file that they are.
  masks = masks[0] if len(masks) == 1 else np.concatenate(masks)
  return Cleaned(source, masks, other=kind == 'other')


def check_positions(name: str, source: sources.Source) -> None:
  """Refuses examples that are not numbered from 0 on, as a memory is."""
  last = len(source) - 1
  found = source.gather([0, last])['index']
  if list(found) != [0, last]:
    raise UserError(
      f'Stage {name!r}: found examples {found[0]} to {found[1]}, {last + 1} of '
      'them; expected all of a split or its first ones, which its method keeps '
      'by number. Leave data.layouts, data.per_class and data.share out.'
    )
