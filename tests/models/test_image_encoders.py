"""ResNet and ViT against what is known of them from outside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.errors import UserError
from ssljax.models.pixels import Pixels
from ssljax.models.resnet import RESNETS, ResNet
from ssljax.models.vit import VITS, ViT, positions


def _shapes(module, size):
  images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  return jax.eval_shape(
    functools.partial(module.init_with_output, train=True),
    jax.random.key(0),
    images,
  )


def _count(variables):
  return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize(
  ('depth', 'count', 'features'),
  # torchvision's, without their last layer.
  [(18, 11_176_512, 512), (34, 21_284_672, 512), (50, 23_508_032, 2048)],
)
def test_resnets_have_torchvisions_parameters(depth, count, features):
  output, variables = _shapes(ResNet(**RESNETS[depth]), 64)
  assert _count(variables) == count
  assert output.shape == (2, features) and output.dtype == jnp.float32
  small = _shapes(ResNet(**RESNETS[depth], stem='cifar'), 32)[1]
  # A kernel of 3x3 for one of 7x7.
  assert _count(small) == count - 64 * 3 * (49 - 9)


@pytest.mark.parametrize(('stem', 'side'), [('cifar', 32), ('imagenet', 8)])
def test_the_cifar_stem_keeps_the_image(stem, side):
  """Rule 17: else a 32 px image ends as one pixel."""
  net = ResNet((1,), width=8, stem=stem)
  images = jnp.zeros((1, 32, 32, 3))
  _, seen = net.init_with_output(
    jax.random.key(0), images, capture_intermediates=True
  )
  last = seen['intermediates']['Conv_2']['__call__'][0]
  assert last.shape == (1, side, side, 8)


def test_a_block_starts_as_the_identity():
  """With zero-init the second network only adds what is nothing."""
  images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)))
  one, two = (
    ResNet((blocks,), width=8, stem='cifar').init_with_output(
      jax.random.key(0), images, train=False
    )
    for blocks in (1, 2)
  )
  np.testing.assert_allclose(two[0], one[0], atol=1e-6)
  loose = ResNet((2,), width=8, stem='cifar', zero_init=False)
  other, _ = loose.init_with_output(jax.random.key(0), images, train=False)
  assert np.abs(other - one[0]).max() > 1e-2


def test_bfloat16_computes_and_float32_keeps():
  net = ResNet((1, 1), width=8, stem='cifar', dtype=jnp.bfloat16)
  output, variables = _shapes(net, 16)
  assert output.dtype == jnp.float32
  kinds = {leaf.dtype for leaf in jax.tree.leaves(variables)}
  assert kinds == {jnp.dtype('float32')}


@pytest.mark.parametrize('name', VITS)
def test_vits_have_the_papers_parameters(name):
  size = VITS[name]
  output, variables = _shapes(ViT(**size, patch=16), 224)
  d, layers = size['width'], size['layers']
  block = 4 * d * d + 4 * d + 8 * d * d + 5 * d + 4 * d
  # Patches, blocks, last norm; no class token and no learned positions.
  assert _count(variables) == 768 * d + d + layers * block + 2 * d
  assert output.shape == (2, d) and output.dtype == jnp.float32


def test_positions_tell_every_patch_from_the_others():
  table = positions(6, 6, 32)
  assert table.shape == (36, 32)
  distances = np.linalg.norm(table[:, None] - table[None], axis=-1)
  assert (distances + 10 * np.eye(36)).min() > 0.3
  # And matter: a ViT without them could not tell two patches swapped.
  images = np.random.default_rng(0).normal(size=(1, 16, 16, 3))
  swapped = images.copy()
  swapped[:, :8, :8], swapped[:, 8:, 8:] = images[:, 8:, 8:], images[:, :8, :8]
  net = ViT(width=16, layers=1, heads=2, patch=8)
  variables = net.init(jax.random.key(0), images)
  a, b = (net.apply(variables, x) for x in (images, swapped))
  assert np.abs(a - b).max() > 1e-4


def test_a_size_that_patches_do_not_divide_is_refused():
  with pytest.raises(UserError, match=r'48x48 pixels for patches of 10'):
    _shapes(ViT(width=16, layers=1, heads=2, patch=10), 48)


def test_pixels_are_the_image():
  images = np.arange(24.0).reshape(2, 2, 2, 3)
  found, variables = Pixels().init_with_output(jax.random.key(0), images)
  np.testing.assert_array_equal(found, images.reshape(2, 12))
  assert not jax.tree.leaves(variables)


def test_gray_is_replicated():
  gray = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 1)))
  net = ResNet((1,), width=8)
  found, variables = net.init_with_output(jax.random.key(0), gray)
  expected = net.apply(variables, jnp.tile(gray, (1, 1, 1, 3)))
  np.testing.assert_allclose(found, expected, atol=1e-6)
