"""Draws features in two dimensions by PCA or t-SNE, coloured by class."""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from ssljax import durable
from ssljax.errors import check_known

LIMIT = 1000  # the most images in a picture


def embed(
  features: Float[np.ndarray, 'n *time d'],
  labels: Int[np.ndarray, 'n'],
  names: Sequence[str],
  path: str | pathlib.Path,
  *,
  method: str = 'pca',
  seed: int = 0,
) -> None:
  """Draws each image at a point in two dimensions, as the name of its class.

  Args:
    features: the features of the images; sequences are averaged over time.
    labels: the class of each image, -1 for none. Images without a class are
      gray dots.
    names: the names of the classes, of which the first 3 letters are drawn.
    path: the PNG file to write.
    method: 'pca', or 'tsne' of the first 50 principal components.
    seed: the seed of t-SNE, and of the choice if there are more than `LIMIT`
      images.
  """
  from sklearn.decomposition import PCA
  from sklearn.manifold import TSNE

  check_known('picture', method, ('pca', 'tsne'))
  features = features.reshape(len(features), -1, features.shape[-1]).mean(1)
  rng = np.random.default_rng(seed)
  chosen = rng.permutation(len(features))[:LIMIT]
  features, labels = features[chosen], labels[chosen]
  count = min(2 if method == 'pca' else 50, *features.shape)
  pca = PCA(count, random_state=seed)
  with threadpool_limits(1):  # for the reason given in `linear._fit`
    points = pca.fit_transform(features)
  title = f'PCA: {pca.explained_variance_ratio_[:2].sum():.0%} of the variance'
  if method == 'tsne':
    perplexity = min(30, (len(points) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init='pca', random_state=seed)
    with threadpool_limits(1):
      points = tsne.fit_transform(points)
    title = f't-SNE, {perplexity:.0f} near'
  _draw(points, labels, names, path, f'{title}; {len(points)} images')


def _draw(
  points: np.ndarray,
  labels: np.ndarray,
  names: Sequence[str],
  path: str | pathlib.Path,
  title: str,
) -> None:
  import matplotlib
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 7), layout='constrained')
  axes = figure.add_subplot()
  colours = matplotlib.colormaps['turbo'](np.linspace(0, 1, max(2, len(names))))
  axes.set(
    title=title,
    xticks=[],
    yticks=[],
    xlim=_limits(points[:, 0]),
    ylim=_limits(points[:, 1]),
  )
  for (x, y), label in zip(points, labels, strict=True):
    if label < 0:
      axes.plot(x, y, '.', color='gray', markersize=3)
    else:
      name, colour = str(names[label])[:3], colours[label]
      axes.text(x, y, name, color=colour, fontsize=8, ha='center', va='center')
  with durable.replacing(path, 'wb') as file:
    figure.savefig(file, dpi=100, format='png')


def _limits(values: np.ndarray) -> tuple[float, float]:
  low, high = values.min(), values.max()
  margin = 0.03 * (high - low) + 1e-6
  return low - margin, high + margin
