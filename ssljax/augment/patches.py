"""An image as a grid of patches, without cues that reveal a patch's place.

Patches that touch can be matched by the lines that cross their border. A lens
bends colours by their distance from its axis. Both cues tell where a patch is
without looking at what the patch shows (arXiv 1505.05192, section 3.1). The
remedies are gaps and jitter between patches, and colours that are dropped or
projected.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssljax.errors import UserError, check_known

SMALLEST = 6  # the shortest side, in pixels, of a patch that can be encoded
COLOURS = ('keep', 'drop', 'project')
# The direction from green to magenta, along which lenses shift colours.
_MAGENTA = np.array((-1.0, 2.0, -1.0))
_PROJECTION = np.eye(3) - np.outer(_MAGENTA, _MAGENTA) / (_MAGENTA @ _MAGENTA)


def patch_size(
  height: int, width: int, *, grid: tuple[int, int], gap: int
) -> tuple[int, int]:
  """Height and width of the patches of a grid over an image.

  In a direction with a single cell there is no gap, so that a line keeps the
  height that its encoder is built for.

  Raises:
    UserError: the image is too small for the grid.
  """
  rows, columns = grid
  down, across = (gap if cells > 1 else 0 for cells in grid)
  size = (height // rows - down, width // columns - across)
  if min(size) < SMALLEST:
    raise UserError(
      f'Found images of {height}x{width} pixels for {rows}x{columns} patches '
      f'with gaps of {gap}, which leaves patches of {size[0]}x{size[1]}; '
      f'expected {SMALLEST} pixels or more on each side. Use larger images, '
      'a smaller gap or a coarser grid.'
    )
  return size


def patches(
  keys: jax.Array,
  images: Float[Array, 'b h w c'],
  *,
  grid: tuple[int, int],
  gap: int,
  jitter: bool,
) -> Float[Array, 'b places _h _w c']:
  """Cuts the patches of each image, row by row.

  Each patch is `gap` pixels smaller than its cell. Without jitter it lies in
  the middle of the cell, with jitter anywhere in the cell.

  Args:
    keys: one PRNG key per image.
    images: images with any values.
    grid: rows and columns of the grid.
    gap: pixels by which a patch is smaller than its cell in each direction that
      has several cells.
    jitter: whether a patch lies anywhere in its cell instead of in its middle.
  """
  height, width, channels = images.shape[1:]
  rows, columns = grid
  size = patch_size(height, width, grid=grid, gap=gap)
  cells = np.indices(grid).reshape(2, -1).T
  cell = (height // rows, width // columns)
  corners, free = cells * cell, np.subtract(cell, size)

  def of_image(key, image):
    moves = jnp.broadcast_to(free // 2, corners.shape)
    if jitter:
      moves = jax.random.randint(key, corners.shape, 0, free + 1)

    def cut(corner):
      return jax.lax.dynamic_slice(image, (*corner, 0), (*size, channels))

    return jax.vmap(cut)(corners + moves)

  return jax.vmap(of_image)(keys, images)


def hide_colours(
  keys: jax.Array, pieces: Float[Array, 'b places h w 3'], *, mode: str
) -> Float[Array, 'b places h w 3']:
  """Changes colours so that they no longer tell where a patch is.

  Args:
    keys: one PRNG key per image.
    pieces: the patches of each image.
    mode: 'drop' keeps one channel of each patch and replaces the others with
      noise of a hundredth of its standard deviation; 'project' removes the
      direction from green to magenta; 'keep' changes nothing.
  """
  check_known('treatment of colours', mode, COLOURS)
  if mode == 'keep':
    return pieces
  if mode == 'project':
    return pieces @ jnp.asarray(_PROJECTION, pieces.dtype)

  def of_patch(key, piece):
    channel_key, noise_key = jax.random.split(key)
    kept = jax.nn.one_hot(jax.random.randint(channel_key, (), 0, 3), 3)
    std = (piece @ kept).std() / 100
    noise = std * jax.random.normal(noise_key, piece.shape)
    return jnp.where(kept > 0, piece, noise)

  def of_image(key, each):
    return jax.vmap(of_patch)(jax.random.split(key, len(each)), each)

  return jax.vmap(of_image)(keys, pieces)


def puzzle(
  key: jax.Array,
  images: Float[Array, 'b h w 3'],
  index: Int[Array, 'b'],
  *,
  grid: tuple[int, int],
  gap: int,
  jitter: bool,
  colours: str,
  answers: int,
) -> tuple[Float[Array, 'b places _h _w 3'], Int[Array, 'b']]:
  """Patches of each image, and a random answer out of `answers` for each image.

  Both depend only on the key and on the image's own index.
  """
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
  cut_keys, colour_keys, answer_keys = jax.vmap(
    lambda key: jax.random.split(key, 3), out_axes=1
  )(keys)
  pieces = patches(cut_keys, images, grid=grid, gap=gap, jitter=jitter)
  draw = jax.vmap(lambda key: jax.random.randint(key, (), 0, answers))
  return hide_colours(colour_keys, pieces, mode=colours), draw(answer_keys)


def standardize(
  pieces: Float[Array, 'b places h w c'],
) -> Float[Array, 'b places h w c']:
  """Gives each patch mean 0 and standard deviation 1 (1603.09246, 4.2)."""
  axes = (2, 3, 4)
  centred = pieces - pieces.mean(axis=axes, keepdims=True)
  spread = jnp.sqrt(jnp.square(centred).mean(axis=axes, keepdims=True))
  return centred / jnp.maximum(spread, 1e-3)


@functools.cache
def permutations(
  places: int, count: int, seed: int = 0
) -> Int[np.ndarray, '_ _']:
  """A fixed set of permutations that differ strongly (1603.09246, algorithm 1).

  Each permutation is the one farthest from those chosen before it: its least
  Hamming distance to any of them is the largest, and among equals so is the sum
  of its distances. For more than 8 places, 50,000 random permutations stand for
  all permutations.

  Args:
    places: the number of things that are ordered.
    count: the number of permutations.
    seed: the seed of the first permutation and of the random ones.

  Returns:
    int32 (count, places).

  Raises:
    UserError: there are fewer than `count` permutations, or `count` is below 2.
  """
  if not 2 <= count <= math.factorial(places):
    raise UserError(
      f'Found {count} permutations of {places} patches; expected 2 to '
      f'{math.factorial(places)}.'
    )
  rng = np.random.default_rng(seed)
  if places <= 8:
    pool = np.array(list(itertools.permutations(range(places))), np.int8)
  else:
    pool = np.argsort(rng.random((50_000, places)), axis=1).astype(np.int8)
    pool = np.unique(pool, axis=0)
  pool = rng.permutation(pool)
  chosen = [0]
  least = np.full(len(pool), places + 1)
  total = np.zeros(len(pool), np.int64)
  while len(chosen) < count:
    distance = (pool != pool[chosen[-1]]).sum(axis=1)
    least, total = np.minimum(least, distance), total + distance
    best = np.lexsort((total, least))[-1]
    if not least[best]:
      raise UserError(
        f'Found {count} permutations of {places} patches to draw; expected at '
        f'most {len(chosen)}, the number of orders to choose from.'
      )
    chosen.append(int(best))
  return pool[chosen].astype(np.int32)
