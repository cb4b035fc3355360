"""ResNet against a forward pass written out, over devices, and at inference.

Parameter counts and shapes are in test_image_encoders.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from ssljax.errors import UserError
from ssljax.models.resnet import ResNet


def _images(batch, size, seed=0):
  rng = np.random.default_rng(seed)
  # Each image has a brightness of its own, so that no two devices, nor two
  # groups, have the same statistics.
  images = rng.normal(size=(batch, size, size, 3))
  return (images + np.linspace(0, 3, batch)[:, None, None, None]).astype('f')


def _moved(variables):
  """Parameters and statistics that are nowhere 0 or 1; variances stay above 1.

  To either side, or no ReLU would have anything to cut.
  """
  rng = np.random.default_rng(1)

  def move(low):
    return lambda leaf: leaf + rng.uniform(low, 0.5, leaf.shape).astype('f')

  return {
    'params': jax.tree.map(move(-0.5), variables['params']),
    'batch_stats': jax.tree.map(move(0.1), variables['batch_stats']),
  }


def _convolve(x, kernel, stride):
  """torch's: as many rows and columns of padding before as after."""
  pad = (kernel.shape[0] // 2,) * 2
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    (pad, pad),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _reference(variables, x, blocks, bottleneck, stem):
  """torchvision's order of layers, at inference."""
  convolutions, norms = (
    iter([f'{kind}_{i}' for i in range(99)]) for kind in ('Conv', 'BatchNorm')
  )

  def layer(x, stride=1):
    """Convolution and norm, the next of each."""
    kernel = variables['params'][next(convolutions)]['kernel']
    name = next(norms)
    own, kept = variables['params'][name], variables['batch_stats'][name]
    x = (_convolve(x, kernel, stride) - kept['mean']) / jnp.sqrt(
      kept['var'] + 1e-5
    )
    return x * own['scale'] + own['bias']

  if stem == 'cifar':
    x = jax.nn.relu(layer(x))
  else:
    x = jax.nn.relu(layer(x, 2))
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # 0 <= every value
    x = lax.reduce_window(x, 0.0, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), 'VALID')
  for stage, count in enumerate(blocks):
    for place in range(count):
      stride = 2 if stage and not place else 1
      if bottleneck:
        y = jax.nn.relu(layer(x))
        y = layer(jax.nn.relu(layer(y, stride)))
      else:
        y = layer(jax.nn.relu(layer(x, stride)))
      shortcut = x
      if place == 0 and (stage or bottleneck):
        shortcut = layer(x, stride)
      x = jax.nn.relu(shortcut + y)
  return x.mean(axis=(1, 2))


@pytest.mark.parametrize(
  ('bottleneck', 'stem'),
  [(False, 'cifar'), (False, 'imagenet'), (True, 'cifar')],
)
def test_the_layers_are_torchvisions(bottleneck, stem):
  """Where strides, padding, norms, shortcuts and ReLUs are.

  An even size, for which 'SAME' pads a strided convolution elsewhere.
  """
  blocks = (1, 2)
  net = ResNet(blocks, bottleneck, width=4, stem=stem)
  images = _images(2, 16)
  variables = _moved(jax.jit(net.init)(jax.random.key(0), images))
  found = jax.jit(net.apply)(variables, images)
  expected = jax.jit(
    functools.partial(
      _reference, blocks=blocks, bottleneck=bottleneck, stem=stem
    )
  )(variables, images)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_kernels_start_he_normal_by_their_outputs():
  net = ResNet((1,), width=64)
  variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  for name, window in (('Conv_0', 49), ('Conv_1', 9)):
    kernel = variables['params'][name]['kernel']
    expected = np.sqrt(2 / (window * 64))
    np.testing.assert_allclose(kernel.std(), expected, rtol=0.03)


@pytest.mark.parametrize('groups', [0, 8])
def test_devices_do_not_change_outputs_statistics_or_gradients(groups):
  """Rules 1 and 8: it is the global batch, or the groups, that counts."""
  images, target = _images(16, 8), _images(16, 8, seed=2).mean((1, 2))[:, :1]
  net = functools.partial(
    ResNet, (1, 1), width=4, stem='cifar', zero_init=False, groups=groups
  )
  variables = jax.jit(net().init)(jax.random.key(0), images)

  def run(images, target, axis_name):
    def loss(params):
      y, state = net(axis_name=axis_name).apply(
        {**variables, 'params': params},
        images,
        train=True,
        mutable=['batch_stats'],
      )
      return jnp.mean((y - target) ** 2), (y, state)

    grads, (y, state) = jax.grad(loss, has_aux=True)(variables['params'])
    if axis_name is not None:
      grads = lax.pmean(grads, axis_name)
    return y, state, grads

  mesh = jax.make_mesh((8,), ('devices',), axis_types=(AxisType.Auto,))
  rows, whole = PartitionSpec('devices'), PartitionSpec()
  several = jax.jit(
    jax.shard_map(
      functools.partial(run, axis_name='devices'),
      mesh=mesh,
      in_specs=rows,
      out_specs=(rows, whole, whole),
      check_vma=False,
    )
  )(images, target)
  one = jax.jit(functools.partial(run, axis_name=None))(images, target)
  for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(one), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  # And it is the groups that are seen: without them the outputs are others.
  if groups:
    whole_batch, _ = net(groups=0).apply(
      variables, images, train=True, mutable=['batch_stats']
    )
    assert np.abs(whole_batch - one[0]).max() > 1e-2


def test_inference_leaves_the_statistics_as_they_are():
  """Rule 20, and an image does not see the others of its batch."""
  net = ResNet((1,), width=4, stem='cifar', groups=2)
  images = _images(4, 8)
  variables = _moved(jax.jit(net.init)(jax.random.key(0), images))
  call = jax.jit(functools.partial(net.apply, mutable=['batch_stats']))
  found, after = call(variables, images)
  before = {'batch_stats': variables['batch_stats']}
  assert jax.tree.structure(after) == jax.tree.structure(before)
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
  alone, _ = call(variables, images[:1])
  np.testing.assert_allclose(found[:1], alone, rtol=1e-5)


def test_bfloat16_is_in_every_layer_and_near_float32():
  images = _images(4, 8)
  net = functools.partial(ResNet, (1,), width=4, stem='cifar')
  variables = _moved(jax.jit(net().init)(jax.random.key(0), images))
  exact = jax.jit(net().apply)(variables, images)
  apply = functools.partial(
    net(dtype=jnp.bfloat16).apply, capture_intermediates=True
  )
  rough, seen = jax.jit(apply)(variables, images)
  assert rough.dtype == jnp.float32
  np.testing.assert_allclose(rough, exact, rtol=0.05, atol=0.05)
  (whole,) = seen['intermediates'].pop('__call__')
  kinds = {leaf.dtype for leaf in jax.tree.leaves(seen)}
  assert kinds == {jnp.dtype('bfloat16')} and whole.dtype == jnp.float32


def test_a_stem_that_is_none_of_them():
  with pytest.raises(UserError, match='Found stem'):
    ResNet(stem='cifer').init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
