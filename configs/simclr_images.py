"""SimCLR on images, and what its features are worth.

Paper: SimCLR, arXiv 2002.05709. `dataset=` chooses the data and, with it, the
recipe:

- `glyphs` (the default; single characters, rendered) and `digits`
  (scikit-learn's): a small network, at most 5 minutes on 2 CPU cores. Expected:
  `docs/images.md`.
- `cifar10`, `cifar100`: lightly's benchmark recipe: ResNet-18 with the CIFAR
  stem, batch 512, 200 epochs, SGD 0.06 · batch / 128 with cosine and weight
  decay 5e-4, no blur, kNN with k = 200 and τ = 0.1. lightly reports a kNN
  accuracy of about 0.87 there; not run here. About 2 hours of one GPU.
- any other name of tensorflow-datasets, `imagenet2012` above all: the paper's
  ImageNet form: ResNet-50, batch 4096, LARS 0.3 · batch / 256 after 10 epochs
  of warm-up, weight decay 1e-6, 100 epochs; 64.5 % by linear evaluation in the
  paper's appendix B. Not run here.
- `data=DIR`: images of your own, with or without folders for their classes, at
  `size=` pixels, by the recipe of `glyphs`.

  python -m ssljax.main --config=configs/simclr_images.py
  python -m ssljax.main --config=configs/simclr_images.py:dataset=cifar10
  python -m ssljax.main --config=configs/simclr_images.py:data=DIR,size=64
  python -m ssljax.main --config=configs/simclr_images.py:take=RUN

After pretraining the frozen features are tested by kNN and by linear probes,
beside raw pixels and an untrained encoder; then the network is finetuned on 5
labels a class, beside supervised training on the same. `take=RUN` adapts an
encoder that another run has pretrained, on other data (transfer).
"""

from ml_collections import ConfigDict

from configs import common

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
  'decay_vectors': True,  # as torch's
}
LARS = {
  'name': 'lars',
  'momentum': 0.9,
  'decay': 'cosine',
  'warmup_share': 0.1,
  'weight_decay': 1e-6,
}
# What the features are tested by; see `ssljax.evals.evaluate`.
EVALUATION = {
  'per_class': (5,),
  'draws': 10,
  'fractions': (0.01, 0.05, 0.1, 1.0),
  'k': 200,
  'temperature': 0.1,
  'pictures': ('pca', 'tsne'),
}


def form(dataset: str) -> str:
  """Which of the three recipes a data set is trained by."""
  if dataset in SMALL:
    return 'small'
  return 'cifar' if dataset in CIFAR else 'imagenet'


def mlp(*widths, **options) -> dict:
  return {'name': 'mlp', 'widths': widths, **options}


# By form: the objective with its heads and views, and what its recipe changes
# of the optimizer.
SIMCLR = {
  'small': {
    'method': {'name': 'simclr', 'contrast': 'nt_xent', 'temperature': 0.2},
    'projector': mlp(128, 64),
  },
  'cifar': {
    'method': {'name': 'simclr', 'contrast': 'nt_xent', 'temperature': 0.5},
    'projector': mlp(512, 128),
  },
  'imagenet': {
    'method': {'name': 'simclr', 'contrast': 'nt_xent', 'temperature': 0.1},
    'projector': mlp(2048, 128),
    'policy': 'simclr',
    'batch_size': 4096,
    'optimizer': LARS | {'learning_rate': 4.8},
  },
}


def network(dataset: str, scale: str) -> dict:
  """The encoder of a recipe."""
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
  # The last map has 6x6 cells of 48 pixels, and 4x4 of a digit's 16.
  if dataset == 'digits':
    return small | {'channels': (32, 64), 'grid': 4, 'width': 128}
  return small | {'channels': (32, 64, 128), 'grid': 6, 'width': 256}


def pretraining(dataset: str, scale: str, method) -> ConfigDict:
  """The stage `pretrain` of a method, of which `method[form]` describes it."""
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
  views = chosen.get('views', {})  # None for a task that takes images as is
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


def labelled(dataset: str, scale: str, **options) -> ConfigDict:
  """A stage of supervised training on 5 labels a class, or on 1 %."""
  small = form(dataset) == 'small'
  amount = {'per_class': 5} if small else {'share': 0.01}
  steps = 10 if scale == 'smoke' else 200
  policy = {'small': 'characters', 'cifar': 'cifar', 'imagenet': 'simclr'}
  return common.stage(
    {'name': 'supervised'},
    optimizer=ADAMW,
    batch_size=32 if small else 256,
    steps=steps if small else 2000,
    views={'policy': policy[form(dataset)], 'count': 1},
    **amount,
    **options,
  )


def untrained(**encoder) -> ConfigDict:
  """A stage of no step: what an encoder is worth that has seen nothing."""
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
      'size': options.size or SIZES.get(name, 224),
      # Larger than what is cropped from it.
      'stored': options.size or SIZES.get(name, 256),
      'seed': 0,
      'counts': counts,
      'classes': (),  # filled in when the data is opened, as is the next
      'contents': '',
      'memory': 2**30,
    }
  )


def base(options) -> ConfigDict:
  """All but the stages."""
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
      'steps_per_call': 0,
      'resident': False,
      'data': data(options, scale),
      'encoder': network(dataset, scale),
      # Heads are the methods' own.
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
}


def recipe(arg, title: str, method, **further) -> ConfigDict:
  """Pretrain, evaluate beside the baselines, finetune.

  Args:
    arg: of the config.
    title: of the method, in which {name} stands for an option of `arg`.
    method: its description by form, or a function of the options to one.
    **further: options of `arg` beside `ARGUMENTS`, with their defaults.
  """
  known = ARGUMENTS | further
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  title = title.format(**options)
  if callable(method):
    method = method(options)
  config = base(options)
  dataset = config.data.name
  config.pretrain = pretraining(dataset, options.scale, method)
  config.random, config.pixels = untrained(), untrained(name='pixels')
  origin = options.take or 'pretrain'
  config.finetune = labelled(dataset, options.scale, take={'encoder': origin})
  config.supervised = labelled(dataset, options.scale)
  config.recipe = ('pretrain', 'pixels', 'random', 'finetune', 'supervised')
  config.rows = (
    (title, ('pretrain',)),
    ('raw pixels', ('pixels',)),
    ('random encoder', ('random',)),
    (f'{title} + finetune', ('finetune',)),
    ('supervised', ('supervised',)),
  )
  if options.take:
    config.pretrain = untrained()
    config.pretrain.take.encoder = options.take
  config.baselines = ('raw pixels', 'random encoder')
  return config


def get_config(arg=None) -> ConfigDict:
  """`--config=configs/simclr_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return recipe(arg, 'SimCLR', SIMCLR)
