"""The examples of a stage: splits of the data, or some of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ssljax import evals
from ssljax.data import pipeline, sources
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
  seed, positions = described['seed'], None
  if options['per_class'] is not None:
    positions = evals.per_class(
      source.labels, options['per_class'], seed=seed, classes=source.classes
    )
  elif options['share'] is not None:
    positions = evals.share(source.labels, options['share'], seed=seed)
  if positions is not None:
    return sources.Subset(source, positions)
  layouts = tuple(options['layouts']) or None
  if options['count'] is None and layouts is None:
    return source
  return sources.subset(
    source, options['count'] or len(source), layouts, draw=options.get('draw')
  )


class Mixed(sources.Joined):
  """Labelled examples, and after them others whose labels are not used.

  An example also has `labelled`, a bool. The label of an unlabelled example is
  the data's, where the data knows it, so that a method can count how often it
  is right.

  Attributes:
    labelled: the labelled examples.
    batch: how many of the examples of a batch are labelled ones.
  """

  def __init__(
    self, labelled: sources.Source, unlabelled: sources.Source, batch: int
  ):
    super().__init__([labelled, unlabelled])
    self.labelled, self.batch = labelled, batch

  def __getitem__(self, position: int) -> dict:
    known = np.bool_(position < len(self.labelled))
    return super().__getitem__(position) | {'labelled': known}

  def gather(self, positions: sources.Positions) -> dict[str, np.ndarray]:
    known = np.asarray(positions) < len(self.labelled)
    return super().gather(positions) | {'labelled': known}


def mixed(
  described: Mapping[str, Any], dataset: Dataset, labelled: sources.Source
) -> sources.Source:
  """The labelled examples, joined with unlabelled ones if the stage has some.

  Labelled examples that are fewer than their part of a batch are repeated.

  Args:
    described: the stage.
    dataset: the run's data.
    labelled: the stage's examples without these.
  """
  # Runs from before self-training have no such option.
  splits = described['data'].get('unlabelled', '')
  if not splits:
    return labelled
  parts = [dataset.open(split) for split in splits.split('+')]
  unlabelled = parts[0] if len(parts) == 1 else sources.Joined(parts)
  batch = described['data']['labelled'] or labelled_in_batch(
    len(labelled), described['batch_size']
  )
  return Mixed(enough(labelled, batch), unlabelled, batch)


def labelled_in_batch(labels: int, batch_size: int) -> int:
  """How many examples of a batch have labels, where the config leaves it open.

  A quarter of the batch; half of it from 200 labels on, because the labels then
  tell more than the readings do.
  """
  share = 4 if labels < 200 else 2
  return max(1, batch_size // share)


class Repeated:
  """A source's examples several times, each time with an index of its own.

  Random keys are made from the index, so the copies of an example that meet in
  a batch are seen in different views.

  Attributes:
    source: the examples, once.
  """

  def __init__(self, source: sources.Source, times: int):
    self.layouts, self.source = source.layouts, source
    self._times = times

  def __len__(self) -> int:
    return self._times * len(self.source)

  def __getitem__(self, position: int) -> dict:
    if not 0 <= position < len(self):
      raise IndexError(
        f'Found position {position}; expected 0 to {len(self) - 1}.'
      )
    example = self.source[position % len(self.source)]
    return example | {'index': np.int32(position)}

  def gather(self, positions: sources.Positions) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    found = self.source.gather(positions % len(self.source))
    return found | {'index': positions.astype(np.int32)}

  def describe(self, position: int) -> sources.Description:
    return self.source.describe(position % len(self.source))


def enough(source: sources.Source, count: int) -> sources.Source:
  """The source, repeated if it has fewer than `count` examples."""
  times = -(-count // len(source))
  return source if times == 1 else Repeated(source, times)


def labelled_of(source: sources.Source) -> sources.Source:
  """The examples whose labels a stage learns from, each of them once."""
  if isinstance(source, Mixed):
    source = source.labelled
  return source.source if isinstance(source, Repeated) else source


def mixture_of(source: sources.Source) -> pipeline.Mixture | None:
  """How many labelled examples a stage has, in all and per batch."""
  if not isinstance(source, Mixed):
    return None
  return pipeline.Mixture(len(source.labelled), source.batch)


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
