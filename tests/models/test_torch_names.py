"""Weights in torchvision's and timm's names compute what they compute there.

Without torch, the outputs are those of `tests/torch_outputs.py`; with it, its
networks run here.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_outputs

from ssljax.augment.pixels import plain
from ssljax.errors import UserError
from ssljax.models import torch_names
from ssljax.models.convnet import ConvNet
from ssljax.models.resnet import RESNETS, ResNet
from ssljax.models.vit import VITS, ViT
from ssljax.weights import IMAGENET

KNOWN = json.loads(torch_outputs.PATH.read_text())
SIZE = {'height': torch_outputs.SIZE, 'width': torch_outputs.SIZE}
NETWORKS = {
  **{f'resnet{depth}': ResNet(**RESNETS[depth]) for depth in RESNETS},
  'vit_ti': ViT(**VITS['Ti']),
}


@functools.cache
def _shapes(net, size=torch_outputs.SIZE):
  images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), images)


def _there(net, variables):
  if isinstance(net, ViT):
    return torch_names.to_timm(variables['params'], **SIZE)
  return torch_names.to_torchvision(
    variables['params'], variables['batch_stats']
  )


def _here(net, tensors, **pixels):
  like = _shapes(net)
  if isinstance(net, ViT):
    params, left = torch_names.from_timm(tensors, like['params'], **pixels)
    return {'params': params}, left
  params, statistics, left = torch_names.from_torchvision(
    tensors, like['params'], like['batch_stats'], **pixels
  )
  return {'params': params, 'batch_stats': statistics}, left


def _drawn(name):
  return torch_outputs.drawn(KNOWN[name]['tensors'])


def _close(found, expected):
  np.testing.assert_allclose(
    found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
  )


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_of_torch_compute_the_same_here(name):
  net = NETWORKS[name]
  variables, left = _here(net, _drawn(name))
  last = 'head' if name == 'vit_ti' else 'fc'
  assert left == [f'{last}.weight', f'{last}.bias']
  found = jax.jit(net.apply)(variables, plain(torch_outputs.image()))
  _close(found[0], KNOWN[name]['features'])


@pytest.mark.parametrize('name', NETWORKS)
def test_tensors_go_back_as_they_came(name):
  net, tensors = NETWORKS[name], _drawn(name)
  variables, left = _here(net, tensors)
  back = _there(net, variables)
  assert set(back) == set(tensors) - set(left)
  for key, each in back.items():
    np.testing.assert_array_equal(each, tensors[key], err_msg=key)


def _moved(net):
  """Weights, and statistics where there are some, that leave no layer out."""
  rng = np.random.default_rng(2)

  def move(path, leaf):
    kind = path[-1].key
    if kind == 'kernel':
      spread = np.prod(leaf.shape[:-1]) ** -0.5
      return rng.normal(0, spread, leaf.shape).astype('f')
    low = 0.5 if kind in ('scale', 'var') else -0.3
    return rng.uniform(low, low + 1, leaf.shape).astype('f')

  return jax.tree_util.tree_map_with_path(move, _shapes(net))


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'maker'),
  [
    ('resnet18', 'torchvision'),
    ('resnet18', 'timm'),
    ('resnet50', 'torchvision'),
    ('vit_ti', 'timm'),
  ],
)
def test_networks_of_ours_compute_the_same_in_torch(name, maker):
  """All of their tensors are loaded, and none is left as it was."""
  pytest.importorskip('torch')
  library = pytest.importorskip('torchvision')
  timm = pytest.importorskip('timm')
  net = NETWORKS[name]
  variables = _moved(net)
  if name == 'vit_ti':
    network = torch_outputs.networks()[name]
  elif maker == 'timm':
    network = timm.create_model(name)
  else:
    network = getattr(library.models, name)()
  tensors = _there(net, variables)
  state = network.state_dict()
  rest = {key: each.numpy() for key, each in state.items()}
  rest = {key: rest[key] for key in rest if key.startswith(('fc.', 'head.'))}
  images = torch_outputs.image()
  found = torch_outputs.features(network, tensors | rest, images)
  _close(found, jax.jit(net.apply)(variables, plain(images)))


def test_a_vit_of_other_pixels_sees_them_in_ours():
  net, tensors, images = NETWORKS['vit_ti'], _drawn('vit_ti'), _image()
  found = jax.jit(net.apply)(_here(net, tensors, **IMAGENET)[0], plain(images))
  _close(found, jax.jit(net.apply)(_here(net, tensors)[0], _imagenet(images)))


def test_a_resnet_of_other_pixels_sees_them_but_for_the_border():
  net = ResNet((1,))
  tensors = _there(net, _moved(net))

  def stem(variables, pixels):
    _, seen = net.apply(variables, pixels, mutable=['maps'])
    return np.asarray(seen['maps']['stem'][0])

  images = _image()
  found = stem(_here(net, tensors, **IMAGENET)[0], plain(images))
  expected = stem(_here(net, tensors)[0], _imagenet(images))
  inner = np.s_[:, 2:-1, 2:-1]
  _close(found[inner], expected[inner])
  assert np.abs(found - expected).max() > 1e-3


def _image():
  return torch_outputs.image()


def _imagenet(images):
  mean, std = IMAGENET.values()
  return ((images / 255.0 - np.array(mean)) / np.array(std)).astype('f')


def test_the_cifar_stem_has_the_same_names():
  net = ResNet((1,), width=8, stem='cifar')
  variables = _moved(net)
  tensors = _there(net, variables)
  assert tensors['conv1.weight'].shape == (8, 3, 3, 3)
  back, _ = _here(net, tensors)
  jax.tree.map(np.testing.assert_array_equal, back, variables)


@pytest.mark.parametrize(
  ('name', 'changes', 'words'),
  [
    ('resnet18', {'conv1.weight': np.zeros((64, 3, 3, 3))}, 'conv1.weight of'),
    ('resnet18', {'layer2.0.downsample.0.weight': None}, 'Found no tensor lay'),
    ('resnet18', {'layer1.0.se.fc1.bias': np.ones(4)}, 'expected no tensor la'),
    ('resnet18', {'bn1.weight': np.full(64, np.nan)}, 'not finite'),
    ('vit_ti', {'cls_token': np.zeros((1, 1, 192))}, 'a class token'),
    ('vit_ti', {'pos_embed': np.zeros((1, 16, 192))}, 'other positions'),
    ('vit_ti', {'pos_embed': None}, 'other positions'),
    ('vit_ti', {'blocks.3.ls1.gamma': np.ones(192)}, 'expected no tensor blo'),
  ],
)
def test_other_networks_are_refused(name, changes, words):
  tensors = _drawn(name) | changes
  tensors = {key: each for key, each in tensors.items() if each is not None}
  with pytest.raises(UserError, match=words):
    _here(NETWORKS[name], tensors)


def test_an_encoder_that_torch_has_not():
  params = _shapes(ConvNet((8, 16)))['params']
  with pytest.raises(UserError, match='Found an encoder of Conv, Dense, Group'):
    torch_names.kind_of(params)
