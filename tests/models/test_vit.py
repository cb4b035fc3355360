"""ViT's patches, positions and dtypes, written out.

Parameter counts, shapes and errors are in test_image_encoders.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.models.vit import VITS, ViT


def _images(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _position(y, x, width):
  """sin and cos of y, then of x, from fast to 10,000 times as slow."""
  quarter = width // 4
  rates = [10_000 ** (-i / quarter) for i in range(quarter)]
  return np.array(
    [wave(at * rate) for at in (y, x) for wave in (np.sin, np.cos)
     for rate in rates]
  )  # fmt: skip


@pytest.mark.parametrize('channels', [1, 3])
def test_patches_and_positions_against_loops(channels):
  """A ViT of no layers, on an image that is wider than it is high."""
  patch, width = 4, 8
  images = _images(2, 8, 12, channels)
  net = ViT(width=width, layers=0, patch=patch)
  variables = net.init(jax.random.key(0), images)
  dense = variables['params']['Dense_0']
  dense['bias'] = dense['bias'] + np.linspace(-1, 1, width).astype('f')
  assert dense['kernel'].shape == (patch * patch * 3, width)
  color = np.broadcast_to(images, (2, 8, 12, 3))
  expected = np.zeros((2, width))
  for y in range(2):
    for x in range(3):
      rows = slice(y * patch, (y + 1) * patch)
      columns = slice(x * patch, (x + 1) * patch)
      row = color[:, rows, columns].reshape(2, -1) @ dense['kernel']
      row = row + dense['bias'] + _position(y, x, width)
      row = row - row.mean(-1, keepdims=True)
      expected += row / np.sqrt((row**2).mean(-1, keepdims=True) + 1e-6) / 6
  np.testing.assert_allclose(net.apply(variables, images), expected, atol=1e-4)


def test_heads_are_of_64():
  """No count of parameters sees a wrong number of heads."""
  assert {size['width'] / size['heads'] for size in VITS.values()} == {64}


def test_bfloat16_is_near_float32():
  images = _images(2, 8, 8, 3)
  net = ViT(width=16, layers=1, heads=2, patch=4)
  variables = jax.jit(net.init)(jax.random.key(0), images)
  exact = jax.jit(net.apply)(variables, images)
  rough = jax.jit(net.clone(dtype=jnp.bfloat16).apply)(variables, images)
  assert rough.dtype == jnp.float32
  assert np.abs(rough - exact).max() > 0
  np.testing.assert_allclose(rough, exact, atol=0.05)
  kinds = {leaf.dtype for leaf in jax.tree.leaves(variables)}
  assert kinds == {jnp.dtype('float32')}


def test_train_and_inference_are_the_same():
  images = _images(2, 8, 8, 3)
  net = ViT(width=16, layers=1, heads=2, patch=4)
  variables = jax.jit(net.init)(jax.random.key(0), images)
  assert set(variables) == {'params'}
  np.testing.assert_array_equal(
    net.apply(variables, images, train=True),
    net.apply(variables, images, train=False),
  )
