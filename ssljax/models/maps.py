"""Feature maps that an encoder leaves for a decoder."""

import flax.linen as nn
from jaxtyping import Array, Float


def sow(module: nn.Module, name: str, x: Float[Array, 'b h w c']) -> None:
  """Leaves a map under `name`, fine ones first; `networks.maps` collects them.

  Not while the module is initialised, whose variables are parameters alone.
  """
  if not module.is_initializing():
    module.sow('maps', name, x)
