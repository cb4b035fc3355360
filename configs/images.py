"""The library of the configs on images: networks, optimizers, views, stages.

The data set chooses the form of the training:

- `small`: `glyphs` (single characters, rendered), `digits` (scikit-learn's) and
  the user's own images (`data=DIR`). A small network, AdamW, a few hundred
  steps: at most 5 minutes on 2 CPU cores.
- `cifar`: `cifar10` and `cifar100`, trained as in lightly's benchmark:
  ResNet-18 with the CIFAR stem, batch 512, 200 epochs, SGD 0.06 * batch / 128
  with cosine decay and weight decay 5e-4, no blur, kNN with k = 200 and
  temperature 0.1. About 2 hours on one GPU.
- `imagenet`: any other name of tensorflow-datasets, `imagenet2012` above all:
  ResNet-50 in bfloat16 and the optimizer of the method's paper.

A config describes its method for each form; see `pretraining`. A description
has the objective, its heads, and what it changes in the views and the optimizer
of the form.
"""

import functools

from ml_collections import ConfigDict

from configs import common
from configs.text import EQUAL

SMALL, CIFAR = ('glyphs', 'digits', 'folder'), ('cifar10', 'cifar100')
SIZES = {
  'glyphs': 48,
  'digits': 16,
  'folder': 64,
  'cifar10': 32,
  'cifar100': 32,
}
COUNTS = {
  'smoke': {'train': 720, 'validation': 72, 'test': 360},
  'laptop': {'train': 10_000, 'validation': 1_000, 'test': 2_000},
}
ADAMW = {
  'name': 'adamw',
  'learning_rate': 2e-3,
  'decay': 'cosine',
  'warmup_share': 0.05,
  'weight_decay': 0.05,
  'clip': 1.0,
}
SGD = {
  'name': 'sgd',
  'momentum': 0.9,
  'decay': 'cosine',
  'warmup_share': 0.0,
  'weight_decay': 5e-4,
  'decay_vectors': True,  # as in torch's recipes
}
LARS = {
  'name': 'lars',
  'momentum': 0.9,
  'decay': 'cosine',
  'warmup_share': 0.1,
  'weight_decay': 1e-6,
}
# The optimizer of the generator in adversarial tasks; `CRITIC` is its critic's.
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
# The encoders that torchvision and timm have too, for `encoder=`.
RESNET = {'name': 'resnet', 'width': 64, 'stem': 'imagenet'}
VIT = {'name': 'vit', 'layers': 12, 'patch': 16}
ENCODERS = {
  'resnet18': RESNET | {'blocks': (2, 2, 2, 2), 'bottleneck': False},
  'resnet34': RESNET | {'blocks': (3, 4, 6, 3), 'bottleneck': False},
  'resnet50': RESNET | {'blocks': (3, 4, 6, 3), 'bottleneck': True},
  'vit_ti': VIT | {'width': 192, 'heads': 3},
  'vit_s': VIT | {'width': 384, 'heads': 6},
  'vit_b': VIT | {'width': 768, 'heads': 12},
}
# The tests of the features: options of `ssljax.evals.evaluate`.
EVALUATION = {
  'per_class': (5,),
  'draws': 10,
  'fractions': (0.01, 0.05, 0.1, 1.0),
  'k': 200,
  'temperature': 0.1,
  'pictures': ('pca', 'tsne'),
}


def form(dataset: str) -> str:
  """The form of the training that a data set gets: small, cifar, imagenet."""
  if dataset in SMALL:
    return 'small'
  return 'cifar' if dataset in CIFAR else 'imagenet'


def size_of(options) -> int:
  """The side of the images in pixels: `size=`, or that of the data set."""
  name = 'folder' if options.data else options.dataset
  return options.size or SIZES.get(name, 224)


def mlp(*widths, **options) -> dict:
  """Describes a projector or predictor by the widths of its layers."""
  return {'name': 'mlp', 'widths': widths, **options}


def adversarial(*critics: str, every: int = 1, slower: int = 1) -> dict:
  """Changes to an optimizer that give each critic an Adam of its own.

  Args:
    *critics: the names of the critics' parts.
    every: the steps that a critic takes for each step of the other parts.
    slower: all learning rates are divided by this number.
  """
  one, other = (
    each | {'learning_rate': each['learning_rate'] / slower}
    for each in (ADAM, CRITIC)
  )
  return one | {'players': dict.fromkeys(critics, other), 'every': every}


def task(name: str, title: str = '', **options) -> dict:
  """Describes a pretext task in the form that `pretraining` takes.

  Args:
    name: the name of the method.
    title: the title of its row in a table; by default its name.
    **options: `views`, `pace` (see `common.paced`), `changes` to the optimizer,
      and `clean` (see `common.stage`). All others are options of the method.
  """
  found = {'title': title or name.replace('_', ' '), 'views': None}
  for key in ('views', 'pace', 'changes', 'clean'):
    if key in options:
      found[key] = options.pop(key)
  return found | {'method': {'name': name, **options}}


def by_name(*tasks: dict) -> dict:
  """A dict of the tasks by the names of their methods."""
  return {each['method']['name']: each for each in tasks}


def on_all(described: dict) -> dict:
  """Uses one description for all forms.

  `imagenet` adds SGD at a learning rate of 0.05 and batches of 256.
  """
  sgd = SGD | {'learning_rate': 0.05}
  large = {'policy': 'moco_v1', 'batch_size': 256, 'optimizer': sgd}
  return {'small': described, 'cifar': described, 'imagenet': large | described}


def network(dataset: str, scale: str, encoder: str = '') -> dict:
  """Describes the encoder: one of `ENCODERS`, or by default the data set's."""
  if encoder:
    if encoder not in ENCODERS:
      raise ValueError(
        f'Found encoder={encoder}; expected one of {", ".join(ENCODERS)}.'
      )
    return {**ENCODERS[encoder], 'dtype': 'float32'}
  kind = {'name': 'resnet', 'dtype': 'float32', 'bottleneck': False}
  if form(dataset) == 'imagenet':
    return kind | {
      'blocks': (3, 4, 6, 3),
      'bottleneck': True,
      'width': 64,
      'stem': 'imagenet',
      'dtype': 'bfloat16',
    }
  if form(dataset) == 'cifar':
    return kind | {'blocks': (2, 2, 2, 2), 'width': 64, 'stem': 'cifar'}
  small = {'name': 'convnet', 'dtype': 'float32'}
  if scale == 'smoke':
    return small | {'channels': (8, 16), 'grid': 3, 'width': 32}
  # The grid has the size of the last map: 6x6 cells for images of 48 pixels,
  # and 4x4 cells for digits of 16 pixels.
  if dataset == 'digits':
    return small | {'channels': (32, 64), 'grid': 4, 'width': 128}
  return small | {'channels': (32, 64, 128), 'grid': 6, 'width': 256}


def pretraining(dataset: str, scale: str, method) -> ConfigDict:
  """The stage `pretrain` of a method.

  Args:
    dataset: the name of the data set.
    scale: 'smoke' or 'laptop'.
    method: its description by form. A description has `method` (the objective's
      name and options), and may have `projector`, `predictor`, `views` (None
      for a task that takes images as they are), `changes` to the optimizer,
      `clean` and `pace`. For `imagenet` it also has `policy`, `batch_size`,
      `optimizer` and, unless they are 100, `epochs`.
  """
  kind = form(dataset)
  chosen = method[kind]
  objective = dict(chosen['method'], instances={'name': 'identity'})
  for part in ('projector', 'predictor'):
    if part in chosen:
      objective[part] = chosen[part]
  if kind == 'small':
    size = {'batch_size': 64, 'steps': 20 if scale == 'smoke' else 500}
    policy, optimizer = 'characters', ADAMW
  elif kind == 'cifar':
    size = {'batch_size': 512, 'epochs': 200}
    policy, optimizer = 'cifar', SGD | {'learning_rate': 0.06 * 512 / 128}
  else:
    size = {
      'batch_size': chosen['batch_size'],
      'epochs': chosen.get('epochs', 100),
    }
    policy, optimizer = chosen['policy'], chosen['optimizer']
  if dataset == 'digits' and scale != 'smoke':
    size = {'batch_size': 128, 'steps': 400}
  views = chosen.get('views', {})
  views = {} if views is None else {'policy': policy} | views
  if kind == 'small' and 'pace' in chosen:
    size = common.paced(size, chosen['pace'], scale)
  return common.stage(
    objective,
    optimizer=optimizer | chosen.get('changes', {}),
    views=views,
    clean=chosen.get('clean', ''),
    probe=True,
    **size,
  )


def few(dataset: str, labels: int = 0) -> dict:
  """What the stages that learn from few labels share.

  Args:
    dataset: the name of the data set.
    labels: the labels of each class; 0 takes 5 in the form `small`, and 1 % of
      all labels in the other forms.
  """
  small = form(dataset) == 'small'
  policy = {'small': 'characters', 'cifar': 'cifar', 'imagenet': 'simclr'}
  amount = {'per_class': labels or 5} if small or labels else {'share': 0.01}
  return amount | {
    'optimizer': ADAMW,
    'batch_size': 32 if small else 256,
    'views': {'policy': policy[form(dataset)], 'count': 1},
  }


def labelled(
  dataset: str, scale: str, *, labels: int = 0, **options
) -> ConfigDict:
  """A stage of supervised training with few labels.

  Args:
    dataset: the name of the data set.
    scale: 'smoke' or 'laptop'.
    labels: the labels of each class; see `few`.
    **options: of `common.stage`.
  """
  steps = 10 if scale == 'smoke' else 200
  steps = {'steps': steps if form(dataset) == 'small' else 2000}
  return common.stage(
    {'name': 'supervised'}, **(few(dataset, labels) | steps | options)
  )


def self_training(
  dataset: str,
  scale: str,
  origin: str = 'finetune',
  *,
  labels: int = 0,
  **options,
) -> ConfigDict:
  """A stage that learns from the classes that it reads in unlabelled images.

  A quarter of each batch has labels. The unlabelled images are all those of
  `train`.

  Args:
    dataset: the name of the data set.
    scale: 'smoke' or 'laptop'.
    origin: the stage whose classifier it starts from.
    labels: the labels of each class; see `few`.
    **options: of `common.stage`.
  """
  size = {
    'small': {'steps': 10 if scale == 'smoke' else 600},
    'cifar': {'epochs': 20},
    'imagenet': {'epochs': 2},
  }
  defaults = few(dataset, labels) | size[form(dataset)]
  defaults |= {
    'labelled': defaults['batch_size'] // 4,
    'unlabelled': 'train',
    'take': {'encoder': origin, 'head': origin},
  }
  method = {'name': 'self_training', 'momentum': 0.99}
  return common.stage(method, **(defaults | options))


def label_set(dataset: str, scale: str, labels: int, seed: int):
  """Every way to learn classes from one draw of the labels.

  The rows are those of `tables.ROWS` of these names. All but the first spend
  the FLOPs of the whole recipe: pretraining, finetuning and self-training.

  Args:
    dataset: the name of the data set.
    scale: 'smoke' or 'laptop'.
    labels: the labels of each class.
    seed: of the draw and of the training; pretraining is the stage
      `pretrain_SEED`.

  Returns:
    The stages by name, and the last stage of each row.
  """
  rows = ('finetune', 'whole', 'once', 'alone')
  last = {row: f'{row}_{labels}_{seed}' for row in rows}
  begin, finetune, whole, *_ = f'pretrain_{seed}', *last.values()
  equal = {'steps': None, 'match_compute': (begin, finetune, whole)}
  train = functools.partial(
    self_training, dataset, scale, labels=labels, seed=seed
  )
  classify = functools.partial(
    labelled, dataset, scale, labels=labels, seed=seed
  )
  made = {
    finetune: classify(take={'encoder': begin}),
    whole: train(finetune),
    last['once']: classify(**equal),
    last['alone']: train(take={}, **equal),
  }
  return made, last


def untrained(**encoder) -> ConfigDict:
  """A stage without steps, which evaluates an encoder that is not trained."""
  method = {'name': 'supervised'} | ({'encoder': encoder} if encoder else {})
  return common.stage(method, optimizer=ADAMW, batch_size=32, steps=0)


def data(options, scale: str) -> ConfigDict:
  """The data set that the config's argument asks for."""
  name = 'folder' if options.data else options.dataset
  counts = COUNTS[scale] if name == 'glyphs' else {}
  return ConfigDict(
    {
      'name': name,
      'directory': options.data,
      'size': size_of(options),
      # Images of ImageNet are stored larger than the crops of 224 pixels.
      'stored': options.size or SIZES.get(name, 256),
      'seed': 0,
      'counts': counts,
      # Both are filled in when the data is opened.
      'classes': (),
      'contents': '',
      'memory': 2**30,
    }
  )


def base(options) -> ConfigDict:
  """The config of a run without its stages."""
  scale = options.scale
  dataset = 'folder' if options.data else options.dataset
  return ConfigDict(
    {
      'scale': scale,
      'seed': options.seed,
      'mapping': 'shard_map',
      'optimize': scale != 'smoke',
      'log_every': 20,
      'checkpoint_every': 200,
      **common.KEEP,
      'steps_per_call': 0,
      'resident': False,
      'data': data(options, scale),
      'encoder': network(dataset, scale, options.encoder),
      # Each method describes its own heads.
      'projector': {},
      'predictor': {},
      'evaluation': EVALUATION | ({'draws': 3} if scale == 'smoke' else {}),
      'product': 'pretrain',
    }
  )


ARGUMENTS = {
  'dataset': 'glyphs',
  'data': '',
  'size': 0,
  'seed': 0,
  'take': '',
  'encoder': '',
}


def recipe(arg, title: str, method, **further) -> ConfigDict:
  """The config of one method: pretrain, test, finetune and self-train.

  Pretraining is tested beside raw pixels and a random encoder, and the whole
  recipe beside supervised training that spends as many FLOPs. The option
  `labels` is the number of labels of each class; see `few`.

  Args:
    arg: the argument of the config.
    title: the title of the method's rows; {name} stands for an option of `arg`.
    method: the description of the method by form, or a function that makes it
      from the options.
    **further: the options of `arg` beside `ARGUMENTS` and `labels`, with their
      defaults.
  """
  known = ARGUMENTS | {'labels': 0} | further
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  title = title.format(**options)
  if callable(method):
    method = method(options)
  config = base(options)
  dataset = config.data.name
  config.pretrain = pretraining(dataset, options.scale, method)
  config.random, config.pixels = untrained(), untrained(name='pixels')
  origin = options.take or 'pretrain'
  chosen = {'scale': options.scale, 'labels': options.labels}
  config.finetune = labelled(dataset, take={'encoder': origin}, **chosen)
  config.self_train = self_training(dataset, **chosen)
  spent = ('pretrain', 'finetune', 'self_train')
  config.supervised = labelled(
    dataset, steps=None, match_compute=spent, **chosen
  )
  config.recipe = (
    *('pretrain', 'pixels', 'random'),
    *('finetune', 'self_train', 'supervised'),
  )
  config.rows = (
    (title, ('pretrain',)),
    ('raw pixels', ('pixels',)),
    ('random encoder', ('random',)),
    (f'{title} + finetune', ('finetune',)),
    (f'{title} + self-training', ('self_train',)),
    (EQUAL, ('supervised',)),
  )
  if options.take:
    config.pretrain = untrained()
    config.pretrain.take.encoder = options.take
  config.baselines = ('raw pixels', 'random encoder')
  return config


def table(options, methods: dict) -> ConfigDict:
  """A table of methods, beside raw pixels and an untrained encoder.

  Each method pretrains once per seed, without the probe that watches it.

  Args:
    options: the options of the config; `seeds` is the number of seeds.
    methods: the description by form of each method, by title.
  """
  config, seeds = base(options), range(options.seeds)
  config.evaluation.pictures = ()  # each method's own config draws them
  made = {'raw pixels': {'pixels': untrained(name='pixels')}}
  made['random encoder'] = {f'random_{seed}': untrained() for seed in seeds}
  for title, method in methods.items():
    name = title.lower().replace(' ', '_').replace('-', '_')
    name = name.removesuffix(',_all_labels')
    made[title] = {
      f'{name}_{seed}': pretraining(config.data.name, options.scale, method)
      for seed in seeds
    }
  for stages in made.values():
    for seed, (name, stage) in enumerate(stages.items()):
      stage.seed, stage.probe = seed, False
      config[name] = stage
  config.recipe = tuple(name for stages in made.values() for name in stages)
  config.rows = tuple((title, tuple(stages)) for title, stages in made.items())
  config.baselines = ('raw pixels', 'random encoder')
  config.product = 'simclr_0'
  return config
