"""What torchvision's and timm's own networks compute, for tests without them.

  pip install torch torchvision timm
  python tests/torch_outputs.py tests/fixtures/torch_outputs.json

The file has the names and shapes of all tensors of some networks, and their
features of one image with weights that NumPy draws.
"""

import json
import pathlib
import sys

import numpy as np

from ssljax.models.vit import positions

PATH = pathlib.Path(__file__).parent / 'fixtures' / 'torch_outputs.json'
SIZE = 64
# ssljax.models.vit.ViT as timm makes it.
TIMM = {
  'class_token': False,
  'global_pool': 'avg',
  'fc_norm': False,
  'act_layer': 'gelu_tanh',
}


def image():
  """uint8 (1, SIZE, SIZE, 3)."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


def drawn(shapes):
  """Weights by name that leave no layer out, and keep activations near 1."""
  rng = np.random.default_rng(1)
  found = {}
  for name, shape in shapes.items():
    if name == 'pos_embed':
      side = SIZE // 16
      found[name] = positions(side, side, shape[-1])[None]
    elif name.endswith('num_batches_tracked'):
      found[name] = np.zeros((), np.int64)
    elif len(shape) > 1:
      spread = np.sqrt(1 / np.prod(shape[1:]))
      found[name] = rng.normal(0, spread, shape).astype(np.float32)
    elif name.endswith(('running_var', 'weight')):
      found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    else:
      found[name] = rng.normal(0, 0.3, shape).astype(np.float32)
  return found


def networks():
  """torch's networks by the names of `configs.images.ENCODERS`."""
  import timm
  import torchvision

  found = {
    name: getattr(torchvision.models, name)()
    for name in ('resnet18', 'resnet34', 'resnet50')
  }
  name = 'vit_tiny_patch16_224'
  found['vit_ti'] = timm.create_model(name, img_size=SIZE, **TIMM)
  return found


def features(network, tensors, images, *, mean=0.5, std=0.5):
  """The features before the last layer, of uint8 images."""
  import torch

  state = {name: torch.tensor(each) for name, each in tensors.items()}
  network.load_state_dict(state, strict=True)
  last = 'fc' if hasattr(network, 'fc') else 'head'
  setattr(network, last, torch.nn.Identity())
  pixels = (images.astype(np.float32) / 255 - mean) / std
  pixels = torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32)
  with torch.no_grad():
    return network.eval()(pixels).numpy()


def main(path):
  described = {}
  for name, network in networks().items():
    state = network.state_dict()
    shapes = {key: tuple(each.shape) for key, each in state.items()}
    outputs = features(network, drawn(shapes), image())
    rounded = [float(f'{each:.7g}') for each in outputs[0]]
    described[name] = {'tensors': shapes, 'features': rounded}
  pathlib.Path(path).write_text(json.dumps(described) + '\n')


if __name__ == '__main__':
  main(*sys.argv[1:])
