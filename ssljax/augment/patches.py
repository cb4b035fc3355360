"""An image as a grid of patches, without the cues that give the grid away.

Patches that touch can be matched by the lines that cross their border, and a
lens bends colours by the distance from its axis: both tell where a patch stands
without a look at what it shows (arXiv 1505.05192, section 3.1). Hence gaps and
jitter between patches, and colours that are dropped or projected.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssljax.errors import UserError, check_known

SMALLEST = 6  # pixels of a patch's side that an encoder can make anything of
COLOURS = ('keep', 'drop', 'project')
# A direction from green to magenta, which lenses shift.
_MAGENTA = np.array((-1.0, 2.0, -1.0))
_PROJECTION = np.eye(3) - np.outer(_MAGENTA, _MAGENTA) / (_MAGENTA @ _MAGENTA)


def patch_size(
  height: int, width: int, *, grid: tuple[int, int], gap: int
) -> tuple[int, int]:
  """Height and width of the patches of a grid over an image.

  There are no gaps in a direction with one cell: a line keeps its height, which
  its encoder is made for.

  Raises:
    UserError: an image too small for the grid.
  """
  rows, columns = grid
  down, across = (gap if cells > 1 else 0 for cells in grid)
  size = (height // rows - down, width // columns - across)
  if min(size) < SMALLEST:
    raise UserError(
      f'Found images of {height}x{width} pixels for {rows}x{columns} patches '
      f'with gaps of {gap}, which leaves patches of {size[0]}x{size[1]}; '
      f'expected {SMALLEST} pixels a side and more. Use larger images, a '
      'smaller gap or a coarser grid.'
    )
  return size


def patches(
  keys,
  images: Float[Array, 'b h w c'],
  *,
  grid: tuple[int, int],
  gap: int,
  jitter: bool,
) -> Float[Array, 'b places _h _w c']:
  """The patches of each image, row by row.

  Every cell of the grid loses `gap` pixels in each direction, from all around
  its patch, or with jitter somewhere about it.

  Args:
    keys: one an image.
    images: of any values.
    grid: rows and columns.
    gap: pixels that a cell loses.
    jitter: whether a patch stands anywhere in its cell, or in its middle.
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
  keys, pieces: Float[Array, 'b places h w 3'], *, mode: str
) -> Float[Array, 'b places h w 3']:
  """Patches whose colours no longer say where they stand.

  Args:
    keys: one an image.
    pieces: patches.
    mode: 'drop' keeps one channel of a patch and puts noise of a hundredth of
      its standard deviation in the place of the others; 'project' takes out
      the direction from green to magenta; 'keep' changes nothing.
  """
  check_known('way with colours', mode, COLOURS)
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
  key,
  images: Float[Array, 'b h w 3'],
  index: Int[Array, 'b'],
  *,
  grid: tuple[int, int],
  gap: int,
  jitter: bool,
  colours: str,
  answers: int,
) -> tuple[Float[Array, 'b places _h _w 3'], Int[Array, 'b']]:
  """Patches of each image, and which of so many answers it is to have.

  Both hang on the key and on the image's own index.
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
  """Each patch with mean 0 and standard deviation 1 (1603.09246, 4.2)."""
  axes = (2, 3, 4)
  centred = pieces - pieces.mean(axis=axes, keepdims=True)
  spread = jnp.sqrt(jnp.square(centred).mean(axis=axes, keepdims=True))
  return centred / jnp.maximum(spread, 1e-3)


@functools.cache
def permutations(
  places: int, count: int, seed: int = 0
) -> Int[np.ndarray, '_ _']:
  """A fixed set of orders, far from one another (1603.09246, algorithm 1).

  Each next one is the farthest from those before it: by the least Hamming
  distance to any of them, then by the sum. Of more than 8 places, 50,000 drawn
  orders stand for all.

  Args:
    places: what is ordered.
    count: orders, at most all there are.
    seed: of the first one, and of the drawn ones.

  Returns:
    int32 (count, places).

  Raises:
    UserError: more orders than there are.
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
        f'most {len(chosen)} of so many.'
      )
    chosen.append(int(best))
  return pool[chosen].astype(np.int32)
