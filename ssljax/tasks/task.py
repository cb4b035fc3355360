"""The value in which runs on text and runs on images differ."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from PIL import Image

from ssljax.losses import Criterion
from ssljax.text import Charset

EVALUATION_BATCH = 500  # images that are encoded or read at once
FURTHER = (
  'width',
  'clean',
  'labelled',
)  # what some examples have beside the others


class Task(NamedTuple):
  """What is done with images, and by what it is judged.

  Attributes:
    head: the module that reads or classifies.
    criterion: how its outputs are compared with labels.
    views: `(options, encoder) -> views` as a method takes them.
    frames: `(encoder, width) -> frames` of an image of so many pixels, by
      default of a whole one; None where features have no time.
    arrays: `batch -> arrays`, from what a source gathers to what a step reads:
      'image', 'index', 'label' and, where an example has them, 'width',
      'clean' and 'labelled'.
    require: `(stage's name)`: raises UserError where a stage that learns from
      labels would find none at all; asked before any data is opened.
    check: `(source, encoder)`: raises UserError for labels that a stage cannot
      learn from.
    shares: `source -> shares`: how often each class of the head stands in the
      labels of a source; see `shares`.
    evaluate: `(stage, state, dataset) -> figures` of a stage that has run to
      its end, for its `stage.json`.
    score: `(stage, source, count) -> (state -> score)`: how well a stage that
      learns labels does on the first images of a source; higher is better.
    report: `run's folder -> (results, markdown)`.
    fit: `picture -> (uint8 (height, width, 3), pixels shown of the width)`.
    metadata: what a checkpoint must know to be read again, JSON-able.
    charset: the characters of text; None on images.
    classes: names of the images' classes; none on text.
  """

  head: nn.Module
  criterion: Criterion
  views: Callable[[Mapping[str, Any], nn.Module], Callable]
  frames: Callable[..., int | None]
  arrays: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
  require: Callable[[str], None]
  check: Callable[[Any, nn.Module], None]
  shares: Callable[[Any], np.ndarray]
  evaluate: Callable[..., dict[str, Any]]
  score: Callable[..., Callable[[Any], float]]
  report: Callable[[pathlib.Path], tuple[dict[str, Any], str]]
  fit: Callable[[Image.Image], tuple[np.ndarray, int]]
  metadata: dict[str, Any]
  charset: Charset | None = None
  classes: tuple[str, ...] = ()


def shares(counts: np.ndarray) -> np.ndarray:
  """The shares of classes that all data has, judged by a few labels.

  A few labels show some classes more often than others by chance alone. Shares
  are therefore shrunk towards even ones, by the part of their spread that
  chance explains (James and Stein, 1961). A class that no label shows has the
  share 0.

  Args:
    counts: how often each class stands in the labels.
  """
  seen = counts > 0
  if not seen.any():
    return np.zeros(len(counts))
  total, even = counts.sum(), 1 / seen.sum()
  found = counts / total
  spread = np.sum((found[seen] - even) ** 2)
  by_chance = (1 - even) / total
  kept = max(0.0, 1 - by_chance / spread) if spread > 0 else 0.0
  return np.where(seen, even + kept * (found - even), 0.0)


def preprocessing(height: int, width: int) -> dict[str, Any]:
  """What an image has to be before `encode` or `predict`; see `plain`."""
  return {
    'height': height,
    'width': width,
    'mode': 'RGB',
    'dtype': 'uint8',
    'values': 'x / 127.5 - 1, applied by encode and predict',
  }
