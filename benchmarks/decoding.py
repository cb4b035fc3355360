"""What a beam search over CTC costs, beside that of fast-ctc-decode.

  python benchmarks/decoding.py
  python benchmarks/decoding.py --smoke    few rows, in seconds

Milliseconds for a batch of 512 rows of 40 frames at a width of 5, the least of
interleaved repeats: the best path with its confidences; the search, with the
exact probability of the best text and the confidence of its characters; and the
search of fast-ctc-decode (Rust, `pip install 'ssljax[benchmarks]'`), to which
probabilities are given. The goal is a ratio of at most 2. Ratios hold on a
shared machine, milliseconds do not. The last figure is how often the text of
`ssljax.decoding` is the more, and the less probable one of the two.
"""

import importlib
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from ssljax.decoding import decode, posterior
from ssljax.text import CHARSETS

WIDTH, FRAMES, LENGTH = 5, 40, 5  # of the beam, the rows and the texts


def outputs(charset, rows: int, sharpness: float) -> np.ndarray:
  """Logits of noise, from which texts of five characters stand out."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(rows, FRAMES, charset.classes)).astype(np.float32)
  path = np.zeros((rows, FRAMES), int)
  step = FRAMES // LENGTH
  path[:, step // 2 :: step] = rng.integers(
    1, charset.classes, size=(rows, LENGTH)
  )
  return logits + sharpness * np.eye(charset.classes, dtype=np.float32)[path]


def peer(charset, logits):
  """The search of fast-ctc-decode as a function; None if it is missing."""
  try:
    search = importlib.import_module('fast_ctc_decode').beam_search
  except ImportError:
    return None
  odds = np.exp(logits - logits.max(axis=2, keepdims=True))
  odds /= odds.sum(axis=2, keepdims=True)
  alphabet = ' ' + charset.characters  # the blank first
  return lambda: [
    search(row, alphabet, beam_size=WIDTH, beam_cut_threshold=0.0)[0]
    for row in odds
  ]


def least(functions, repeats: int) -> list[float]:
  """Milliseconds of each function, the least of interleaved repeats."""
  times = []
  for _ in range(repeats + 1):  # the first one compiles
    times.append([])
    for function in functions:
      start = time.perf_counter()
      function()
      times[-1].append(1e3 * (time.perf_counter() - start))
  return np.min(times[1:], axis=0).tolist()


def compared(charset, logits, ours, theirs) -> str:
  """How often the text of the one is more probable than that of the other."""
  found = posterior.frames(logits)
  one, other = (
    posterior.log_posterior(found, charset.padded(texts))
    for texts in ([reading.text for reading in ours], theirs)
  )
  more, less = (one > other + 1e-9).mean(), (one < other - 1e-9).mean()
  return f'more probable {more:.3f}, less {less:.3f}'


def main(rows: int, repeats: int) -> None:
  for name, sharpness in (('digits', 6.0), ('alnum62', 6.0), ('alnum62', 3.0)):
    charset = CHARSETS[name]
    logits = outputs(charset, rows, sharpness)

    def greedy(logits=logits, charset=charset):
      return decode(logits, None, charset)

    def search(logits=logits, charset=charset):
      return decode(logits, None, charset, top=2, beam=WIDTH)

    theirs = peer(charset, logits)
    functions = [greedy, search] + ([theirs] if theirs else [])
    best, ours, *other = least(functions, repeats)
    print(
      f'{name}, sharpness {sharpness:g}: best path {best:.1f} ms, search '
      f'{ours:.1f} ms'
    )
    if theirs:
      print(
        f'  fast-ctc-decode {other[0]:.1f} ms, ratio {ours / other[0]:.2f}, '
        + compared(charset, logits, search(), theirs())
      )
    else:
      print('  fast-ctc-decode is not installed, so nothing is compared')


if __name__ == '__main__':
  if sys.argv[1:] == ['--smoke']:
    main(rows=8, repeats=1)
  else:
    main(rows=512, repeats=10)
