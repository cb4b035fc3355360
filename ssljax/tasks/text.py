"""Runs on text: labels are strings, a head reads, and CTC decodes."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ssljax import losses
from ssljax import text as text_lib
from ssljax.augment.text import text_views
from ssljax.data import images as images_lib
from ssljax.data.sources import Source
from ssljax.errors import UserError, check_known
from ssljax.models.sequence import CtcHead
from ssljax.reports import readings, sheet
from ssljax.tasks import reading
from ssljax.tasks.task import FURTHER, Task, preprocessing, shares


def text(
  *,
  charset: str,
  height: int,
  width: int,
  max_length: int,
  head_width: int,
  tables: Mapping[str, Any],
  standardize: bool = False,
  directory: str = '',
  **others: Any,
) -> Task:
  """The task of reading lines of text.

  Args:
    charset: a charset's name, or the characters themselves on the user's own
      images.
    height: pixels of every image.
    width: pixels of every image, its padding on the right included.
    max_length: characters of the longest label.
    head_width: features of the head's hidden layer.
    tables: options of `readings.results`; empty where no results are asked for.
    standardize: whether the head standardises its features; see `CtcHead`.
    directory: of the user's own images; '' for rendered ones.
    **others: options of the data that only its loader reads.
  """
  del others
  if not directory:
    check_known('charset', charset, text_lib.CHARSETS)
  known = text_lib.CHARSETS.get(charset) or text_lib.Charset(charset)

  def frames(encoder, shown=None):
    return -(-(shown or width) // encoder.stride)

  def report(folder):
    found, sheets = readings.results(folder, **tables), sheet.found(folder)
    parts = readings.render(found), sheet.render(sheets)
    told = '\n\n'.join(filter(None, parts))
    return found | ({'sheets': sheets} if sheets else {}), told

  return Task(
    head=CtcHead(known.classes, head_width, standardize=standardize),
    criterion=losses.ctc,
    views=lambda options, encoder: text_views(stride=encoder.stride, **options),
    frames=frames,
    arrays=functools.partial(arrays, charset=known, length=max_length),
    require=lambda name: None,  # a split without labels does not open
    check=functools.partial(
      check, charset=known, length=max_length, frames=frames
    ),
    shares=functools.partial(character_shares, charset=known),
    evaluate=functools.partial(reading.evaluate, charset=known),
    score=functools.partial(reading.score, charset=known),
    report=report,
    fit=lambda picture: images_lib.fit(picture, height, width),
    metadata={
      'preprocessing': preprocessing(height, width),
      'characters': known.characters,
    },
    charset=known,
  )


def arrays(
  batch: Mapping[str, np.ndarray], *, charset: text_lib.Charset, length: int
) -> dict[str, np.ndarray]:
  """What the step reads: image, index, label and, if padded, its width.

  Labels are int32 `(batch, length)`, padded with 0. An image without a label
  has nothing but the padding.
  """
  labels = np.zeros((len(batch['text']), length), np.int32)
  for row, label in zip(labels, batch['text'], strict=True):
    if label:
      row[:] = charset.encode(str(label), length)
  found = {'image': batch['image'], 'index': batch['index'], 'label': labels}
  return found | {key: batch[key] for key in FURTHER if key in batch}


def check(
  source: Source,
  encoder: Any,
  *,
  charset: text_lib.Charset,
  length: int,
  frames: Callable[..., int],
) -> None:
  """Refuses labels that the model could never read, before any training."""
  for position in range(len(source)):
    example = source.describe(position)
    label, shown = example.text, example.width
    charset.encode(label, length)
    needed, available = text_lib.frames_needed(label), frames(encoder, shown)
    if needed > available:
      raise UserError(
        f'Found label {label!r} of {example.name}, which needs '
        f'{needed} frames, a blank between repeats included; an image shown '
        f'{shown} pixels wide gives {available}. Raise --config.data.height '
        'and --config.data.width, use a smaller stride, or leave the image out.'
      )


def character_shares(
  source: Source, *, charset: text_lib.Charset
) -> np.ndarray:
  """`shares` of the characters in a source's labels; the blank's is 0."""
  counts = np.zeros(charset.classes)
  for position in range(len(source)):
    label = source.describe(position).text
    for character in charset.encode(label, len(label)):
      counts[character] += 1
  return shares(counts)
