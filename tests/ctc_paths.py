"""CTC as its paper defines it: a sum over all paths, in float64."""

import itertools

import numpy as np


def all_paths(logits, label):
  """-log of the probability of all paths that collapse to `label`.

  Without any such path it is infinite.

  Args:
    logits: `(time, classes)`; class 0 is the blank.
    label: a list of classes.
  """
  logits = np.float64(logits)
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  odds /= odds.sum(axis=1, keepdims=True)
  total = 0.0
  for path in itertools.product(range(odds.shape[1]), repeat=len(odds)):
    merged = [k for k, _ in itertools.groupby(path) if k != 0]
    if merged == list(label):
      total += np.prod(odds[np.arange(len(odds)), path])
  return -np.log(total) if total else np.inf
