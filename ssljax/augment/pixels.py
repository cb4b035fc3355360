"""What an encoder sees of a uint8 image that no view has changed."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from ssljax.errors import UserError


def plain(images: UInt8[Array, 'b h w c']) -> Float[Array, 'b h w c']:
  """The image as it is, in the value range of the views: about [-1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1


def plain_and_clean(
  batch, *, kind: str
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b h w c']]:
  """`batch['image']` and `batch['clean']`, as `plain` gives them.

  Args:
    batch: of a stage.
    kind: what the stage's `data.clean` has to be.

  Raises:
    UserError: data without clean pictures, or of another size than the images.
  """
  if 'clean' not in batch:
    raise UserError(
      'Found images without clean pictures; expected some beside them. Only '
      f'rendered data has them: set data.clean={kind} in the stage.'
    )
  images, clean = plain(batch['image']), plain(batch['clean'])
  if images.shape[:3] != clean.shape[:3]:
    raise UserError(
      f'Found images of {images.shape[1]}x{images.shape[2]} pixels and clean '
      f'ones of {clean.shape[1]}x{clean.shape[2]}; expected the same size.'
    )
  return images, jnp.broadcast_to(clean, images.shape)
