"""Reads the text of a data set with a recognition method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ssljax.core import inputs
from ssljax.evals import text_metrics
from ssljax.text import Charset, shown_frames


def read(
  predict: Callable[..., Any],
  batches: Iterable[Mapping[str, np.ndarray]],
  charset: Charset,
) -> tuple[list[str], list[str], list[int]]:
  """Reads every valid example of the batches, in order.

  Args:
    predict: a function from uint8 images to logits `(batch, time, classes)`,
      called with the widths too where images are padded.
    batches: dicts of `image`, `text`, `layout`, bool `valid` and, if images
      are padded, `width`.
    charset: the charset of the logits.

  Returns:
    The predictions, the labels and the layouts of the valid examples.
  """
  predictions, labels, layouts = [], [], []
  for batch in batches:
    for (prediction, _), label, layout, valid in zip(
      _read_batch(predict, batch, charset),
      batch['text'],
      batch['layout'],
      batch['valid'],
      strict=True,
    ):
      if valid:
        predictions.append(prediction)
        labels.append(str(label))
        layouts.append(int(layout))
  return predictions, labels, layouts


def readings(
  predict: Callable[..., Any],
  batches: Iterable[Mapping[str, np.ndarray]],
  charset: Charset,
) -> list[tuple[str, float]]:
  """(text, confidence) of every valid example, in order, without labels.

  Args:
    predict: as for `read`.
    batches: dicts of `image`, bool `valid` and, if images are padded, `width`.
    charset: the charset of the logits.
  """
  return [
    reading
    for batch in batches
    for reading, valid in zip(
      _read_batch(predict, batch, charset), batch['valid'], strict=True
    )
    if valid
  ]


def _read_batch(
  predict: Callable[..., Any],
  batch: Mapping[str, np.ndarray],
  charset: Charset,
) -> list[tuple[str, float]]:
  """(text, confidence) of all examples of a batch; padding is not read."""
  logits, valid = np.asarray(predict(*inputs(batch))), None
  if 'width' in batch:
    valid = shown_frames(
      batch['width'], frames=logits.shape[1], width=batch['image'].shape[2]
    )
  return charset.greedy(logits, valid)


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
