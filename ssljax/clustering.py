"""Spherical k-means, on the device."""

import functools

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int


@functools.partial(jax.jit, static_argnames=('clusters', 'iterations'))
def kmeans(
  key: jax.Array,
  rows: Float[Array, 'n d'],
  weights: Float[Array, 'n'],
  *,
  clusters: int,
  iterations: int = 10,
) -> tuple[Float[Array, 'k d'], Int[Array, 'n']]:
  """Clusters unit vectors by their cosine.

  The centroids start as rows drawn without replacement. A cluster that loses
  all of its rows takes over one of the rows that fit their own centroid worst.
  No cluster therefore stays empty while another cluster has rows to give.
  (faiss, and with it DeepCluster, splits a large cluster instead.)

  Args:
    key: PRNG key for the rows that the centroids start from.
    rows: unit vectors.
    weights: a row of weight 0 moves no centroid, but still gets a cluster.
    clusters: the number of clusters, at most the number of rows with weight.
    iterations: how often rows are assigned and centroids renewed.

  Returns:
    The unit centroids, and the nearest centroid of each row, int32.
  """
  shown = weights > 0
  draw = jax.random.gumbel(key, weights.shape)
  _, first = jax.lax.top_k(jnp.where(shown, draw, -jnp.inf), clusters)

  def cosines(centroids):
    return jnp.matmul(rows, centroids.T, precision=Precision.HIGHEST)

  def renew(_, centroids):
    near = cosines(centroids)
    own = jnp.where(shown, near.argmax(axis=1), clusters)
    counts = jnp.zeros(clusters).at[own].add(1.0, mode='drop')
    sums = jnp.zeros_like(centroids).at[own].add(rows, mode='drop')
    fit = jnp.where(shown, near.max(axis=1), jnp.inf)
    _, worst = jax.lax.top_k(-fit, clusters)
    # The first empty cluster takes the row that fits worst, the second empty
    # cluster takes the next one, and so on.
    place = jnp.cumsum(counts == 0) - 1
    renewed = jnp.where((counts > 0)[:, None], sums, rows[worst[place]])
    norms = jnp.linalg.norm(renewed, axis=1, keepdims=True)
    # Where the rows of a cluster cancel out, its centroid stays.
    return jnp.where(
      norms > 1e-6, renewed / jnp.maximum(norms, 1e-6), centroids
    )

  centroids = jax.lax.fori_loop(0, iterations, renew, rows[first])
  return centroids, cosines(centroids).argmax(axis=1).astype(jnp.int32)


def kmeans_flops(
  rows: int, width: int, *, clusters: int, iterations: int
) -> float:
  """FLOPs of the cosines of `kmeans`, beside which the rest is small."""
  return 2.0 * rows * width * clusters * (iterations + 1)


@jax.jit
def whiten(
  rows: Float[Array, 'n d'], weights: Float[Array, 'n']
) -> Float[Array, 'n d']:
  """Unit rows after a PCA that gives all directions the same variance.

  Rows of weight 0 do not count in the mean and in the covariance.
  """
  total = jnp.maximum(weights.sum(), 1)
  centred = rows - (weights[:, None] * rows).sum(axis=0) / total
  covariance = jnp.matmul(
    (weights[:, None] * centred).T, centred, precision=Precision.HIGHEST
  )
  values, vectors = jnp.linalg.eigh(covariance / total)
  # The floor keeps directions without variance from becoming pure noise.
  values = jnp.maximum(values, 1e-5 * values[-1] + 1e-12)
  white = jnp.matmul(centred, vectors, precision=Precision.HIGHEST)
  white = white / jnp.sqrt(values)
  norms = jnp.linalg.norm(white, axis=1, keepdims=True)
  return white / jnp.maximum(norms, 1e-6)


def perplexity(shares: Float[Array, 'k']) -> Float[Array, '']:
  """exp of the entropy: how many of the k clusters are in use, from 1 to k.

  Args:
    shares: the share of each cluster, in any unit.
  """
  shares = shares / jnp.maximum(shares.sum(), 1e-12)
  return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(shares, shares)))
