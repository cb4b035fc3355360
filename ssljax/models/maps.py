"""Feature maps that an encoder records for a decoder."""

import flax.linen as nn
from jaxtyping import Array, Float


def sow(module: nn.Module, name: str, x: Float[Array, 'b h w c']) -> None:
  """Records a feature map under `name`; `networks.maps` collects the maps.

  An encoder sows its maps from the finest to the coarsest. While the module is
  initialised nothing is recorded, so that its variables are only parameters and
  statistics.
  """
  if not module.is_initializing():
    module.sow('maps', name, x)
