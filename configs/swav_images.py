"""SwAV on images, and what its features are worth.

Paper: SwAV, arXiv 2006.09882. Data sets, recipes, commands and costs are those
of `simclr_images.py`, and so is the evaluation. On CIFAR it is lightly's
benchmark recipe: Adam 1e-3 * batch / 128, weight decay 1e-6, two crops, 512
prototypes. On ImageNet the paper has 3,000 prototypes, frozen for the first 313
steps, 2 crops of 224 and 6 of 96 pixels, LARS 4.8 at batch 4096 (72.1 % after
100 epochs by linear evaluation there; not run here).

  python -m ssljax.main --config=configs/swav_images.py
  python -m ssljax.main --config=configs/swav_images.py:dataset=cifar10
"""

from configs import simclr_images
from configs.simclr_images import LARS, mlp

SWAV = {
  'small': {
    # Sharper codes than the paper's 0.05, or the loss stays at ln K here.
    'method': {'name': 'swav', 'prototypes': 128, 'epsilon': 0.01},
    'projector': mlp(128, 64),
    # The small crops of a character are half of it.
    'views': {'small': 2, 'small_size': 24, 'small_area': (0.3, 0.5)},
    'changes': {'hold': {'prototypes': 40}},
  },
  'cifar': {
    'method': {'name': 'swav', 'prototypes': 512},
    'projector': mlp(512, 128),
    'changes': {
      'name': 'adam',
      'learning_rate': 1e-3 * 512 / 128,
      'weight_decay': 1e-6,
      'momentum': 0.0,
    },
  },
  'imagenet': {
    'method': {'name': 'swav', 'prototypes': 3000},
    'projector': mlp(2048, 128),
    'policy': 'simclr',
    'views': {'small': 6, 'small_size': 96},
    'batch_size': 4096,
    'optimizer': LARS | {'learning_rate': 4.8},
    'changes': {'hold': {'prototypes': 313}},
  },
}


def of_dataset(options) -> dict:
  """Small crops of half the side, whatever the images' size."""
  size = options.size or simclr_images.SIZES.get(
    'folder' if options.data else options.dataset, 224
  )
  small = dict(SWAV['small'])
  small['views'] = small['views'] | {'small_size': size // 2}
  return SWAV | {'small': small}


def get_config(arg=None):
  """`--config=configs/swav_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return simclr_images.recipe(arg, 'SwAV', of_dataset)
