"""Reads the text of a data set with a recognition method."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax.core import inputs
from ssljax.decoding import Reading, decode
from ssljax.evals import text_metrics
from ssljax.text import Charset, shown_frames


class Outputs(NamedTuple):
  """What a network makes of some images, and what the data says of them.

  Attributes:
    logits: `(images, time, classes)`.
    shown: bool `(images, time)`, the frames that are no padding; None for all.
    labels: of the images; none if the batches have none.
    layouts: of the images, as positions in the source's layouts.
  """

  logits: np.ndarray
  shown: np.ndarray | None
  labels: list[str]
  layouts: list[int]


def outputs_of_text(
  predict: Callable[..., Any], batches: Iterable[Mapping[str, np.ndarray]]
) -> Iterator[Outputs]:
  """The outputs for the valid examples of each batch.

  Args:
    predict: a function from uint8 images to logits `(batch, time, classes)`,
      called with the widths too where images are padded.
    batches: dicts of `image`, bool `valid` and, if images are padded, `width`;
      of `text` and `layout` too, if they have labels.
  """
  for batch in batches:
    logits, shown = np.asarray(predict(*inputs(batch))), None
    valid = np.asarray(batch['valid'])
    if 'width' in batch:
      frames, width = logits.shape[1], batch['image'].shape[2]
      shown = shown_frames(batch['width'], frames=frames, width=width)[valid]
    labels = np.asarray(batch.get('text', ()))
    layouts = np.asarray(batch.get('layout', ()))
    yield Outputs(
      logits[valid],
      shown,
      [str(label) for label in labels[valid]] if len(labels) else [],
      [int(layout) for layout in layouts[valid]] if len(layouts) else [],
    )


def joined(parts: Sequence[Outputs]) -> Outputs:
  """The outputs of several batches as those of one."""
  logits, shown, labels, layouts = zip(*parts, strict=True)
  return Outputs(
    np.concatenate(logits),
    None if shown[0] is None else np.concatenate(shown),
    list(itertools.chain(*labels)),
    list(itertools.chain(*layouts)),
  )


class Read(NamedTuple):
  """What was read in a data set, and what it shows.

  Attributes:
    readings: of each image.
    labels: of each image.
    layouts: of each image, as positions in the source's layouts.
  """

  readings: list[Reading]
  labels: list[str]
  layouts: list[int]

  @property
  def texts(self) -> list[str]:
    return [reading.text for reading in self.readings]


def read(
  predict: Callable[..., Any],
  batches: Iterable[Mapping[str, np.ndarray]],
  charset: Charset,
  *,
  temperature: float = 1.0,
  second: bool = False,
) -> Read:
  """Reads every valid example of the batches, in order.

  Args:
    predict: as for `outputs_of_text`.
    batches: as for `outputs_of_text`.
    charset: the charset of the logits.
    temperature: the logits are divided by it; see `decoding.calibration`.
    second: whether each reading also has its most probable alternative.
  """
  return read_outputs(
    outputs_of_text(predict, batches),
    charset,
    temperature=temperature,
    second=second,
  )


def read_outputs(
  parts: Iterable[Outputs],
  charset: Charset,
  *,
  temperature: float = 1.0,
  second: bool = False,
) -> Read:
  """As `read`, from outputs."""
  found = Read([], [], [])
  for part in parts:
    readings = decode(
      part.logits, part.shown, charset, second=second, temperature=temperature
    )
    found.readings.extend(readings)
    found.labels.extend(part.labels)
    found.layouts.extend(part.layouts)
  return found


def readings(
  predict: Callable[..., Any],
  batches: Iterable[Mapping[str, np.ndarray]],
  charset: Charset,
  *,
  temperature: float = 1.0,
) -> list[Reading]:
  """The reading of every valid example, in order, without labels.

  The arguments are those of `read`.
  """
  return read(predict, batches, charset, temperature=temperature).readings


def figures(
  predictions: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
  """The three figures of `text_metrics`, without intervals."""
  return {
    'edit_distance_accuracy': text_metrics.edit_distance_accuracy(
      predictions, labels
    ),
    'exact_match': text_metrics.exact_match(predictions, labels),
    'character_error_rate': text_metrics.character_error_rate(
      predictions, labels
    ),
  }
