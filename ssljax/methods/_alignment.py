"""Distribution alignment: readings have each class as often as the labels do.

A network that learns from its own readings reads the classes that it prefers
more and more often, and forgets the others. ReMixMatch (arXiv 1911.09785,
section 3.1) multiplies the teacher's probabilities by wanted over found shares
of the classes. Here the logarithm of this factor, a bias on the logits, moves
by small steps until the shares agree, because a greedy reading depends on the
probabilities by jumps.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

RATE = 0.05  # of the bias, and of the average of found shares, per step
LARGEST = 3.0  # bias either way, a factor of 20

State = Mapping[str, Array]


def init(wanted: np.ndarray) -> State:
  """The state: a bias of 0, and shares that are found as they are wanted."""
  shares = jnp.asarray(wanted, jnp.float32)
  return {'bias': jnp.zeros_like(shares), 'found': shares}


def update(
  state: State, wanted: np.ndarray, counts: Float[Array, 'classes']
) -> State:
  """Moves the bias towards readings that have the wanted shares.

  Args:
    state: the bias that the readings were made with.
    wanted: the share of each class. A class of share 0 (the blank of CTC, or a
      character that no label shows) takes no part, and its bias stays 0.
    counts: how often the unlabelled examples of all devices, or a mean over
      devices, were read as each class.
  """
  shares = jnp.asarray(wanted, jnp.float32)
  real = shares > 0
  counts = jnp.where(real, counts, 0)
  total = counts.sum()
  # Readings of a step may all be empty.
  new = jnp.where(total > 0, counts / jnp.maximum(total, 1e-6), state['found'])
  found = state['found'] + RATE * (new - state['found'])
  # A tenth of an even share is added to both, so that a class that is never
  # read has a finite error.
  little = 0.1 / real.sum()
  error = jnp.log((shares + little) / (found + little))
  bias = state['bias'] + RATE * jnp.clip(error, -1, 1)
  # The mean is 0: the classes compete with one another, not with the blank.
  bias = bias - jnp.where(real, bias, 0).sum() / real.sum()
  bias = jnp.where(real, jnp.clip(bias, -LARGEST, LARGEST), 0)
  return jax.lax.stop_gradient({'bias': bias, 'found': found})
