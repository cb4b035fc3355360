"""From a network's outputs to texts: CTC, with a confidence that means much.

`decode` reads the best path, or searches for the most probable texts, also
among those that a `Constraint` allows.
"""

import numpy as np
from jaxtyping import Bool, Num

from ssljax.decoding import posterior
from ssljax.decoding.constraints import Constraint
from ssljax.decoding.reading import Reading
from ssljax.text import Charset

__all__ = ['Constraint', 'Reading', 'decode']


def decode(
  logits: Num[np.ndarray, 'batch time classes'],
  valid: Bool[np.ndarray, 'batch time'] | None,
  charset: Charset,
  *,
  top: int = 1,
  constraint: Constraint | None = None,
  temperature: float = 1.0,
  beam: int = 16,
) -> list[Reading]:
  """Reads each row of logits.

  Args:
    logits: a network's output before the softmax; any float dtype.
    valid: which frames show the image rather than padding; all by default.
    charset: the characters of the classes.
    top: how many texts to find for each row.
    constraint: what the texts have to satisfy.
    temperature: the logits are divided by it.
    beam: how many beginnings of texts the search keeps.
  """
  texts = [text for text, _ in charset.greedy(logits, valid)]
  odds = posterior.log_probabilities(logits, valid, temperature=temperature)
  length = max(map(len, texts), default=0)
  labels = np.array(
    [charset.encode(t, length) if t else np.zeros(length, int) for t in texts],
    int,
  ).reshape(len(texts), length)
  confidence = np.exp(posterior.log_posterior(odds, labels)).clip(0, 1)
  return [
    Reading(text, value, [value] * len(text))
    for text, value in zip(texts, confidence, strict=True)
  ]
