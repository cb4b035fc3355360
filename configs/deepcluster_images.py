"""DeepCluster-v2 on images, and what its features are worth; `version=1` is v1.

Papers: DeepCluster, arXiv 1807.05520; v2, arXiv 2006.09882, appendix.
For: clusters of all images' features, found anew at each epoch.
Expected on `glyphs` and `digits`: `docs/images.md`. On ImageNet v2 has 75.2 %
by linear evaluation after 800 epochs; not run here. Nobody has published either
version on CIFAR, where they are trained as the other methods are.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/deepcluster_images.py
  python -m ssljax.main --config=configs/deepcluster_images.py:version=1
"""

from configs import images, swav_images
from configs.images import LARS, SGD, mlp


def described(name: str, clusters: int, **more) -> dict:
  return {'method': {'name': name, 'clusters': clusters}, **more}


V2 = {
  'small': described('deepcluster_v2', 128, projector=mlp(128, 64)),
  'cifar': described('deepcluster_v2', 512, projector=mlp(512, 128)),
  # SwAV's crops and optimizer.
  'imagenet': described('deepcluster_v2', 3000, projector=mlp(2048, 128))
  | {'policy': 'simclr', 'views': {'small': 6, 'small_size': 96}}
  | {'batch_size': 4096, 'optimizer': LARS | {'learning_rate': 4.8}},
}
ONE = {'count': 1}  # view
V1 = {
  'small': described('deepcluster', 128, views=ONE),
  'cifar': described('deepcluster', 512, views=ONE),
  'imagenet': described('deepcluster', 10_000, views=ONE)
  | {'policy': 'moco_v1', 'batch_size': 256}
  | {
    'optimizer': SGD
    | {'learning_rate': 0.05, 'decay': 'constant', 'weight_decay': 1e-5}
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
  return images.recipe(arg, 'DeepCluster v{version}', of_version, version=2)
