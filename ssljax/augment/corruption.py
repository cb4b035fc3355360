"""Ways to corrupt a picture that an autoencoder has to repair."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssljax.errors import check_known

CORRUPTIONS = ('none', 'noise', 'mask', 'salt')


def corrupt(
  keys: jax.Array,
  images: Float[Array, 'b h w c'],
  *,
  kind: str,
  amount: float,
  block: int = 8,
) -> Float[Array, 'b h w c']:
  """Corrupts pictures with values in [-1, 1].

  Args:
    keys: one PRNG key per image.
    images: clean pictures.
    kind: 'none'; 'noise', Gaussian noise; 'mask', gray blocks; or 'salt',
      pixels that turn black or white.
    amount: standard deviation of the noise, or the share of blocks or pixels.
    block: side of a masked block, in pixels.
  """
  check_known('corruption', kind, CORRUPTIONS)
  height, width, _ = images.shape[1:]

  def spoil(key, image):
    if kind == 'noise':
      noise = jax.random.normal(key, image.shape)
      return jnp.clip(image + amount * noise, -1, 1)
    if kind == 'mask':
      cells = (-(-height // block), -(-width // block))
      hidden = jax.random.uniform(key, cells) < amount
      hidden = hidden.repeat(block, 0).repeat(block, 1)[:height, :width]
      return jnp.where(hidden[..., None], 0, image)
    if kind == 'salt':
      draw = jax.random.uniform(key, (height, width, 1))
      image = jnp.where(draw < amount / 2, -1, image)
      return jnp.where(draw > 1 - amount / 2, 1, image)
    return image

  return jax.vmap(spoil)(keys, images)


def hole(
  keys: jax.Array, shape: tuple[int, int], *, share: float
) -> Float[Array, 'b h w 1']:
  """1 inside a random rectangle of each picture, 0 elsewhere.

  Args:
    keys: one PRNG key per image.
    shape: height and width of the pictures.
    share: the part of each side that the rectangle covers.
  """

  def one(key):
    inside = []
    for axis_key, size in zip(jax.random.split(key), shape, strict=True):
      length = max(1, round(share * size))
      start = jax.random.randint(axis_key, (), 0, size - length + 1)
      place = jnp.arange(size) - start
      inside.append((place >= 0) & (place < length))
    return (inside[0][:, None] & inside[1])[..., None].astype(jnp.float32)

  return jax.vmap(one)(keys)
