"""The sections of a report that a trained network draws."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from markupsafe import Markup
from PIL import Image
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from ssljax.evals.doubt import directions
from ssljax.reports import plots
from ssljax.reports.page import Card, Section, cards, picture, plot
from ssljax.text import Charset

MOST = 12  # the images of each kind of reading
ASKED, NEAR = 6, 4  # images whose neighbours are shown, and how many
POINTS = 400  # of the map
GAP = 4  # pixels between two images
MARGIN = 128  # the grey around them
SCALE = 2  # by which small images are drawn larger
Frames = list[tuple[float, str, float]]


def frames_of(
  logits: Float[np.ndarray, 'images time classes'],
  shown: Bool[np.ndarray, 'images time'] | None,
  charset: Charset,
  width: int,
  widths: Int[np.ndarray, 'images'],
) -> list[Frames]:
  """(place, character, probability) of each frame that reads no blank.

  Places go from 0 to 1 over the part of an image that is no padding.
  """
  odds = softmax(logits, axis=-1)
  best, found = odds.argmax(axis=-1), []
  time = logits.shape[1]
  for image, row in enumerate(best):
    frames = []
    for frame in np.flatnonzero(row):
      if shown is not None and not shown[image, frame]:
        continue
      place = (frame + 0.5) / time * width / max(int(widths[image]), 1)
      character = charset.characters[row[frame] - 1]
      frames.append((place, character, float(odds[image, frame, row[frame]])))
    found.append(frames)
  return found


def chosen(
  columns: Mapping[str, Sequence[str]],
) -> dict[str, list[int]]:
  """Rows of `predictions.csv` to look at, by what is said of them."""
  sure = np.array(columns['confidence'], float)
  pairs = zip(columns['prediction'], columns['label'], strict=True)
  wrong = np.array([read != label for read, label in pairs])
  worst = [k for k in np.argsort(-sure, kind='stable') if wrong[k]]
  return {
    'The most confident mistakes': [int(k) for k in worst[:MOST]],
    'The least confident readings': [
      int(k) for k in np.argsort(sure, kind='stable')[:MOST]
    ],
    'The first images': list(range(min(MOST, len(sure)))),
  }


def readings(kinds: Mapping[str, Sequence[Card]]) -> list[Section]:
  """A section for each kind of reading that there is."""
  about = (
    'Below an image are the characters of its frames, where they were seen, '
    'the paler the less probable. Beside a reading is its confidence.'
  )
  return [
    Section(name, about, [cards(items)])
    for name, items in kinds.items()
    if items
  ]


def views(stages: Mapping[str, np.ndarray]) -> Section | None:
  """What the methods saw.

  Args:
    stages: by name, uint8 (images, pictures, height, width, 3): each image,
      and its views.
  """
  blocks = [
    picture(_grid(each), f'Images, and their views beside them, in {name}.')
    for name, each in stages.items()
  ]
  about = 'Drawn anew from images of the run, with the options of each stage.'
  return Section('Views', about, blocks) if blocks else None


def tiles(
  pictures: Sequence[UInt8[np.ndarray, 'rows h w 3']],
) -> UInt8[np.ndarray, 'rows columns h w 3']:
  """Pictures of several sizes beside each other; small ones have a margin."""
  sizes = [each.shape[1:3] for each in pictures]
  height, width = (max(side) for side in zip(*sizes, strict=True))
  return np.stack(
    [
      np.pad(
        each,
        ((0, 0), (0, height - h), (0, width - w), (0, 0)),
        constant_values=MARGIN,
      )
      for each, (h, w) in zip(pictures, sizes, strict=True)
    ],
    axis=1,
  )


def _grid(pictures: UInt8[np.ndarray, 'rows columns h w 3']) -> Image.Image:
  rows, columns, height, width, _ = pictures.shape
  canvas = Image.new(
    'RGB',
    (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP),
    (MARGIN, MARGIN, MARGIN),
  )
  for row in range(rows):
    for column in range(columns):
      tile = Image.fromarray(pictures[row, column])
      canvas.paste(tile, (column * (width + GAP), row * (height + GAP)))
  scale = SCALE if width < 160 else 1
  size = scale * canvas.width, scale * canvas.height
  return canvas.resize(size, Image.Resampling.NEAREST)


def neighbours(
  images: UInt8[np.ndarray, 'n h w 3'], features: Float[np.ndarray, 'n d']
) -> Section | None:
  """A few images, and those whose features are nearest to theirs."""
  if len(images) <= NEAR:
    return None
  rows = directions(features.astype(np.float64))
  close = rows @ rows.T
  np.fill_diagonal(close, np.inf)  # an image comes first in its own row
  order = np.argsort(-close[:ASKED], axis=1)[:, : NEAR + 1]
  said = 'An image, and the four nearest to it by the cosine of their features.'
  return Section('Neighbours', '', [picture(_grid(images[order]), said)])


def frame_map(
  features: Float[np.ndarray, 'frames d'], names: Sequence[str], split: str
) -> list[Markup]:
  """Frames in the plane, by t-SNE, each drawn as the character it reads."""
  from sklearn.decomposition import PCA
  from sklearn.manifold import TSNE

  # Of features that have collapsed, t-SNE would end the process.
  distinct = len(np.unique(features.round(5), axis=0))
  if distinct < 50 or not np.isfinite(features).all():
    return []
  draw = np.random.default_rng(0)
  places = draw.permutation(len(features))[:POINTS]
  part = features[places].astype(np.float32)
  part = PCA(min(30, *part.shape), random_state=0).fit_transform(part)
  # Its threads wait for each other longer than one takes.
  with threadpool_limits(1):
    points = TSNE(random_state=0, perplexity=15).fit_transform(part)
  shown = [names[int(place)] for place in places]
  said = (
    f'{len(places)} frames of images of {split} by t-SNE of their features, '
    'each drawn as the character that it is read as.'
  )
  return [plot(plots.scatter(points, shown), said)]
