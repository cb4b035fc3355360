"""BYOL on images, and what its features are worth.

Paper: BYOL, arXiv 2006.07733.
For: learning without negatives, from a slowly moving copy of the network.
Expected on `glyphs` and `digits`: `docs/images.md`. On ImageNet the paper has
72.5 % by linear evaluation after 300 epochs, in batches of 4096, and 74.3 %
after 1,000 epochs by other figures; not run here.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/byol_images.py
"""

from configs import images
from configs.images import LARS, mlp


def described(momentum: float, *widths: int) -> dict:
  return {
    'method': {'name': 'byol', 'momentum': momentum},
    'projector': mlp(*widths),
    'predictor': mlp(*widths),
  }


BYOL = {
  'small': described(0.98, 256, 64),
  'cifar': described(0.99, 1024, 256),
  'imagenet': described(0.99, 4096, 256)
  | {
    'policy': 'byol',
    'batch_size': 4096,
    'epochs': 300,
    # 0.3 * batch / 256, after 10 epochs of warm-up. For 1,000 epochs the paper
    # has 0.2, a decay of 1.5e-6, and a momentum that starts at 0.996.
    'optimizer': LARS | {'learning_rate': 4.8, 'warmup_share': 10 / 300},
  },
}


def get_config(arg=None):
  """`--config=configs/byol_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return images.recipe(arg, 'BYOL', BYOL)
