"""The pretext tasks of the article's section 02, as the recipes take them.

`IMAGES` has each task's objective with what its stage changes of
`simclr_images`, `TEXT` the same of `simclr_ocr`. Each task has a config of its
own for either, which names its paper.
"""

import functools

from configs import common, simclr_images, simclr_ocr

ADAM = {
  'name': 'adam',
  'b1': 0.5,
  'learning_rate': 1e-3,
  'decay': 'cosine',
  'warmup_share': 0.05,
  'weight_decay': 0.0,
}
CRITIC = {
  'name': 'adam',
  'b1': 0.5,
  'learning_rate': 2e-4,
  'decay': 'constant',
}


def adversarial(*critics: str, every: int = 1) -> dict:
  """Changes of an optimizer: critics have Adam of their own.

  Args:
    *critics: parts.
    every: steps of a critic for one of the others.
  """
  return ADAM | {'players': dict.fromkeys(critics, CRITIC), 'every': every}


IMAGES = {
  'rotation': {
    'method': {'name': 'rotation'},
    'views': {'policy': 'characters', 'count': 1},
    'batch_size': 32,
  },
  'relative_patch': {'method': {'name': 'relative_patch'}},
  'jigsaw': {'method': {'name': 'jigsaw'}},
  'colorization': {
    'method': {'name': 'colorization', 'decoder': {'scale': 4}},
  },
  'autoencoder': {
    'method': {
      'name': 'autoencoder',
      'corruption': 'noise',
      'decoder': {'skips': False},
    },
  },
  'inpainting': {
    'method': {'name': 'inpainting'},
    'changes': adversarial('critic'),
    'batch_size': 32,
  },
  'super_resolution': {
    'method': {'name': 'super_resolution'},
    'changes': adversarial('critic'),
    'batch_size': 32,
  },
  'pix2pix': {
    'method': {'name': 'pix2pix'},
    'changes': adversarial('critic'),
    'clean': 'own',
    'batch_size': 32,
  },
  'cyclegan': {
    'method': {'name': 'cyclegan'},
    'changes': adversarial('critic', 'reverse_critic'),
    'clean': 'other',
    'batch_size': 16,
  },
}
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
# What a line of text needs otherwise: half turns, one row of patches; its
# autoencoder looks for the print behind the noise.
TEXT = IMAGES | {
  'rotation': {
    'method': {'name': 'rotation', 'turns': 2},
    'views': simclr_ocr.LABELLED_VIEWS,
    'batch_size': 32,
  },
  'relative_patch': {
    'method': {'name': 'relative_patch', 'grid': (1, 3)},
  },
  'jigsaw': {'method': {'name': 'jigsaw', 'grid': (1, 4), 'orders': 24}},
  'autoencoder': {
    'method': {
      'name': 'autoencoder',
      'corruption': 'noise',
      'amount': 0.2,
      'decoder': {'skips': False},
    },
    'clean': 'own',
  },
}


def of_images(task: str) -> dict:
  """A task as `simclr_images.recipe` takes a method: alike for all data."""
  found = {'views': None} | IMAGES[task]
  sgd = simclr_images.SGD | {'learning_rate': 0.05}
  large = found | {
    'policy': 'moco_v1',
    'batch_size': 256,
    'optimizer': sgd,
  }
  return {'small': found, 'cifar': found, 'imagenet': large}


def of_text(scale: str, task: str) -> dict:
  """The stages of `simclr_ocr`, with a task in the place of the objective."""
  found, made = TEXT[task], simclr_ocr.stages(scale)
  pretrain = made['pretrain']
  pretrain.method = common.ConfigDict(found['method'])
  with pretrain.unlocked():
    pretrain.views = common.ConfigDict(found.get('views', {}))
    for key, value in found.get('changes', {}).items():
      pretrain.optimizer[key] = value
  pretrain.data.clean = found.get('clean', '')
  if 'batch_size' in found and scale == 'laptop':
    pretrain.batch_size = found['batch_size']
  return made


def images(arg, task: str):
  """The config of a task on images."""
  return simclr_images.recipe(arg, TITLES[task], of_images(task))


def text(arg, task: str):
  """The config of a task on lines of text."""
  return simclr_ocr.recipe(
    arg, TITLES[task], functools.partial(of_text, task=task)
  )
