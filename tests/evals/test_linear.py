"""Linear probes against a solver of their own objective."""

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from ssljax.evals import linear


def _images(count, seed, classes=3, width=6, spread=1.0):
  rng = np.random.default_rng(seed)
  centres = np.random.default_rng(99).normal(size=(classes, width)) * 2
  labels = np.arange(count) % classes
  features = centres[labels] + spread * rng.normal(size=(count, width))
  return features.astype(np.float32), labels


def _softmax_regression(train, labels, test, strength):
  """Σ cross-entropies + |W|² / 2C, the biases free, by BFGS in float64."""
  mean, scale = train.mean(0, np.float64), train.std(0, dtype=np.float64)
  x, y = (train - mean) / scale, np.eye(labels.max() + 1)[labels]
  shape = (x.shape[1] + 1, y.shape[1])

  def objective(flat):
    weights = flat.reshape(shape)
    logits = x @ weights[:-1] + weights[-1]
    entropy = special.logsumexp(logits, axis=1) - (logits * y).sum(1)
    return entropy.sum() + (weights[:-1] ** 2).sum() / (2 * strength)

  weights = optimize.minimize(objective, np.zeros(np.prod(shape))).x
  weights = weights.reshape(shape)
  return ((test - mean) / scale @ weights[:-1] + weights[-1]).argmax(1)


@pytest.mark.parametrize('strength', (1e-3, 1.0))
def test_against_another_solver(strength):
  train, labels = _images(45, 0, spread=2.0)
  test, _ = _images(60, 1, spread=2.0)
  # Axes of other units: without standardising, the penalty is another one.
  units = np.array([1e-2, 1, 100, 1, 1, 10], np.float32)
  found, chosen = linear.linear_probe(
    train * units, labels, test * units, strengths=(strength,)
  )
  expected = _softmax_regression(train * units, labels, test * units, strength)
  assert chosen == strength
  # A loose tolerance of the solver may turn an image on the border.
  assert np.mean(found == expected) > 0.98


def test_scaled_by_the_training_images_alone():
  train, labels = _images(30, 0)
  test, _ = _images(30, 1)
  alone = [
    linear.linear_probe(train, labels, test[i : i + 1])[0] for i in range(5)
  ]
  together, _ = linear.linear_probe(train, labels, test[:5])
  np.testing.assert_array_equal(np.concatenate(alone), together)


def test_of_equals_the_stronger_penalty():
  train, labels = _images(30, 0, spread=0.01)
  _, chosen = linear.linear_probe(train, labels, train)
  assert chosen == min(linear.STRENGTHS)


def test_the_penalty_is_chosen_by_images_held_out():
  """On the images it was fitted to, a weaker penalty looks best."""
  rng = np.random.default_rng(39)
  labels = np.arange(40) % 2
  train = rng.normal(size=(40, 12))
  train += 0.35 * labels[:, None]
  train = (train - train.mean(0)) / train.std(0)
  held, fitted = [], []
  for strength in linear.STRENGTHS:
    probe = LogisticRegression(C=strength, max_iter=1000)
    held.append(cross_val_score(probe, train, labels, cv=5).mean())
    fitted.append(probe.fit(train, labels).score(train, labels))
  assert np.argmax(held) != np.argmax(fitted)
  _, chosen = linear.linear_probe(train, labels, train)
  assert chosen == linear.STRENGTHS[np.argmax(held)]


def test_one_label_a_class():
  """Nothing to hold out: the middle of the grid."""
  train, labels = _images(3, 0, spread=0.1)
  test, truth = _images(30, 1, spread=0.1)
  found, chosen = linear.linear_probe(train, labels, test)
  assert chosen == linear.STRENGTHS[2]
  np.testing.assert_array_equal(found, truth)
