"""Two players in one scalar: a generator draws and a critic judges."""

from collections.abc import Callable
from typing import Any

import jax

from ssljax import losses


def play(
  judge: Callable[[Any, jax.Array], jax.Array],
  critic: Any,
  made: jax.Array,
  real: jax.Array,
  *,
  shown: jax.Array | None = None,
  **options: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The losses of both players, added, and figures of the critic.

  The critic's loss looks at pictures through a stopped gradient, and the
  generator's loss looks at the critic through one. The gradients are therefore
  those of the two losses apart. Both players move at once, where published code
  takes turns.

  Args:
    judge: `(critic's params, pictures) -> logits`.
    critic: its params.
    made: pictures that the generator has drawn, with their gradient.
    real: pictures of the data.
    shown: made pictures that the critic learns from; the newest by default.
    **options: of `losses.two_players`.
  """
  stop = jax.lax.stop_gradient
  return losses.two_players(
    judge(stop(critic), made),
    judge(critic, stop(made if shown is None else shown)),
    judge(critic, real),
    **options,
  )
