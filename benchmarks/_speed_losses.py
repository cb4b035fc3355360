"""Losses in blocks beside losses that hold the whole matrix."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from _rows import Outcome, row
from _timing import ratio, times

from ssljax import losses
from ssljax.losses import blockwise

D = 128
LOSSES = {
  'InfoNCE': (losses.info_nce, 2),
  'NT-Xent': (losses.nt_xent, 2),
  "MoCo's": (losses.info_nce_queue, 3),
}


def _arrays(count, rows, dtype=np.float32):
  """Unit rows, of which those of the second array resemble the first."""
  rng = np.random.default_rng(0)
  made = rng.normal(size=(count, rows, D))
  made[1] += 3 * made[0]
  made /= np.linalg.norm(made, axis=-1, keepdims=True)
  return [each.astype(dtype) for each in made]


def _gradient(loss, block):
  loss = functools.partial(loss, block_size=block)
  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def _error(found, exact):
  """The largest error of a gradient, as a share of its largest entry."""
  return max(
    float(np.abs(np.asarray(x) - y).max() / np.abs(y).max())
    for x, y in zip(found[1], map(np.asarray, exact[1]), strict=True)
  )


@row(
  'losses',
  page='performance',
  what='Value and gradient of contrastive losses, in blocks of '
  f'{blockwise.BLOCK} rows over the whole matrix, at 8,192 rows of {D}.',
  goal='time at most 1.1, error of the gradient at most 1e-6 of its largest',
)
def losses_in_blocks(folder, smoke):
  rows, repeats = (256, 2) if smoke else (8192, 9)
  block = 64 if smoke else blockwise.BLOCK
  passed, figures, values = 0, [], {}
  for name, (loss, count) in LOSSES.items():
    arrays = _arrays(count, rows)
    whole, blocks = (_gradient(loss, size) for size in (0, block))
    with jax.enable_x64():
      exact = _gradient(loss, 0)(*_arrays(count, rows, np.float64))
    found = times(
      {
        'blocks': functools.partial(blocks, *arrays),
        'whole': functools.partial(whole, *arrays),
      },
      repeats,
    )
    cost = ratio(found['blocks'], found['whole'])
    error, plain = (_error(f(*arrays), exact) for f in (blocks, whole))
    passed += smoke or (cost.median <= 1.1 and error <= 1e-6)
    figures.append(f'{name} {cost}, error {error:.1e} (whole {plain:.1e})')
    values |= {f'{name}, ratio': cost.median, f'{name}, low': cost.low}
    values |= {f'{name}, high': cost.high, f'{name}, error': error}
  return Outcome(len(LOSSES), passed, '; '.join(figures), values=values)


@row(
  'loss-memory',
  page='performance',
  what=f'Temporaries of the same, at 131,072 rows of {D}, by the analysis of '
  'the compiler, and one run of InfoNCE.',
  goal='at most 4 * block * rows + 16 * rows * d bytes',
)
def loss_memory(folder, smoke):
  rows = 2**17  # nothing of this size is made to find what it would take
  passed, figures, values = 0, [], {}
  for name, (loss, count) in LOSSES.items():
    # NT-Xent contrasts the rows of both views.
    candidates = 2 * rows if loss is losses.nt_xent else rows
    bound = candidates * (4 * blockwise.BLOCK + 16 * D)
    shape = jax.ShapeDtypeStruct((rows, D), jnp.float32)
    made = _gradient(loss, blockwise.BLOCK).lower(*[shape] * count).compile()
    held = made.memory_analysis().temp_size_in_bytes
    passed += held <= bound
    values[f'{name}, bytes'] = held
    figures.append(
      f'{name} {held / 1e6:.0f} of {bound / 1e6:.0f} MB (a whole matrix: '
      f'{4 * candidates**2 / 1e6:,.0f} MB)'
    )
  run = _gradient(losses.info_nce, blockwise.BLOCK)
  start = time.perf_counter()
  arrays = _arrays(2, 2**11 if smoke else rows)
  value, _ = jax.block_until_ready(run(*arrays))
  values['InfoNCE, seconds'] = time.perf_counter() - start
  figures.append(f'InfoNCE ran in {values["InfoNCE, seconds"]:.0f} s')
  passed += bool(np.isfinite(value))
  return Outcome(len(LOSSES) + 1, passed, '; '.join(figures), values=values)
