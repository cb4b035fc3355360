"""Text as class numbers and back: charsets and greedy CTC, with NumPy only.

Class 0 is CTC's blank and, in a label, the padding (optax's convention). The
characters of a charset are the classes from 1 on.
"""

import dataclasses
import itertools
import string
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ssljax.errors import UserError

BLANK = 0


@dataclasses.dataclass(frozen=True)
class Charset:
  """The characters that a model can read, in the order of its classes.

  Attributes:
    characters: the characters of the classes 1, 2, and so on.
  """

  characters: str

  def __post_init__(self) -> None:
    if not self.characters:
      raise UserError('A charset needs at least one character, found none.')
    twice = sorted({c for c in self.characters if self.characters.count(c) > 1})
    if twice:
      raise UserError(
        f'The charset {self.characters!r} names {twice} more than once; '
        f'expected each character once, because each character is one class. '
        f'Remove the repeats.'
      )

  @property
  def classes(self) -> int:
    """The width of a model's last layer: the characters and the blank."""
    return len(self.characters) + 1

  def encode(self, text: str, length: int) -> Int[np.ndarray, 'length']:
    """int32 classes of `text`, padded with 0 on the right to `length`.

    Raises:
      UserError: the text is empty, is longer than `length`, or has a character
        outside the charset.
    """
    if not text:
      raise UserError(
        'Found an empty label, expected at least one character; label the '
        'image or remove it.'
      )
    for position, character in enumerate(text):
      if character not in self.characters:
        raise UserError(
          f'The label {text!r} has {character!r} (U+{ord(character):04X}) at '
          f'position {position}, expected one of {self.characters!r}; correct '
          f'the label or choose a charset that has it.'
        )
    if len(text) > length:
      raise UserError(
        f'The label {text!r} has {len(text)} characters, expected at most '
        f'{length}; correct the label or allow longer ones.'
      )
    ids = np.zeros(length, np.int32)
    ids[: len(text)] = [self.characters.index(c) + 1 for c in text]
    return ids

  def padded(self, texts: Sequence[str]) -> Int[np.ndarray, 'batch length']:
    """The classes of texts of these characters, padded to the longest one."""
    classes = {c: i for i, c in enumerate(self.characters, 1)}
    ids = np.zeros((len(texts), max(map(len, texts), default=0)), int)
    for row, text in zip(ids, texts, strict=True):
      row[: len(text)] = [classes[character] for character in text]
    return ids

  def decode(self, ids: Int[np.ndarray, 'length'] | Sequence[int]) -> str:
    """The text of a label's classes; 0 is skipped, and repeats are kept.

    It reads labels and paths that are already collapsed; `greedy` reads logits.

    Raises:
      ValueError: a class lies outside 0 to `classes` - 1.
    """
    ids = np.asarray(ids)
    outside = ids[(ids < 0) | (ids >= self.classes)]
    if outside.size:
      raise ValueError(
        f'Found class {outside[0]}, expected 0 to {self.classes - 1} for the '
        f'charset {self.characters!r}; was it written with another charset?'
      )
    return ''.join(self.characters[i - 1] for i in ids if i != BLANK)

  def greedy(
    self,
    logits: Float[np.ndarray, 'batch time classes'],
    valid: Bool[np.ndarray, 'batch time'] | None = None,
  ) -> list[tuple[str, float]]:
    """Best-path CTC: each frame's best class, repeats merged, blanks dropped.

    Args:
      logits: a model's output before the softmax; any float dtype.
      valid: which frames show the image rather than padding; all by default.
        The other frames are read as blank and do not count in the confidence.

    Returns:
      (text, confidence) for each row. The confidence is the product, over the
      valid frames, of the largest softmax probability. This is the probability
      of the best path, and therefore at most the probability of the text. It
      falls with every uncertain frame. Without a valid frame the text is '' and
      the confidence is 1.

    Raises:
      ValueError: the shapes do not fit the charset or each other.
    """
    logits = np.asarray(logits)
    if logits.ndim != 3 or logits.shape[2] != self.classes:
      raise ValueError(
        f'The logits have shape {logits.shape}, expected (batch, time, '
        f'{self.classes}) for {self.classes - 1} characters and the blank; '
        f'was the model trained with another charset?'
      )
    if valid is None:
      valid = np.ones(logits.shape[:2], bool)
    valid = np.asarray(valid, bool)
    if valid.shape != logits.shape[:2]:
      raise ValueError(
        f'valid has shape {valid.shape}, expected {logits.shape[:2]}, one '
        f'value per frame.'
      )
    path, starts = best_path(logits, valid)
    # The largest log-probability is minus the log of Σ exp(logit - max).
    # float64, because float32's rounding shows in a product of many frames.
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=2, keepdims=True)
    doubt = np.log(np.exp(logits).sum(axis=2))
    confidence = np.exp(-np.where(valid, doubt, 0).sum(axis=1))
    letters = np.array(['', *self.characters])
    return [
      (''.join(letters[row[start]]), float(value))
      for row, start, value in zip(path, starts, confidence, strict=True)
    ]


def best_path(
  logits: Float[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'],
) -> tuple[Int[np.ndarray, 'batch time'], Bool[np.ndarray, 'batch time']]:
  """The best class of each frame, and the frames that begin a character."""
  path = np.where(valid, logits.argmax(axis=2), BLANK)
  before = np.pad(path, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
  return path, (path != BLANK) & (path != before)


CHARSETS = {
  'digits': Charset(string.digits),
  'alnum36': Charset(string.digits + string.ascii_lowercase),
  'alnum62': Charset(
    string.digits + string.ascii_lowercase + string.ascii_uppercase
  ),
}


def frames_needed(text: str) -> int:
  """The fewest frames in which CTC can write `text`.

  Each character needs a frame, and two equal neighbours need a blank between
  them, because they would merge otherwise. With fewer frames the label has no
  path at all; its loss is then a large number with a meaningless gradient.
  """
  repeats = sum(a == b for a, b in itertools.pairwise(text))
  return len(text) + repeats


def shown_frames(
  widths: Int[np.ndarray, 'batch'], *, frames: int, width: int
) -> Bool[np.ndarray, 'batch frames']:
  """Which frames show an image rather than the padding on its right.

  Args:
    widths: the width of each image in pixels, before padding.
    frames: the number of frames of a padded image.
    width: the width of a padded image in pixels.
  """
  # Each frame is so many pixels wide; the last may be cut.
  stride = -(-width // frames)
  shown = -(-np.asarray(widths) // stride)
  return np.arange(frames) < shown[:, None]
