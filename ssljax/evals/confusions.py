"""Which characters are taken for which."""

import collections
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int
from rapidfuzz.distance import Levenshtein

NONE = ''  # a character that was left out, or that is not in the label


def confusions(
  predictions: Iterable[str], labels: Iterable[str]
) -> collections.Counter[tuple[str, str]]:
  """How often each character of the labels is read as each.

  Labels and readings are aligned by the fewest edits. `(c, '')` counts what was
  left out, `('', c)` what was read where nothing is, and `(c, c)` what is
  right.
  """
  found = collections.Counter()
  for read, true in zip(predictions, labels, strict=True):
    for step in Levenshtein.opcodes(true, read):
      left = true[step.src_start : step.src_end]
      right = read[step.dest_start : step.dest_end]
      if step.tag == 'delete':
        found.update((each, NONE) for each in left)
      elif step.tag == 'insert':
        found.update((NONE, each) for each in right)
      else:
        found.update(zip(left, right, strict=True))
  return found


def matrix(
  counts: collections.Counter[tuple[str, str]],
) -> tuple[Int[np.ndarray, 'n n'], list[str]]:
  """The counts as rows of true and columns of read characters, and their names.

  The last one is `NONE`.
  """
  names = [*sorted({each for pair in counts for each in pair} - {NONE}), NONE]
  place = {name: k for k, name in enumerate(names)}
  table = np.zeros((len(names), len(names)), int)
  for (true, read), count in counts.items():
    table[place[true], place[read]] = count
  return table, names
