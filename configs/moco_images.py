"""MoCo v2 on images, and what its features are worth; `version=1` is v1.

Papers: MoCo, arXiv 1911.05722; MoCo v2, arXiv 2003.04297. Data sets, recipes,
commands and costs are those of `simclr_images.py`, and so is the evaluation. On
ImageNet the papers' SGD is 0.03 at batch 256 for 200 epochs, with a queue of
65,536 and momentum 0.999 (v1 60.6 %, v2 67.5 % by linear evaluation; not run
here). BatchNorm is split into 8 groups, whatever the devices, and keys are
shuffled over them.

  python -m ssljax.main --config=configs/moco_images.py
  python -m ssljax.main --config=configs/moco_images.py:version=1
"""

from configs import simclr_images
from configs.simclr_images import SGD, mlp

PAPER_SGD = SGD | {'learning_rate': 0.03, 'weight_decay': 1e-4}

MOCO = {
  'small': {
    'method': {
      'name': 'moco',
      'temperature': 0.2,
      'momentum': 0.99,
      'queue': 2048,
      'groups': 4,
      'symmetric': True,
    },
    'projector': mlp(128, 64),
  },
  # lightly's: two layers without BatchNorm, a queue of 4,096.
  'cifar': {
    'method': {
      'name': 'moco',
      'temperature': 0.1,
      'momentum': 0.99,
      'queue': 4096,
      'groups': 8,
      'symmetric': True,
    },
    'projector': mlp(512, 128, hidden_norm=False),
  },
  'imagenet': {
    'method': {
      'name': 'moco',
      'temperature': 0.2,
      'momentum': 0.999,
      'queue': 65536,
      'groups': 8,
    },
    'projector': mlp(2048, 128, hidden_norm=False),
    'policy': 'moco_v2',
    'batch_size': 256,
    'epochs': 200,
    'optimizer': PAPER_SGD,
  },
}


def of_version(options) -> dict:
  """v2; or v1: one linear layer for a head, τ = 0.07, and its own views."""
  if options.version == 2:
    return MOCO
  changed = {}
  for form, chosen in MOCO.items():
    changed[form] = chosen | {
      'method': chosen['method'] | {'temperature': 0.07},
      'projector': mlp(chosen['projector']['widths'][-1]),
    }
  changed['imagenet']['policy'] = 'moco_v1'
  return changed


def get_config(arg=None):
  """`--config=configs/moco_images.py:SCALE,dataset=NAME,version=1,...`."""
  return simclr_images.recipe(arg, 'MoCo v{version}', of_version, version=2)
