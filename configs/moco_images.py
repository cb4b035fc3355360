"""MoCo v2 on images, and what its features are worth; `version=1` is v1.

Papers: MoCo, arXiv 1911.05722; MoCo v2, arXiv 2003.04297.
For: contrasting with a long queue of older keys, at small batches. BatchNorm is
split into groups, whatever the devices, and keys are shuffled over the groups.
Expected on `glyphs` and `digits`: `docs/images.md`. On ImageNet the papers have
60.6 % (v1) and 67.5 % (v2) by linear evaluation after 200 epochs; not run here.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/moco_images.py
  python -m ssljax.main --config=configs/moco_images.py:version=1
"""

from configs import images
from configs.images import SGD, mlp

PAPER_SGD = SGD | {'learning_rate': 0.03, 'weight_decay': 1e-4}


def described(temperature, momentum, queue, groups, projector, **more) -> dict:
  options = {'temperature': temperature, 'momentum': momentum, 'queue': queue}
  method = {'name': 'moco', **options, 'groups': groups, **more}
  return {'method': method, 'projector': projector}


BOTH = {'symmetric': True}
MOCO = {
  'small': described(0.2, 0.99, 2048, 4, mlp(128, 64), **BOTH),
  # lightly's: two layers without BatchNorm.
  'cifar': described(
    0.1, 0.99, 4096, 8, mlp(512, 128, hidden_norm=False), **BOTH
  ),
  'imagenet': described(0.2, 0.999, 65536, 8, mlp(2048, 128, hidden_norm=False))
  | {'policy': 'moco_v2', 'batch_size': 256, 'epochs': 200}
  | {'optimizer': PAPER_SGD},
}


def of_version(options) -> dict:
  """v2; or v1: one linear layer as head, temperature 0.07, its own views."""
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
  return images.recipe(arg, 'MoCo v{version}', of_version, version=2)
