"""ResNet and ViT weights in the names and layouts of torchvision and timm.

Each function turns nested dicts of NumPy arrays into a dict of torch's tensors
by name, or back, and computes nothing. torchvision and timm give a ResNet the
same names. timm's ViT that computes the same has no class token and pools by
the mean; `docs/weights.md` has the call that makes it.

An encoder here takes the pixels x / 127.5 - 1, which torch's users call a mean
and a standard deviation of 0.5. A network that was trained on other pixels is
changed as it is read; see `_for_our_pixels`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax.errors import UserError
from ssljax.models.vit import positions

Tensors = Mapping[str, np.ndarray]
Tree = Mapping[str, Any]

NORM = {
  'weight': ('params', 'scale'),
  'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'),
  'running_var': ('batch_stats', 'var'),
}
# The layers of `TransformerBlock` in timm's names.
BLOCK = {
  'LayerNorm_0': 'norm1',
  'Dense_0': 'attn.qkv',
  'Dense_1': 'attn.proj',
  'LayerNorm_1': 'norm2',
  'Dense_2': 'mlp.fc1',
  'Dense_3': 'mlp.fc2',
}
# What an encoder does not have: torch's last layer, and counts of steps.
HEADS = ('fc.', 'head.')
COUNTS = '.num_batches_tracked'
HALF = (0.5, 0.5, 0.5)


class Layout(NamedTuple):
  """How an array is laid out there, and how it is laid out here."""

  there: Callable[[np.ndarray], np.ndarray]
  here: Callable[[np.ndarray], np.ndarray]


class Place(NamedTuple):
  """Where a tensor of torch is in {'params': ..., 'batch_stats': ...}."""

  name: str
  path: tuple[str, ...]
  layout: Layout


def _patches(kernel: np.ndarray) -> np.ndarray:
  side = math.isqrt(len(kernel) // 3)
  return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


VECTOR = Layout(lambda x: x, lambda x: x)
DENSE = Layout(np.transpose, np.transpose)
CONVOLUTION = Layout(
  lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0)
)
# A convolution of torch, and a dense layer over flattened patches here.
PATCHES = Layout(
  _patches, lambda x: x.transpose(2, 3, 1, 0).reshape(-1, len(x))
)


def kind_of(params: Tree) -> str:
  """'resnet' or 'vit', by the layers that an encoder consists of.

  Raises:
    UserError: neither of them.
  """
  layers = {name.rpartition('_')[0] for name in params}
  if layers == {'Conv', 'BatchNorm'}:
    return 'resnet'
  if layers == {'Dense', 'TransformerBlock', 'LayerNorm'}:
    return 'vit'
  raise UserError(
    f'Found an encoder of {", ".join(sorted(layers)) or "no layers"}; expected '
    'a resnet or a vit, because torchvision and timm have no other encoder of '
    'this library. Choose one of these as the encoder of the run.'
  )


def to_torchvision(params: Tree, batch_stats: Tree) -> dict[str, np.ndarray]:
  """A ResNet's tensors by torchvision's names, without `fc`."""
  tree = {'params': params, 'batch_stats': batch_stats}
  found = _there(tree, _resnet(params))
  for _, norm in _resnet_layers(params):
    found[f'{norm}{COUNTS}'] = np.zeros((), np.int64)
  return found


def from_torchvision(
  tensors: Tensors,
  params: Tree,
  batch_stats: Tree,
  *,
  mean: Sequence[float] = HALF,
  std: Sequence[float] = HALF,
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
  """The (params, batch_stats) of a ResNet from torchvision's tensors.

  Args:
    tensors: by torchvision's names.
    params: arrays, or their shapes, of the ResNet that is to have the weights.
    batch_stats: its statistics, or their shapes.
    mean: of the pixels that it was trained on: of red, green and blue, where 1
      is white.
    std: of the pixels that it was trained on.

  Returns:
    The params and the statistics in float32, and the names of the tensors that
    are left out: those of the last layer, `fc`.

  Raises:
    UserError: the tensors are of another network; the message names the first
      tensor that differs.
  """
  like = _blank({'params': params, 'batch_stats': batch_stats})
  expected = to_torchvision(like['params'], like['batch_stats'])
  counts = {name for name in expected if name.endswith(COUNTS)}
  kept = {name: tensors[name] for name in tensors if name not in counts}
  expected = {name: expected[name] for name in expected if name not in counts}
  left = _checked(kept, expected)
  kept = _for_our_pixels(kept, mean, std)
  tree = _here(kept, _resnet(like['params']))
  return tree['params'], tree['batch_stats'], left


def to_timm(params: Tree, *, height: int, width: int) -> dict[str, np.ndarray]:
  """A ViT's tensors by timm's names, without `head`.

  Args:
    params: of the ViT.
    height: of the images in pixels; `pos_embed` has the fixed positions of
      their patches.
    width: of the images.
  """
  found = _there({'params': params}, _vit(params))
  *_, patch, _ = found['patch_embed.proj.weight'].shape
  grid = positions(height // patch, width // patch, len(found['norm.weight']))
  return {'pos_embed': grid[None], **found}


def from_timm(
  tensors: Tensors,
  params: Tree,
  *,
  mean: Sequence[float] = HALF,
  std: Sequence[float] = HALF,
) -> tuple[dict[str, Any], list[str]]:
  """The params of a ViT from timm's tensors.

  Args:
    tensors: by timm's names.
    params: arrays, or their shapes, of the ViT that is to have the weights.
    mean: as in `from_torchvision`.
    std: as in `from_torchvision`.

  Returns:
    The params in float32, and the names of the tensors that are left out: those
    of the last layer, `head`.

  Raises:
    UserError: the tensors are of a network that computes something else, for
      example one with learned positions; the message names the first tensor
      that differs.
  """
  like = _blank({'params': params})['params']
  expected = _there({'params': like}, _vit(like))
  if 'cls_token' in tensors or 'reg_token' in tensors:
    raise UserError(
      'Found a ViT with a class token or with registers (cls_token, '
      'reg_token); expected one without them, which pools by the mean over its '
      'patches. Take a ResNet, or a ViT that was made so.'
    )
  kept = {name: tensors[name] for name in tensors if name != 'pos_embed'}
  left = _checked(kept, expected)
  if not _fixed(tensors.get('pos_embed')):
    raise UserError(
      'Found a ViT with other positions in pos_embed than ssljax.models.vit.'
      'positions has; expected these fixed sines and cosines, because the '
      'encoder here learns no positions. Take a ResNet, or a ViT that was made '
      'with them.'
    )
  kept = _for_our_pixels(kept, mean, std)
  return _here(kept, _vit(like))['params'], left


def _resnet_layers(params: Tree) -> list[tuple[str, str]]:
  """torchvision's name of each convolution and of its norm, in our order."""
  kernels = [
    np.shape(params[f'Conv_{place}']['kernel'])
    for place in range(sum(name.startswith('Conv_') for name in params))
  ]
  found = [('conv1', 'bn1')]
  size = 3 if kernels[1][0] == 1 else 2  # of a block
  channels = width = kernels[0][-1]
  stage, block = 1, 0
  while len(found) < len(kernels):
    place = len(found)
    if kernels[place][-1] != width:  # each stage has twice as many channels
      width, stage, block = kernels[place][-1], stage + 1, 0
    name = f'layer{stage}.{block}'
    found += [(f'{name}.conv{i}', f'{name}.bn{i}') for i in range(1, size + 1)]
    made = kernels[place + size - 1][-1]
    if made != channels:
      found.append((f'{name}.downsample.0', f'{name}.downsample.1'))
    channels, block = made, block + 1
  return found


def _resnet(params: Tree) -> Iterator[Place]:
  for place, (convolution, norm) in enumerate(_resnet_layers(params)):
    path = 'params', f'Conv_{place}', 'kernel'
    yield Place(f'{convolution}.weight', path, CONVOLUTION)
    for name, (collection, own) in NORM.items():
      path = collection, f'BatchNorm_{place}', own
      yield Place(f'{norm}.{name}', path, VECTOR)


def _vit(params: Tree) -> Iterator[Place]:
  blocks = sum(name.startswith('TransformerBlock_') for name in params)
  layers = {('Dense_0',): 'patch_embed.proj', ('LayerNorm_0',): 'norm'}
  layers |= {
    (f'TransformerBlock_{place}', own): f'blocks.{place}.{name}'
    for place in range(blocks)
    for own, name in BLOCK.items()
  }
  for own, name in layers.items():
    dense = own[-1].startswith('Dense')
    kernel = PATCHES if name == 'patch_embed.proj' else DENSE
    weight = ('kernel', kernel) if dense else ('scale', VECTOR)
    yield Place(f'{name}.weight', ('params', *own, weight[0]), weight[1])
    yield Place(f'{name}.bias', ('params', *own, 'bias'), VECTOR)


def _there(tree: Tree, places: Iterator[Place]) -> dict[str, np.ndarray]:
  found = {}
  for name, path, layout in places:
    leaf: Any = tree
    for key in path:
      leaf = leaf[key]
    found[name] = layout.there(np.asarray(leaf))
  return found


def _here(tensors: Tensors, places: Iterator[Place]) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for name, (*folders, last), layout in places:
    inner = tree
    for key in folders:
      inner = inner.setdefault(key, {})
    inner[last] = np.array(layout.here(tensors[name]), np.float32, order='C')
  return tree


def _for_our_pixels(
  tensors: Tensors, mean: Sequence[float], std: Sequence[float]
) -> dict[str, np.ndarray]:
  """The network that sees in x / 127.5 - 1 what it saw in (x / 255 - mean)/std.

  The first layer changes. This is exact for a ViT, and for a ResNet everywhere
  but at the border: its first convolution pads with zeros, which are the colour
  `mean` there and gray here.
  """
  scale = 0.5 / np.asarray(std)
  first = 'conv1' if 'conv1.weight' in tensors else 'patch_embed.proj'
  kernel = tensors[f'{first}.weight'].astype(np.float64)
  constant = np.einsum('oihw,i->o', kernel, (1 - 2 * np.asarray(mean)) * scale)
  changed = {f'{first}.weight': kernel * scale[:, None, None]}
  if first == 'conv1':  # no bias; but the norm after it takes its mean off
    changed['bn1.running_mean'] = tensors['bn1.running_mean'] - constant
  else:
    changed[f'{first}.bias'] = tensors[f'{first}.bias'] + constant
  changed = {name: x.astype(np.float32) for name, x in changed.items()}
  return {**tensors, **changed}


def _blank(tree: Any) -> Any:
  """Arrays of the same shapes, which take no memory."""
  if isinstance(tree, Mapping):
    return {name: _blank(part) for name, part in tree.items()}
  return np.broadcast_to(np.float32(0), np.shape(tree))


def _checked(tensors: Tensors, expected: Tensors) -> list[str]:
  """Refuses tensors of another network; returns those of its last layer."""
  left = [name for name in tensors if name.startswith(HEADS)]
  for name in {**expected, **tensors}:
    if name in left:
      continue
    found, wanted = (
      f'a tensor {name} of shape {each[name].shape}'
      if name in each
      else f'no tensor {name}'
      for each in (tensors, expected)
    )
    if found != wanted:
      raise UserError(
        f'Found {found}; expected {wanted}, as the encoder of this run has it. '
        'Give the run the encoder whose weights these are, for example by '
        'encoder=resnet50 behind the name of a config on images.'
      )
    if not np.isfinite(tensors[name]).all():
      raise UserError(
        f'Found values in the tensor {name} that are not finite; expected '
        'trained weights. Take the file from where it came from again.'
      )
  return left


def _fixed(found: np.ndarray | None) -> bool:
  """Whether positions are the fixed ones of a grid, of any height and width."""
  if found is None or found.ndim != 3 or found.shape[2] % 4:
    return False
  _, count, width = found.shape
  return any(
    np.allclose(found[0], positions(rows, count // rows, width), atol=1e-3)
    for rows in range(1, count + 1)
    if count % rows == 0
  )
