"""The network of torch that takes an encoder's weights, as lines of Python."""

import contextlib
import importlib
import pathlib

import flax.linen as nn
import numpy as np

from ssljax.errors import UserError
from ssljax.models.resnet import RESNETS, ResNet
from ssljax.models.vit import ViT

CIFAR = (
  'net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)',
  'net.maxpool = torch.nn.Identity()',
)
VIT = """net = timm.models.VisionTransformer(
  img_size={size},
  patch_size={net.patch},
  embed_dim={net.width},
  depth={net.layers},
  num_heads={net.heads},
  num_classes=0,
  class_token=False,
  global_pool='avg',
  fc_norm=False,
  act_layer='gelu_tanh',
)"""
USE = """net.load_state_dict(load_file('model.safetensors'))
# pixels: uint8 (batch, 3, height, width), RGB
features = net.eval()((pixels / 255 - 0.5) / 0.5)"""


def code(encoder: nn.Module, size: tuple[int, int]) -> str:
  """Python that makes the network, loads `model.safetensors`, and encodes.

  Args:
    encoder: the encoder here.
    size: (height, width) of the images.

  Raises:
    UserError: neither torchvision nor timm has this network.
  """
  if isinstance(encoder, ViT):
    library, made = 'timm', [VIT.format(net=encoder, size=size)]
  elif isinstance(encoder, ResNet) and (depth := _depth(encoder)):
    library = 'torchvision'
    made = [
      f'net = torchvision.models.resnet{depth}()',
      'net.fc = torch.nn.Identity()',
      *(CIFAR if encoder.stem == 'cifar' else ()),
    ]
  else:
    raise UserError(
      f'Found the encoder {type(encoder).__name__}; expected a ViT or a '
      f'ResNet-{", -".join(map(str, RESNETS))}, because torchvision and timm '
      'have no other encoder of this library. Export without --names.'
    )
  imports = [f'import {name}' for name in sorted(('torch', library))]
  loads = 'from safetensors.torch import load_file\n'
  return '\n'.join([*imports, loads, *made, USE])


def _depth(encoder: ResNet) -> int | None:
  """Of the ResNet of torchvision that has these layers."""
  for depth, options in RESNETS.items():
    blocks, bottleneck = options['blocks'], options.get('bottleneck', False)
    same = tuple(encoder.blocks) == blocks and encoder.bottleneck == bottleneck
    if same and encoder.width == 64:
      return depth
  return None


def features(
  lines: str, folder: pathlib.Path, pixels: np.ndarray
) -> np.ndarray | None:
  """What torch computes by the lines of `code`; None where it cannot run.

  Args:
    lines: of `code`.
    folder: that has `model.safetensors`.
    pixels: uint8 (batch, height, width, 3).
  """
  library = 'timm' if 'import timm' in lines else 'torchvision'
  try:
    torch = importlib.import_module('torch')
    importlib.import_module(library)
  except Exception:  # versions that do not fit raise more than ImportError
    return None
  found = {'pixels': torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())}
  with contextlib.chdir(folder), torch.no_grad():
    exec(lines, found)  # what the card shows, so that the card is right
  return found['features'].numpy()
