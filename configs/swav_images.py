"""SwAV on images, and what its features are worth.

Paper: SwAV, arXiv 2006.09882.
For: clusters that are learned online, with small crops beside the large ones.
Expected on `glyphs` and `digits`: `docs/images.md`. On ImageNet the paper has
72.1 % by linear evaluation after 100 epochs at batches of 4096; not run here.
CIFAR is lightly's benchmark: two crops, 512 prototypes, Adam at
1e-3 * batch / 128.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/swav_images.py
  python -m ssljax.main --config=configs/swav_images.py:dataset=cifar10
"""

from configs import images
from configs.images import LARS, mlp

ADAM = {'name': 'adam', 'learning_rate': 1e-3 * 512 / 128}
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
    'changes': ADAM | {'weight_decay': 1e-6, 'momentum': 0.0},
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
  """Small crops of half the side, whatever the size of the images."""
  half = {'small_size': images.size_of(options) // 2}
  small = SWAV['small'] | {'views': SWAV['small']['views'] | half}
  return SWAV | {'small': small}


def get_config(arg=None):
  """`--config=configs/swav_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return images.recipe(arg, 'SwAV', of_dataset)
