"""The library of the configs on text: sizes, views, optimizers, stages.

Scales: `smoke` (under a minute), `laptop` (the default: minutes on 2 CPU
cores), `gpu` (one accelerator, of tables only) and `article`.

`article` keeps the article's figures to the letter: its projector without
BatchNorm; pools of 5 frames over aligned views; SGD with momentum 0.8 at 3e-4
and batches of 96 for 10 epochs; AdamW and batches of 8 afterwards, at 3e-4 for
the head (10 epochs), at 3e-5 for finetuning (40) and at 3e-4 for supervised
training (50). The article leaves some values open, and these are chosen here:
no warm-up and constant rates, AdamW with optax's default decay of 1e-4,
characters of digits and lower case, images of 160x60, and an encoder of the
shape in the article's figure. One thing deviates: the views of labelled images
are scaled down only and stay inside the image's borders, because a view that
cuts a character would have a wrong label.

`laptop` and `smoke` deviate from the article as follows. The projector has
BatchNorm, because the loss of a small encoder stays at ln N without it. AdamW
with warm-up and cosine decay serves every stage, because there are few steps.
An instance is 2 frames, which is about half a character. The views also shift,
invert, draw strokes and erase spans, because a network can otherwise match two
views by position, style or context instead of by what is written.
"""

from ml_collections import ConfigDict

from configs import common

# The article's list, with noise, blur and jitter raised. With half a pixel of
# jitter, no column of one view is further than half an instance from the same
# column of the other view.
ARTICLE_VIEWS = {
  'count': 2,
  'shift': 0.0,
  'scale': 0.05,
  'jitter': 0.5,
  'blur': 1.5,
  'blur_probability': 0.8,
  'noise': 0.1,
  'noise_probability': 0.8,
  'contrast': 0.5,
  'brightness': 0.2,
  'channels': 0.5,
  'grayscale': 0.3,
  'strokes': 0,
  'inversion': 0.0,
  'ramp': 0.0,
  'erase': 0.0,
}
# A view for pretraining may lose a character, at the border or under an erased
# span; the view of a labelled image must not, because its label would be wrong.
# It is therefore kept whole, at every scale.
# The spans hide different parts of the line from each view. Otherwise the
# characters around an instance would tell which instance it is.
PRETRAIN_VIEWS = ARTICLE_VIEWS | {
  'shift': 0.12,
  'scale': 0.15,
  'jitter': 1.0,
  'strokes': 2,
  'inversion': 0.5,
  'ramp': 0.4,
  'erase': 0.35,
}
LABELLED = {'count': 1, 'erase': 0.0, 'keep': True}
LABELLED_VIEWS = PRETRAIN_VIEWS | LABELLED | {'shift': 0.05, 'bend': 0.04}

ADAMW = {
  'name': 'adamw',
  'decay': 'cosine',
  'warmup_share': 0.05,
  'weight_decay': 0.05,
  'clip': 1.0,
  'momentum': 0.0,
}
RATE = 2e-3
# The title of a row.
EQUAL = 'supervised, equal compute'
ARTICLE_ADAMW = ADAMW | {
  'decay': 'constant',
  'warmup_share': 0.0,
  'weight_decay': 1e-4,
  'clip': None,
}
ARTICLE_SGD = ARTICLE_ADAMW | {
  'name': 'sgd',
  'momentum': 0.8,
  'weight_decay': 0.0,
}


def objective(scale: str, method) -> dict:
  """Adds the instances to a pretraining method.

  At `article` they are the article's; at other scales they are narrower.
  """
  instances = {'name': 'frames', 'pool': 2, 'matched': True}
  if scale == 'article':
    instances |= {'pool': 5, 'matched': False}
  return method | {'instances': instances}


# `steps`: of pretraining, of the head, of finetuning and of self-training.
# `batches`: images per step, without labels, with labels, and of both kinds.
# `labels`: the number of labelled images.
# `rendered`: steps on rendered text, where it is the start. The
# stages of `article` are counted in epochs instead; see `article_stages`.
SIZES = {
  'smoke': {
    'steps': (4, 4, 8, 8),
    'batches': (48, 16, 32),
    'labels': 256,
    'rendered': 8,
  },
  'laptop': {
    'steps': (400, 250, 1000, 2400),
    'batches': (48, 16, 16),
    'labels': 100,
    'rendered': 3000,
  },
  'gpu': {
    'steps': (4000, 500, 4000, 4000),
    'batches': (256, 64, 256),
    'labels': 5000,
    'rendered': 6000,
  },
}
# The scales of a table of results; the config of a single method has no `gpu`.
SCALES = ('smoke', 'laptop', 'gpu', 'article')
ENCODERS = {
  'smoke': {'channels': (8, 16), 'width': 32, 'layers': 1, 'heads': 4},
  'laptop': {'channels': (32, 64), 'width': 128, 'layers': 2, 'heads': 4},
  'article': {
    'channels': (64, 128, 256),
    'width': 256,
    'layers': 6,
    'heads': 8,
  },
}


def network(scale: str) -> dict:
  """The encoder, projector, predictor and head of a scale."""
  large = scale in ('gpu', 'article')
  encoder = ENCODERS['article' if large else scale]
  strides = ((2, 2), (2, 2), (2, 1))[: len(encoder['channels'])]
  return {
    'encoder': encoder | {'strides': strides, 'dtype': 'float32'},
    'projector': {'width': 128, 'batch_norm': scale != 'article'},
    'predictor': {'hidden': 32},
    'head_width': 256 if large else 128,
  }


def base(scale: str, data: ConfigDict | None = None) -> ConfigDict:
  """The config of a run without its stages.

  Args:
    scale: sets the network, and how often the run saves.
    data: the data set; by default the rendered one of the scale.
  """
  return ConfigDict(
    {
      'scale': scale,
      'seed': 0,
      'mapping': 'shard_map',
      # A smoke run spends most of its time compiling, and nobody measures its
      # speed.
      'optimize': scale != 'smoke',
      'log_every': 20,
      'checkpoint_every': 1000 if scale in ('gpu', 'article') else 200,
      **common.KEEP,
      'steps_per_call': 0,  # 0 takes 1 on CPU, log_every on an accelerator
      'resident': scale == 'gpu',  # whether the device holds all images
      'data': data or common.data(scale),
      'product': 'self_train',  # the stage that `ssljax.load` opens
      'standardize': scale != 'article',  # features, before the head
      'labelled_layouts': {},
      'differences': (),
      'published': {},
      **network(scale),
    }
  )


def labelled(scale: str, **options) -> ConfigDict:
  """A stage that learns to read from labels; `options` of `common.stage`."""
  sizes = SIZES[scale]
  defaults = {
    'batch_size': sizes['batches'][1],
    'count': sizes['labels'],
    'views': LABELLED_VIEWS,
    'optimizer': ADAMW | {'learning_rate': RATE},
  }
  return common.stage({'name': 'recognize'}, **(defaults | options))


def self_training(scale: str, origin: str = 'finetune', **options):
  """The stage that learns from the reader's own readings.

  Args:
    scale: sets the steps and the images per step.
    origin: the stage whose reader it starts from.
    **options: of `common.stage`.
  """
  sizes = SIZES[scale]
  defaults = {
    'batch_size': sizes['batches'][2],
    'steps': sizes['steps'][3],
    'count': sizes['labels'],
    'unlabelled': 'unlabeled',
    'views': LABELLED_VIEWS,
    'take': {'encoder': origin, 'head': origin},
    'optimizer': ADAMW | {'learning_rate': RATE},
  }
  method = {'name': 'self_training', 'momentum': 0.99}
  return common.stage(method, **(defaults | options))


def stages(scale: str, method: dict, views: dict = PRETRAIN_VIEWS) -> dict:
  """The article's four stages for a method, and self-training after them.

  The stage `supervised` takes as many steps as `head` and `finetune` together.

  Args:
    scale: the scale of the config.
    method: the objective of pretraining.
    views: for pretraining, at other scales than `article`, which has its own.
  """
  if scale == 'article':
    return article_stages(method)
  pretrain, head, finetune, _ = SIZES[scale]['steps']
  take = {'encoder': 'head', 'head': 'head'}
  return {
    'pretrain': common.stage(
      objective(scale, method),
      split='unlabeled',
      steps=pretrain,
      batch_size=SIZES[scale]['batches'][0],
      optimizer=ADAMW | {'learning_rate': RATE},
      views=views,
    ),
    'head': labelled(
      scale, steps=head, take={'encoder': 'pretrain'}, freeze=('encoder',)
    ),
    'finetune': labelled(scale, steps=finetune, take=take),
    'self_train': self_training(scale),
    'supervised': labelled(scale, steps=head + finetune),
  }


def article_stages(method) -> dict:
  """The four stages with the article's figures, counted in epochs."""
  labelled = dict(batch_size=8, views=ARTICLE_VIEWS | LABELLED)
  return {
    'pretrain': common.stage(
      objective('article', method),
      split='unlabeled',
      epochs=10,
      batch_size=96,
      optimizer=ARTICLE_SGD | {'learning_rate': 3e-4},
      views=ARTICLE_VIEWS,
    ),
    'head': common.stage(
      {'name': 'recognize'},
      epochs=10,
      optimizer=ARTICLE_ADAMW | {'learning_rate': 3e-4},
      take={'encoder': 'pretrain'},
      freeze=('encoder',),
      **labelled,
    ),
    'finetune': common.stage(
      {'name': 'recognize'},
      epochs=40,
      optimizer=ARTICLE_ADAMW | {'learning_rate': 3e-5},
      take={'encoder': 'head', 'head': 'head'},
      **labelled,
    ),
    'self_train': self_training(
      'gpu',
      epochs=1,
      steps=None,
      count=None,
      optimizer=ARTICLE_ADAMW | {'learning_rate': 3e-4},
      **(labelled | {'batch_size': 32, 'labelled': 8}),
    ),
    'supervised': common.stage(
      {'name': 'recognize'},
      epochs=50,
      optimizer=ARTICLE_ADAMW | {'learning_rate': 3e-4},
      **labelled,
    ),
  }


# How a reader begins, by the option `start`: its stages before self-training.
STARTS = {
  'pretrain': ('pretrain', 'head', 'finetune'),
  'rendered': ('rendered', 'finetune'),
  'both': ('pretrain', 'rendered', 'finetune'),
}


def recipe(arg, title: str, stages, **further) -> ConfigDict:
  """The config of one method: its stages, and supervised training beside them.

  The option `data=DIR` takes the user's own images, whose characters `charset`
  may name, and whose labels `labels` may say (see `common.own_data`).
  `start=rendered` begins with a reader of rendered text of the same
  characters instead of pretraining, and `start=both` pretrains before it. A
  folder without labels starts with rendered text where `charset` is named, and
  is only pretrained on where it is not. The
  option `take=RUN` replaces pretraining by an encoder that another run has
  pretrained. `compare=False` leaves out supervised training, which otherwise
  spends as much as all other stages together.

  Args:
    arg: the argument of the config.
    title: the title of the method's rows; {name} stands for an option of `arg`.
    stages: a function `stages(scale, **options)` of the further options.
    **further: the options of `arg` beside those above, with their defaults.

  Raises:
    ValueError: an unknown start, or one that does not go with the data.
  """
  known = dict.fromkeys(('data', 'charset', 'labels', 'take', 'start'), '')
  options = common.parse_arg(arg, **(known | {'compare': True} | further))
  if options.labels and not options.data:
    raise ValueError(
      f'Found labels={options.labels} without data=DIR; expected both.'
    )
  title, scale, own = title.format(**options), options.scale, options.data
  start, chain = chain_of(options)
  data = None
  if own:
    data = common.own_data(own, options.charset, scale, options.labels)
  config = base(scale, data)
  made = stages(scale, **{name: options[name] for name in further})
  made['rendered'] = rendered(scale)
  # An encoder that another run has pretrained takes the place of a stage.
  origin = options.take or 'pretrain'
  config.recipe = tuple(
    each for each in chain if each != 'pretrain' or not options.take
  )
  if 'finetune' in chain and options.compare:
    config.recipe += ('supervised',)
  config.update({name: made[name] for name in config.recipe})
  labels = f'{made["finetune"].data.count or "40,000"} labels, all layouts'
  if own:
    labels = f'the labels of {own}'
    for name in config.recipe:
      config[name].data.count = None  # takes all labels
  before = ''
  for name in chain:
    if before:
      parts = ('encoder',) if before == origin else ('encoder', 'head')
      config[name].take = dict.fromkeys(parts, before)
    before = origin if name == 'pretrain' else name
  if 'finetune' not in chain and 'self_train' in chain:
    config.self_train.data.split = 'rendered'
  if 'supervised' in config.recipe:
    spent = config.recipe[:-1]
    config.supervised.update(steps=None, epochs=0, match_compute=spent)
  begun = {'pretrain': title, 'rendered': 'rendered text'}
  begun['both'] = f'{title} + rendered text'
  titles = {
    'rendered': begun[start],
    'head': f'{title} + head',
    'finetune': f'{begun[start]} + finetune',
    'self_train': f'{begun[start]} + self-training',
    'supervised': EQUAL,
  }
  config.rows = tuple(
    (labels, titles[name], (name,)) for name in config.recipe if name in titles
  )
  whole, finetune = titles['self_train'], titles['finetune']
  config.differences = ((whole, EQUAL), (whole, finetune))
  return config


def chain_of(options) -> tuple[str, list[str]]:
  """How a reader begins, and its stages one after another.

  Raises:
    ValueError: an unknown start, or one that the other options exclude.
  """
  unlabelled = bool(options.data) and not common.has_labels(
    options.data, options.labels
  )
  # Rendered text needs characters that somebody names.
  default = 'rendered' if unlabelled and options.charset else 'pretrain'
  start = options.start or default
  if start not in STARTS or (start != 'pretrain' and not options.data):
    raise ValueError(
      f'Found start={start}; expected one of {", ".join(STARTS)}, and with '
      'data=DIR where text is rendered first.'
    )
  if options.take and start == 'rendered':
    raise ValueError(
      f'Found take={options.take} with start=rendered, which takes no encoder; '
      'expected start=pretrain or start=both.'
    )
  chain = [*STARTS[start], 'self_train']
  if unlabelled and start == 'pretrain':
    return start, chain[:1]  # there is nothing to read by
  if unlabelled:
    chain.remove('finetune')
  return start, chain


def rendered(scale: str) -> ConfigDict:
  """The stage that learns to read from rendered text."""
  size = 'gpu' if scale == 'article' else scale
  steps = SIZES[size]['rendered']
  return labelled(size, split='rendered', count=None, steps=steps)
