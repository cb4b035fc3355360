"""BYOL on images, and what its features are worth.

Paper: BYOL, arXiv 2006.07733. Data sets, recipes, commands and costs are those
of `simclr_images.py`, and so is the evaluation. On ImageNet the paper's LARS is
0.2 · batch / 256 at batch 4096, weight decay 1.5e-6 and 300 epochs (72.5 % by
linear evaluation there; not run here).

  python -m ssljax.main --config=configs/byol_images.py
"""

from configs import simclr_images
from configs.simclr_images import LARS, mlp

BYOL = {
  'small': {
    'method': {'name': 'byol', 'momentum': 0.98},
    'projector': mlp(256, 64),
    'predictor': mlp(256, 64),
  },
  'cifar': {
    'method': {'name': 'byol', 'momentum': 0.99},
    'projector': mlp(1024, 256),
    'predictor': mlp(1024, 256),
  },
  'imagenet': {
    'method': {'name': 'byol', 'momentum': 0.99},
    'projector': mlp(4096, 256),
    'predictor': mlp(4096, 256),
    'policy': 'byol',
    'batch_size': 4096,
    'epochs': 300,
    'optimizer': LARS | {'learning_rate': 3.2, 'weight_decay': 1.5e-6},
  },
}


def get_config(arg=None):
  """`--config=configs/byol_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return simclr_images.recipe(arg, 'BYOL', BYOL)
