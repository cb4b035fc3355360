"""Which labels a trained network contradicts, and which images to label next.

All functions are of arrays alone, without randomness.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ssljax.decoding import decode, posterior
from ssljax.evals.outputs import outputs
from ssljax.evals.reading import Outputs, outputs_of_text
from ssljax.text import Charset

# A reading that is this many times more probable than a label contradicts it.
# Chosen on validation images by benchmarks/label_choice.py.
TIMES = 1000.0
FLOOR = -700.0  # the lowest log-probability, close to that of float64


class Seen(NamedTuple):
  """What a trained network makes of images.

  Attributes:
    texts: what it reads.
    reading: log p of each reading.
    label: log p of each label.
    rows: `directions` of the features.
  """

  texts: list[str]
  reading: Float[np.ndarray, 'images']
  label: Float[np.ndarray, 'images']
  rows: Float[np.ndarray, 'images width']


def see(
  predict: Callable[..., Any],
  encode: Callable[..., Any],
  batches: Iterable[Mapping[str, np.ndarray]],
  labels: Sequence[str],
  charset: Charset,
  *,
  temperature: float = 1.0,
) -> Seen:
  """Reads images, and compares what is read with their labels.

  Args:
    predict: as for `outputs_of_text`.
    encode: of the same images, to features `(batch, time, width)`.
    batches: as for `outputs_of_text`.
    labels: of all valid examples, in order; '' without one.
    charset: the characters of the network.
    temperature: the logits are divided by it; see `decoding.calibration`.
  """
  texts, features, reading, label = [], [], [], []
  for batch in batches:
    (part,) = outputs_of_text(predict, [batch])
    frames = part.logits, part.shown, charset
    said = [found.text for found in decode(*frames, temperature=temperature)]
    asked = labels[len(texts) : len(texts) + len(said)]
    for found, wanted in ((reading, said), (label, asked)):
      found.append(
        log_probabilities(part, wanted, charset, temperature=temperature)
      )
    hidden = outputs(encode, [batch]).astype(np.float32)
    features.append(means(hidden, part.shown))
    texts += said
  return Seen(
    texts,
    np.concatenate(reading),
    np.concatenate(label),
    directions(np.concatenate(features)),
  )


def chosen(
  seen: Seen, labels: Sequence[str], *, most: int, count: int
) -> dict[str, list[int]]:
  """The places of the images that a person should look at, in three parts.

  Args:
    seen: of all images.
    labels: of all images; '' without one.
    most: the most places in all parts.
    count: the most images to label next.

  Returns:
    'wrong': labels that the readings contradict, the least probable first;
    'next': the images to label next, the most telling first; 'rest': the other
    images, by the probability of their label, or of their reading where they
    have none, the least first.
  """
  known = np.array([label != '' for label in labels], bool)
  places = np.flatnonzero(known)
  found = contradicted(seen.reading[places], seen.label[places])
  wrong = places[found].tolist()[:most]
  more = to_label(
    1 - np.exp(seen.reading),
    seen.rows,
    known,
    count=min(count, most - len(wrong)),
  )
  shown = {*wrong, *more}
  value = np.where(known, seen.label, seen.reading)
  order = np.argsort(value, kind='stable').tolist()
  rest = [place for place in order if place not in shown]
  return {'wrong': wrong, 'next': more, 'rest': rest[: most - len(shown)]}


def log_probabilities(
  found: Outputs,
  texts: Sequence[str],
  charset: Charset,
  *,
  temperature: float = 1.0,
) -> Float[np.ndarray, 'images']:
  """log p(text) of the text given for each image, at least `FLOOR`.

  A text with a character that the charset lacks, or with more characters than
  the image has room for, has `FLOOR`.

  Args:
    found: what the network makes of the images.
    texts: a text for each image.
    charset: the characters of the outputs.
    temperature: the logits are divided by it; see `decoding.calibration`.
  """
  known = [set(text) <= set(charset.characters) for text in texts]
  classes = charset.padded(
    [text if can else '' for text, can in zip(texts, known, strict=True)]
  )
  frames = posterior.frames(found.logits, found.shown, temperature=temperature)
  odds = posterior.log_posterior(frames, classes)
  return np.where(known, np.maximum(odds, FLOOR), FLOOR)


def contradicted(
  reading: Float[np.ndarray, 'images'],
  label: Float[np.ndarray, 'images'],
  *,
  times: float = TIMES,
) -> list[int]:
  """The places of labels that are probably wrong, the least probable first.

  Args:
    reading: log p of the text that was read in each image.
    label: log p of the text that the label says.
    times: how many times more probable than its label a reading has to be.
  """
  score = np.asarray(reading) - np.asarray(label)
  order = np.argsort(-score, kind='stable')
  return order[score[order] >= np.log(times)].tolist()


def means(
  features: Float[np.ndarray, 'images time width'],
  shown: Bool[np.ndarray, 'images time'] | None = None,
) -> Float[np.ndarray, 'images width']:
  """The mean of the features of each image's frames, without padding."""
  weights = np.ones(features.shape[:2]) if shown is None else shown
  total = np.maximum(weights.sum(axis=1), 1)[:, None]
  return np.einsum('ntd,nt->nd', features, weights) / total


def directions(
  rows: Float[np.ndarray, 'images width'],
) -> Float[np.ndarray, 'images width']:
  """Unit vectors of standard scores.

  Each feature is standardised over the images, because the features of an
  encoder share a large constant part that would hide all differences.
  """
  scores = rows - rows.mean(axis=0)
  scores /= np.maximum(scores.std(axis=0), 1e-6)
  norms = np.linalg.norm(scores, axis=1, keepdims=True)
  return scores / np.maximum(norms, 1e-6)


def to_label(
  doubt: Float[np.ndarray, 'images'],
  rows: Float[np.ndarray, 'images width'],
  known: Bool[np.ndarray, 'images'],
  *,
  count: int,
) -> list[int]:
  """Chooses images that are doubtful and differ from all labelled ones.

  Each choice is the image with the largest product of its doubt and of its
  cosine distance to the nearest image that has a label or was chosen before.
  One choice from a group of similar images therefore suffices.

  Args:
    doubt: of each image, 0 to 1.
    rows: a unit vector for each image, as from `directions`.
    known: which images have labels; they are never chosen.
    count: how many images to choose; there may be fewer.
  """
  known = np.asarray(known, bool)
  distance = np.ones(len(rows))
  if known.any():
    distance = _distances(rows, np.flatnonzero(known))
  # Copies of an image that has a label still have a doubt to be sorted by.
  value = np.where(known, -1.0, doubt)
  chosen: list[int] = []
  for _ in range(min(count, int((~known).sum()))):
    gain = np.where(value < 0, -1.0, value * np.maximum(distance, 1e-9))
    best = int(gain.argmax())
    chosen.append(best)
    value[best] = -1.0
    nearest = _distances(rows, np.array([best]))
    distance = np.minimum(distance, nearest)
  return chosen


def _distances(
  rows: Float[np.ndarray, 'images width'], places: Int[np.ndarray, 'some']
) -> Float[np.ndarray, 'images']:
  """The cosine distance of each row to the nearest of some rows."""
  found = np.full(len(rows), np.inf)
  for start in range(0, len(places), 256):
    near = rows @ rows[places[start : start + 256]].T
    found = np.minimum(found, 1 - near.max(axis=1))
  return found
