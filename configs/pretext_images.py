"""The pretext tasks on images, and what their features are worth.

`task=` names one; papers and tasks are:

- `rotation`, RotNet, arXiv 1803.07728: by which of four turns an image stands.
- `relative_patch`, arXiv 1505.05192: which neighbour of the middle patch.
- `jigsaw`, arXiv 1603.09246: in which of 64 orders nine patches were laid.
- `colorization`, arXiv 1603.08511: which colours a gray image had.
- `autoencoder`, Vincent et al. 2010: the image before noise was added.
- `inpainting`, context encoder, arXiv 1604.07379: what stood in a hole.
- `super_resolution`, SRGAN, arXiv 1609.04802: the image before it was small.
- `pix2pix`, arXiv 1611.07004: the print behind an image, learnt from pairs; of
  `glyphs`, whose print is known.
- `cyclegan`, arXiv 1703.10593: the same, learnt without pairs.

Data sets, commands, costs and evaluation are those of `simclr_images.py`;
expected: `docs/pretext.md`. None has a recipe for CIFAR that others compare by:
the optimizer there is that of the other recipes.

  python -m ssljax.main --config=configs/pretext_images.py:task=rotation
"""

from configs import simclr_images

ADAM = {
  'name': 'adam',
  'b1': 0.5,
  'learning_rate': 2e-3,
  'decay': 'cosine',
  'warmup_share': 0.05,
  'weight_decay': 0.0,
}
CRITIC = {
  'name': 'adam',
  'b1': 0.5,
  'learning_rate': 1e-3,
  'decay': 'cosine',
}


def adversarial(*critics: str, every: int = 1, slower: int = 1) -> dict:
  """Changes of an optimizer: critics have Adam of their own.

  Args:
    *critics: parts.
    every: steps of a critic for one of the others.
    slower: by which all learning rates are divided.
  """
  one, other = (
    each | {'learning_rate': each['learning_rate'] / slower}
    for each in (ADAM, CRITIC)
  )
  return one | {'players': dict.fromkeys(critics, other), 'every': every}


TITLES = {
  'rotation': 'rotation',
  'relative_patch': 'relative patch',
  'jigsaw': 'jigsaw',
  'colorization': 'colourisation',
  'autoencoder': 'autoencoder',
  'inpainting': 'inpainting',
  'super_resolution': 'super-resolution',
  'pix2pix': 'pix2pix',
  'cyclegan': 'CycleGAN',
}
# Each with what its stage changes of `simclr_images`. 'pace': images a step of
# the small recipes, and steps for one of another method's. A drawing is learnt
# from many small steps.
TASKS = {
  'rotation': {
    'method': {'name': 'rotation'},
    'views': {'count': 1},
    'pace': (32, 1),  # of four turns each
  },
  'relative_patch': {
    'method': {'name': 'relative_patch'},
    'pace': (64, 4),  # two patches cost a quarter of two views
  },
  'jigsaw': {'method': {'name': 'jigsaw'}},
  'colorization': {
    'method': {'name': 'colorization', 'decoder': {'scale': 4}},
  },
  'autoencoder': {
    'method': {'name': 'autoencoder', 'decoder': {'skips': False}},
    'pace': (16, 4),
  },
  'inpainting': {
    'method': {'name': 'inpainting'},
    'changes': adversarial('critic'),
    'pace': (16, 3),
  },
  'super_resolution': {
    # The paper's 1e-3 stands beside a content part of other units.
    'method': {'name': 'super_resolution', 'adversarial': 1e-4},
    'changes': adversarial('critic'),
    'pace': (16, 3),
  },
  'pix2pix': {
    'method': {'name': 'pix2pix'},
    'changes': adversarial('critic'),
    'clean': 'own',
    'pace': (16, 3),
  },
  'cyclegan': {
    # At the paper's cycle of 10 a few hundred steps end in pictures that are
    # turned back well and are no print. Its identity part, which the paper has
    # for paintings only, keeps the colours of an image: dark grounds stay dark.
    'method': {'name': 'cyclegan', 'cycle': 3.0, 'identity': 0.0},
    'changes': adversarial('critic', 'reverse_critic'),
    'clean': 'other',
    'pace': (8, 2),
  },
}


def of_task(options) -> dict:
  """A task as `simclr_images.recipe` takes a method: alike for all data."""
  found = {'views': None} | TASKS[options.task]
  rendered = options.dataset == 'glyphs' and not options.data
  if options.task == 'colorization' and rendered:
    # The ground of a glyph is of any colour: its figures are of the print.
    found['clean'] = 'own'
  sgd = simclr_images.SGD | {'learning_rate': 0.05}
  large = {'policy': 'moco_v1', 'batch_size': 256, 'optimizer': sgd}
  return {'small': found, 'cifar': found, 'imagenet': large | found}


def get_config(arg=None):
  """`--config=configs/pretext_images.py:SCALE,task=NAME,dataset=NAME,...`."""
  return simclr_images.recipe(arg, '{task}', of_task, task='rotation')
