"""The pretext tasks on images, and what their features are worth.

For: features from a task that needs no labels, named by `task=`:

- `rotation`, RotNet, arXiv 1803.07728: which of four turns an image stands in.
- `relative_patch`, arXiv 1505.05192: which neighbour of the middle patch it is.
- `jigsaw`, arXiv 1603.09246: in which of 64 orders nine patches were laid.
- `colorization`, arXiv 1603.08511: which colours a gray image had.
- `autoencoder`, Vincent et al. 2010: the image before noise was added.
- `inpainting`, context encoder, arXiv 1604.07379: what stood in a hole.
- `super_resolution`, SRGAN, arXiv 1609.04802: the image before it was small.
- `pix2pix`, arXiv 1611.07004: the print behind a glyph, learnt from pairs.
- `cyclegan`, arXiv 1703.10593: the same, learnt without pairs.

Expected on `glyphs`: `docs/pretext.md`. Nobody has published these on CIFAR.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/pretext_images.py:task=rotation
"""

from configs import images
from configs.images import adversarial, task

ONE = {'count': 1}  # view
CRITIC = {'changes': adversarial('critic'), 'pace': (16, 3)}
TWO = {'changes': adversarial('critic', 'reverse_critic'), 'pace': (8, 2)}
TASKS = images.by_name(
  task('rotation', views=ONE, pace=(32, 1)),  # of four turns each
  task('relative_patch', pace=(64, 4)),  # two cost a quarter of two views
  task('jigsaw'),
  task('colorization', 'colourisation', decoder={'scale': 4}),
  # A drawing is learnt from many small steps.
  task('autoencoder', decoder={'skips': False}, pace=(16, 4)),
  task('inpainting', **CRITIC),
  # The paper's 1e-3 stands beside a content part of other units.
  task('super_resolution', 'super-resolution', adversarial=1e-4, **CRITIC),
  task('pix2pix', clean='own', **CRITIC),
  # At the paper's cycle of 10 a few hundred steps end in pictures that are
  # turned back well and are no print. The identity part, which the paper has
  # for paintings only, would keep dark grounds dark.
  task('cyclegan', 'CycleGAN', clean='other', cycle=3.0, identity=0.0, **TWO),
)


def described(task: str, options) -> dict:
  """A task on all data; colourisation of glyphs is judged on their print."""
  found, glyphs = TASKS[task], options.dataset == 'glyphs' and not options.data
  if task == 'colorization' and glyphs:
    found = found | {'clean': 'own'}  # the ground is of any colour
  return images.on_all(found)


def of_task(options) -> dict:
  return described(options.task, options)


def get_config(arg=None):
  """`--config=configs/pretext_images.py:SCALE,task=NAME,dataset=NAME,...`."""
  return images.recipe(arg, '{task}', of_task, task='rotation')
