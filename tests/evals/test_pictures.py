"""Pictures of features: written, the same twice, classes where they lie."""

import numpy as np
import PIL.Image
import pytest

from ssljax import evals
from ssljax.errors import UserError
from ssljax.evals import pictures


def _features(count=24, time=()):
  labels = np.arange(count) % 3
  noise = np.random.default_rng(0).normal(size=(count, *time, 5))
  shape = (count, *(1 for _ in time), 5)
  return noise + 20 * np.eye(5)[labels].reshape(shape), labels


@pytest.mark.parametrize('method', ('pca', 'tsne'))
def test_a_picture(method, tmp_path):
  features, labels = _features()
  count = 2 if method == 'pca' else 1  # the same picture twice; t-SNE is slow
  paths = [tmp_path / f'{i}.png' for i in range(count)]
  for path in paths:
    evals.embed(features, labels, ('a', 'b', 'c'), path, method=method)
  image = np.asarray(PIL.Image.open(paths[0]).convert('RGB'))
  assert image.shape == (700, 700, 3)
  assert image.min() < 100  # something is drawn
  assert paths[0].read_bytes() == paths[-1].read_bytes()


def test_classes_are_apart(tmp_path, monkeypatch):
  """The points that are drawn, with their own labels."""
  drawn = []
  monkeypatch.setattr(pictures, '_draw', lambda *args: drawn.append(args))
  monkeypatch.setattr(pictures, 'LIMIT', 18)
  for time in ((), (4,)):
    features, labels = _features(time=time)
    evals.embed(features, labels, 'abc', tmp_path / 'x.png')
    points, found, *_, title = drawn.pop()
    assert points.shape == (18, 2) and '18 images' in title
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(found, found[distances.argmin(axis=1)])


def test_images_without_a_label_are_points(tmp_path):
  """And do not wear the name of the last class."""
  features, labels = _features()
  paths = [tmp_path / f'{i}.png' for i in range(2)]
  for path, label in zip(paths, (-1, 2), strict=True):
    evals.embed(features, np.where(labels == 2, label, labels), 'abc', path)
  assert paths[0].read_bytes() != paths[1].read_bytes()


def test_an_unknown_picture(tmp_path):
  features, labels = _features()
  with pytest.raises(UserError, match='tsne'):
    evals.embed(features, labels, 'abc', tmp_path / 'x.png', method='tsn')
