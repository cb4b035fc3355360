"""Weighted nearest neighbours: evaluates features without any training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from ssljax.errors import UserError
from ssljax.losses import normalize

BLOCK = 512  # the test images that are classified at once


def knn(
  train: Float[np.ndarray, 'n d'],
  train_labels: Int[np.ndarray, 'n'],
  test: Float[np.ndarray, 'm d'],
  *,
  classes: int,
  k: int = 200,
  temperature: float = 0.1,
) -> Int[np.ndarray, 'm']:
  """Classifies test images by a vote of their k nearest training images.

  A neighbour whose cosine with the test image is c votes for its class with
  weight exp(c / temperature), as in Wu et al. (1805.01978), section 3.4, and
  in lightly's benchmarks (k = 200, temperature 0.1).

  Args:
    train: the features of the training images.
    train_labels: the class of each training image.
    test: the features of the test images.
    classes: the number of classes.
    k: the number of neighbours that vote.
    temperature: divides the cosine; a smaller one gives near neighbours more
      weight.

  Returns:
    The class of each test image.

  Raises:
    UserError: there are fewer training images than k.
  """
  if k > len(train):
    raise UserError(
      f'Found {len(train)} images for a vote of k = {k} neighbours; expected '
      f'at least k images. Set evaluation.k to {len(train)} or less.'
    )
  vote = functools.partial(_vote, k=k, temperature=temperature, classes=classes)
  vote = jax.jit(vote)
  bank, labels = normalize(jnp.asarray(train)), jnp.asarray(train_labels)
  found = [
    np.asarray(vote(bank, labels, test[start : start + BLOCK]))
    for start in range(0, len(test), BLOCK)
  ]
  return np.concatenate(found) if found else np.empty(0, np.int32)


def _vote(
  bank: Float[Array, 'n d'],
  labels: Int[Array, 'n'],
  test: Float[Array, 'm d'],
  *,
  k: int,
  temperature: float,
  classes: int,
) -> Int[Array, 'm']:
  cosines = jnp.matmul(normalize(test), bank.T, precision=Precision.HIGHEST)
  nearest, places = jax.lax.top_k(cosines, k)
  # Cosines are taken relative to the nearest neighbour's, which scales all
  # votes alike; otherwise exp(1 / 0.01) would overflow to infinity.
  weights = jnp.exp((nearest - nearest[:, :1]) / temperature)
  votes = weights[..., None] * jax.nn.one_hot(labels[places], classes)
  return votes.sum(axis=1).argmax(axis=1)
