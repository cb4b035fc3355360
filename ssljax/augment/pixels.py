"""What an encoder sees of a uint8 image that no view has changed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from ssljax.errors import UserError


def plain(images: UInt8[Array, 'b h w c']) -> Float[Array, 'b h w c']:
  """The image as it is, in the value range of the views: about [-1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1


def unpadded(batch) -> UInt8[Array, 'b h w c']:
  """The images, each stretched from its `width` in pixels to the whole frame.

  For tasks that a blank border would answer: where it lies tells how an image
  was turned, and which of its pieces is the last. Data that is not padded has
  no 'width', and stays as it is.
  """
  if 'width' not in batch:
    return batch['image']

  def stretch(image, width):
    # The first and the last column stay these; no blank is mixed in.
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
