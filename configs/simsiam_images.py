"""SimSiam on images, and what its features are worth.

Paper: SimSiam, arXiv 2011.10566.
For: learning from two views without negatives and without a slow copy.
Expected on `glyphs` and `digits`: `docs/images.md`. On ImageNet the paper has
68.1 % by linear evaluation after 100 epochs, with SGD at 0.05 * batch / 256 and
batches of 512; not run here.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/simsiam_images.py
"""

from configs import images
from configs.images import SGD, mlp

# The predictor's learning rate does not decay (section 4.2 of the paper).
CONSTANT = {'constant': ('predictor',)}


def described(projector: tuple, predictor: tuple, **more) -> dict:
  return {
    # The paper's loss has no penalty on the heads; the article's has, on text.
    'method': {'name': 'simsiam', 'l2': 0.0},
    'projector': mlp(*projector, output_norm='plain'),
    'predictor': mlp(*predictor),
    **more,
  }


SIMSIAM = {
  'small': described((256, 256), (64, 256), changes=CONSTANT),
  # Two layers in the projector on CIFAR, three on ImageNet. lightly's benchmark
  # keeps the rate at 0.06, whatever the batch.
  'cifar': described(
    (2048, 2048), (512, 2048), changes={'learning_rate': 0.06} | CONSTANT
  ),
  'imagenet': described(
    (2048, 2048, 2048),
    (512, 2048),
    policy='moco_v2',
    batch_size=512,
    optimizer=SGD | {'learning_rate': 0.1, 'weight_decay': 1e-4} | CONSTANT,
  ),
}


def get_config(arg=None):
  """`--config=configs/simsiam_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return images.recipe(arg, 'SimSiam', SIMSIAM)
