"""The value that reading an image gives: a text, and how sure it is."""

from collections.abc import Sequence


class Reading(tuple):
  """A text and its confidence; it unpacks as `(text, confidence)`.

  Attributes:
    text: what was read.
    confidence: the probability of the text, 0 to 1.
    characters: the confidence of each character, 0 to 1.
    alternatives: (text, probability) of the most probable texts, the best
      first, which is this text; () if only one was asked for.
  """

  characters: tuple[float, ...]
  alternatives: tuple[tuple[str, float], ...]

  def __new__(
    cls,
    text: str,
    confidence: float,
    characters: Sequence[float] = (),
    alternatives: Sequence[tuple[str, float]] = (),
  ) -> 'Reading':
    reading = super().__new__(cls, (str(text), float(confidence)))
    reading.characters = tuple(map(float, characters))
    reading.alternatives = tuple((str(t), float(p)) for t, p in alternatives)
    return reading

  @property
  def text(self) -> str:
    return self[0]

  @property
  def confidence(self) -> float:
    return self[1]

  def __getnewargs__(self):
    # For pickle and copy, which would pass the pair as one argument.
    return self.text, self.confidence, self.characters, self.alternatives
