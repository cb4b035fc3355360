"""The losses of a generator and a critic, added to one scalar."""

from collections.abc import Callable
from typing import Any

import jax

from ssljax import losses


def play(
  judge: Callable[[Any, jax.Array], Any],
  critic: Any,
  made: jax.Array,
  real: jax.Array,
  *,
  shown: jax.Array | None = None,
  **options: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The sum of the losses of generator and critic, and figures of the critic.

  The gradient is stopped at the pictures in the critic's loss, and at the
  critic's params in the generator's loss. Each player therefore receives the
  gradient of its own loss only. Both players learn from the same step, whereas
  published code alternates between them.

  Args:
    judge: `(params of the critic, pictures) -> logits`.
    critic: the params of the critic.
    made: pictures that the generator has drawn, through which the gradient
      flows to the generator.
    real: pictures of the data.
    shown: drawn pictures that the critic learns from; by default `made`.
    **options: options of `losses.two_players`.
  """
  stop = jax.lax.stop_gradient
  return losses.two_players(
    judge(stop(critic), made),
    judge(critic, stop(made if shown is None else shown)),
    judge(critic, real),
    **options,
  )
