"""DeepCluster-v2 on images, and what its features are worth; `version=1` is v1.

Papers: DeepCluster, arXiv 1807.05520; v2, arXiv 2006.09882, appendix. Data
sets, recipes, commands and costs are those of `simclr_images.py`, and so is the
evaluation. No benchmark has published either on CIFAR: the optimizer there is
that of the other recipes. On ImageNet v2 has 3 clusterings of 3,000, 2 crops of
224 and 6 of 96 pixels and SwAV's optimizer (75.2 % after 800 epochs by linear
evaluation there), v1 10,000 clusters (not run here).

  python -m ssljax.main --config=configs/deepcluster_images.py
  python -m ssljax.main --config=configs/deepcluster_images.py:version=1
"""

from configs import simclr_images, swav_images
from configs.simclr_images import LARS, mlp

V2 = {
  'small': {
    'method': {'name': 'deepcluster_v2', 'clusters': 128},
    'projector': mlp(128, 64),
  },
  'cifar': {
    'method': {'name': 'deepcluster_v2', 'clusters': 512},
    'projector': mlp(512, 128),
  },
  'imagenet': {
    'method': {'name': 'deepcluster_v2', 'clusters': 3000},
    'projector': mlp(2048, 128),
    'policy': 'simclr',
    'views': {'small': 6, 'small_size': 96},
    'batch_size': 4096,
    'optimizer': LARS | {'learning_rate': 4.8},
  },
}
V1 = {
  'small': {
    'method': {'name': 'deepcluster', 'clusters': 128},
    'views': {'count': 1},
  },
  'cifar': {
    'method': {'name': 'deepcluster', 'clusters': 512},
    'views': {'count': 1},
  },
  'imagenet': {
    'method': {'name': 'deepcluster', 'clusters': 10_000},
    'policy': 'moco_v1',
    'views': {'count': 1},
    'batch_size': 256,
    'optimizer': simclr_images.SGD
    | {'learning_rate': 0.05, 'decay': 'constant', 'weight_decay': 1e-5},
  },
}


def of_version(options) -> dict:
  """v1; or v2, with SwAV's small crops."""
  if options.get('version') == 1:
    return V1
  crops = swav_images.of_dataset(options)['small']['views']
  return V2 | {'small': V2['small'] | {'views': crops}}


def get_config(arg=None):
  """`--config=configs/deepcluster_images.py:SCALE,dataset=NAME,version=1`."""
  return simclr_images.recipe(
    arg, 'DeepCluster v{version}', of_version, version=2
  )
