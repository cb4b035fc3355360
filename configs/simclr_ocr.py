"""SimCLR on text lines, then reading with a few labels.

Paper: SimCLR, arXiv 2002.05709; on sequences, SeqCLR, arXiv 2012.10873.
Scales: `smoke` (under a minute), `laptop` (at most 10 minutes on 2 CPU cores;
the default), `article` (800,000 / 40,000 / 20,000 images; an accelerator).
Expected at `laptop`: the table in the README.

  python -m ssljax.main --config=configs/simclr_ocr.py:laptop

On your own images, with or without a `labels.csv` (columns `file,text`) among
them, and with an encoder that another run has pretrained:

  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR
  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR,take=RUN

`article` keeps the article's figures to the letter: its projector without
BatchNorm, pools of 5 frames over aligned views, SGD with momentum 0.8 at 3e-4
and batches of 96 for 10 epochs; AdamW at 3e-4 and batches of 8 for the head
(10 epochs), at 3e-5 for finetuning (40), at 3e-4 for supervised training (50).
What it leaves open is chosen here: no warm-up and constant rates, AdamW with
optax's default decay of 1e-4, characters of digits and lower case, images of
160x60, and an encoder of its figure's shape.

Where `laptop` and `smoke` deviate: BatchNorm in the projector, without which
the loss of a small encoder stays at ln N; AdamW with warm-up and cosine decay
throughout, for few steps; instances of 2 frames, about half a character;
views that also shift, invert, draw strokes and erase spans, which take
position, style and context away as shortcuts.
"""

from ml_collections import ConfigDict

from configs import common

# The article's list; noise, blur and jitter raised. With half a pixel of jitter
# no column of one view is further than half an instance from the other's.
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
# Two views may lose a character, at the border or under a painted span, and a
# labelled one must not. The spans hide from each view other parts of the line,
# so that what stands around an instance does not tell which one it is.
PRETRAIN_VIEWS = ARTICLE_VIEWS | {
  'shift': 0.12,
  'scale': 0.15,
  'jitter': 1.0,
  'strokes': 2,
  'inversion': 0.5,
  'ramp': 0.4,
  'erase': 0.35,
}
LABELLED_VIEWS = PRETRAIN_VIEWS | {'count': 1, 'shift': 0.05, 'erase': 0.0}

ADAMW = {
  'name': 'adamw',
  'decay': 'cosine',
  'warmup_share': 0.05,
  'weight_decay': 0.05,
  'clip': 1.0,
  'momentum': 0.0,
}
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


SIMCLR = {'name': 'simclr', 'temperature': 0.1, 'negatives': 'batch'}


def objective(scale: str, method) -> dict:
  """A pretraining method with its instances: the article's, or narrower."""
  instances = {'name': 'frames', 'pool': 2, 'matched': True}
  if scale == 'article':
    instances |= {'pool': 5, 'matched': False}
  return method | {'instances': instances}


# Pretraining, head and finetuning in steps; images a step with and without
# labels; labels. What the article's stages are counted in is epochs.
SIZES = {
  'smoke': {'steps': (4, 4, 8), 'batches': (48, 16), 'labels': 256},
  'laptop': {'steps': (1000, 250, 650), 'batches': (48, 16), 'labels': 500},
  'gpu': {'steps': (4000, 500, 4000), 'batches': (256, 64), 'labels': 5000},
}
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
  """All but the stages; `data` is the scale's unless given."""
  return ConfigDict(
    {
      'scale': scale,
      'seed': 0,
      'mapping': 'shard_map',
      # Compiling takes most of a smoke run, and its speed matters to nobody.
      'optimize': scale != 'smoke',
      'log_every': 20,
      'checkpoint_every': 1000 if scale in ('gpu', 'article') else 200,
      'steps_per_call': 0,  # 1 on CPU, log_every on an accelerator
      'resident': scale == 'gpu',  # whether all images stay on the device
      'data': data or common.data(scale),
      'product': 'finetune',  # the stage that `ssljax.load` reads with
      'labelled_layouts': {},
      'differences': (),
      'published': {},
      **network(scale),
    }
  )


def stages(scale: str, method=SIMCLR) -> dict:
  """The article's four stages; `supervised` has the same labelled steps."""
  if scale == 'article':
    return article_stages(method)
  sizes, adamw = SIZES[scale], ADAMW | {'learning_rate': 2e-3}
  (pretrain, head, finetune), (many, few) = sizes['steps'], sizes['batches']
  labelled = {
    'batch_size': few,
    'count': sizes['labels'],
    'views': LABELLED_VIEWS,
    'optimizer': adamw,
  }
  return {
    'pretrain': common.stage(
      objective(scale, method),
      split='unlabeled',
      steps=pretrain,
      batch_size=many,
      optimizer=adamw,
      views=PRETRAIN_VIEWS,
    ),
    'head': common.stage(
      {'name': 'recognize'},
      steps=head,
      take={'encoder': 'pretrain'},
      freeze=('encoder',),
      **labelled,
    ),
    'finetune': common.stage(
      {'name': 'recognize'},
      steps=finetune,
      take={'encoder': 'head', 'head': 'head'},
      **labelled,
    ),
    'supervised': common.stage(
      {'name': 'recognize'}, steps=head + finetune, **labelled
    ),
  }


def article_stages(method) -> dict:
  labelled = dict(batch_size=8, views=ARTICLE_VIEWS | {'count': 1})
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
    'supervised': common.stage(
      {'name': 'recognize'},
      epochs=50,
      optimizer=ARTICLE_ADAMW | {'learning_rate': 3e-4},
      **labelled,
    ),
  }


def recipe(arg, title: str, stages=stages, **further) -> ConfigDict:
  """A method's stages, in a row each, and the supervised one.

  With `data=DIR` on a person's own images, of which `charset` may name the
  characters; with `take=RUN` from an encoder that another run has pretrained.

  Args:
    arg: of the config.
    title: of the method, in which {name} stands for an option of `arg`.
    stages: `stages(scale, **options)`, with the further options.
    **further: options of `arg` beside these, with their defaults.
  """
  known = {'data': '', 'charset': '', 'take': ''} | further
  options = common.parse_arg(arg, **known)
  title = title.format(**options)
  data = common.data(options.scale)
  if options.data:
    data = common.own_data(options.data, options.charset)
  config = base(options.scale, data)
  own = {name: options[name] for name in further}
  config.update(stages(options.scale, **own))
  config.recipe = ('pretrain', 'head', 'finetune', 'supervised')
  labels = f'{config.finetune.data.count or "40,000"} labels, all layouts'
  if options.data:
    labels = f'the labels of {options.data}'
    for name in config.recipe:
      config[name].data.count = None  # all there are
    if options.scale == 'laptop':
      # Somebody will use this reader: two minutes more, for what they buy.
      config.finetune.steps = 2500
      config.supervised.steps = config.head.steps + 2500
  if options.take:
    del config.pretrain
    config.recipe = ('head', 'finetune', 'supervised')
    config.head.take.encoder = options.take
  config.rows = (
    (labels, f'{title} + head', ('head',)),
    (labels, f'{title} + finetune', ('finetune',)),
    (labels, 'supervised, same labelled steps', ('supervised',)),
  )
  config.differences = (
    (f'{title} + finetune', 'supervised, same labelled steps'),
  )
  return config


def get_config(arg=None) -> ConfigDict:
  """`--config=configs/simclr_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return recipe(arg, 'SimCLR')
