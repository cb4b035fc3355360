"""Weighted nearest neighbours: what features are worth without training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Float, Int

from ssljax.errors import UserError
from ssljax.losses import normalize

BLOCK = 512  # test images at a time


def knn(
  train: Float[np.ndarray, 'n d'],
  train_labels: Int[np.ndarray, 'n'],
  test: Float[np.ndarray, 'm d'],
  *,
  classes: int,
  k: int = 200,
  temperature: float = 0.1,
) -> Int[np.ndarray, 'm']:
  """The class of each test image, by a vote of its k nearest (1805.01978).

  A neighbour of cosine c votes with exp(c / temperature), as in Wu et al.,
  section 3.4, and in lightly's benchmarks (k = 200, temperature 0.1).

  Raises:
    UserError: fewer train images than k.
  """
  if k > len(train):
    raise UserError(
      f'Found {len(train)} images for a vote of k = {k} neighbours; expected '
      f'at least k. Set evaluation.k to {len(train)} or less.'
    )
  vote = functools.partial(_vote, k=k, temperature=temperature, classes=classes)
  vote = jax.jit(vote)
  bank, labels = jnp.asarray(normalize(train)), jnp.asarray(train_labels)
  found = [
    np.asarray(vote(bank, labels, test[start : start + BLOCK]))
    for start in range(0, len(test), BLOCK)
  ]
  return np.concatenate(found) if found else np.empty(0, np.int32)


def _vote(bank, labels, test, *, k, temperature, classes):
  cosines = jnp.matmul(normalize(test), bank.T, precision=Precision.HIGHEST)
  nearest, places = jax.lax.top_k(cosines, k)
  # About the nearest one, or exp(1 / 0.01) would be infinite.
  weights = jnp.exp((nearest - nearest[:, :1]) / temperature)
  votes = weights[..., None] * jax.nn.one_hot(labels[places], classes)
  return votes.sum(axis=1).argmax(axis=1)
