"""SimSiam on images, and what its features are worth.

Paper: SimSiam, arXiv 2011.10566. Data sets, recipes, commands and costs are
those of `simclr_images.py`, and so is the evaluation. On CIFAR lightly's
benchmark keeps the learning rate at 0.06, whatever the batch; on ImageNet the
paper's SGD is 0.05 · batch / 256 for 100 epochs at batch 512 (68.1 % by linear
evaluation there; not run here). The predictor's rate does not decay.

  python -m ssljax.main --config=configs/simsiam_images.py
"""

from configs import simclr_images
from configs.simclr_images import SGD, mlp

# The paper's loss has no penalty on the heads; the article's text form has.
OBJECTIVE = {'name': 'simsiam', 'l2': 0.0}

SIMSIAM = {
  'small': {
    'method': OBJECTIVE,
    'projector': mlp(256, 256, output_norm='plain'),
    'predictor': mlp(64, 256),
    'changes': {'constant': ('predictor',)},
  },
  # Two layers in the projector on CIFAR, three on ImageNet.
  'cifar': {
    'method': OBJECTIVE,
    'projector': mlp(2048, 2048, output_norm='plain'),
    'predictor': mlp(512, 2048),
    'changes': {'learning_rate': 0.06, 'constant': ('predictor',)},
  },
  'imagenet': {
    'method': OBJECTIVE,
    'projector': mlp(2048, 2048, 2048, output_norm='plain'),
    'predictor': mlp(512, 2048),
    'policy': 'moco_v2',
    'batch_size': 512,
    'optimizer': SGD
    | {
      'learning_rate': 0.1,
      'weight_decay': 1e-4,
      'constant': ('predictor',),
    },
  },
}


def get_config(arg=None):
  """`--config=configs/simsiam_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return simclr_images.recipe(arg, 'SimSiam', SIMSIAM)
