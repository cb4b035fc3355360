"""The input that an encoder receives when no view changes the image."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from ssljax.errors import UserError


def plain(images: UInt8[Array, 'b h w c']) -> Float[Array, 'b h w c']:
  """Scales uint8 images to the value range of the views, about [-1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1


def unpadded(batch: Mapping[str, Array]) -> UInt8[Array, 'b h w c']:
  """Stretches each image from its `width` in pixels to the whole frame.

  This serves tasks whose answer a blank border would reveal: the place of the
  border tells how an image was turned, and which of its pieces is the last.
  Data without padding has no 'width' and is returned unchanged.
  """
  if 'width' not in batch:
    return batch['image']

  def stretch(image, width):
    # The first column stays the first and the last shown column becomes the
    # last, so that no blank is mixed in.
    scale = (image.shape[1] - 1) / jnp.maximum(width - 1, 1)
    made = jax.image.scale_and_translate(
      image.astype(jnp.float32),
      image.shape,
      (1,),
      scale[None],
      (1 - scale[None]) / 2,
      'linear',
      antialias=False,
    )
    return jnp.rint(made).astype(jnp.uint8)

  return jax.vmap(stretch)(batch['image'], batch['width'])


def plain_and_clean(
  batch: Mapping[str, Array], *, kind: str
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b h w c']]:
  """`batch['image']` and `batch['clean']`, both scaled by `plain`.

  Args:
    batch: a batch of a stage.
    kind: the value that the stage's `data.clean` needs, for the error.

  Raises:
    UserError: the batch has no clean pictures, or clean pictures of another
      size than the images.
  """
  if 'clean' not in batch:
    raise UserError(
      'Found images without clean pictures; expected a clean picture of '
      f'each. Only rendered data has them: set data.clean={kind} in the stage.'
    )
  images, clean = plain(batch['image']), plain(batch['clean'])
  if images.shape[:3] != clean.shape[:3]:
    raise UserError(
      f'Found images of {images.shape[1]}x{images.shape[2]} pixels and clean '
      f'ones of {clean.shape[1]}x{clean.shape[2]}; expected the same size.'
    )
  return images, jnp.broadcast_to(clean, images.shape)
