"""What every recipe shares: its argument, and the schema of a stage.

A config names its stages in `recipe` and describes each with `stage(...)`.
Nothing of ssljax is imported here, so reading a config starts no backend.
"""

import difflib

import ml_collections
from ml_collections import ConfigDict

# The four that a laptop's minutes are enough for.
LAYOUTS = ('arcs', 'colors', 'textured', 'hollow')
SEEN_LAYOUTS = (*LAYOUTS, 'overlap', 'warp', 'grid', 'salt', 'spaced')
UNSEEN_LAYOUTS = ('arched', 'pixel', 'shadow', 'jpeg')


def parse_arg(arg: str | None, scales=('smoke', 'laptop', 'article'), **known):
  """'article,seed=3' -> {'scale': 'article', 'seed': 3, ...defaults}.

  Args:
    arg: what stands behind the colon of `--config=file.py:arg`.
    scales: allowed scales; `laptop` is the default.
    **known: further keys with their defaults, which give the type.
  """
  values = {'scale': 'laptop', **known}
  for item in filter(None, (arg or '').split(',')):
    key, equals, value = item.partition('=')
    if not equals:
      key, value = 'scale', item
    choices = scales if key == 'scale' else (value,)
    if key not in values or value not in choices:
      pool = scales if not equals or key == 'scale' else tuple(values)
      word = value if key == 'scale' else key
      close = difflib.get_close_matches(word, pool, n=1)
      hint = f' Did you mean {close[0]!r}?' if close else ''
      raise ValueError(
        f'Found {item!r} behind the colon; expected a scale '
        f'({", ".join(scales)}) or key=value with one of '
        f'{", ".join(values)}.{hint}'
      )
    kind = type(values[key])
    if kind is bool and value not in ('True', 'False'):
      raise ValueError(
        f'Found {item!r} behind the colon; expected {key}=True or {key}=False.'
      )
    values[key] = value == 'True' if kind is bool else kind(value)
  return ConfigDict(values)


def paced(size: dict, pace: tuple[int, int] | None, scale: str) -> dict:
  """The size of a stage at `pace` = (images a step, steps for one step).

  Only `laptop` takes more steps by it: `smoke` has to be short, and `article`
  counts epochs.
  """
  if pace is None:
    return size
  batch_size, times = pace
  steps = size['steps'] * times if scale == 'laptop' else size['steps']
  return {'batch_size': batch_size, 'steps': steps}


def stage(
  method,
  *,
  optimizer,
  batch_size,
  epochs=0,
  steps=None,
  split='train',
  count=None,
  per_class=None,
  share=None,
  layouts=(),
  clean='',
  views=None,
  take=None,
  freeze=(),
  seed=0,
  match_compute=(),
  best_rate_of=(),
  probe=False,
):
  """One stage of a recipe.

  Args:
    method: name of a file in `ssljax/methods`, and its options.
    optimizer: options of `ssljax.optim.optimizer`, and `warmup_share`.
    batch_size: examples a step, over all devices.
    epochs: passes over the data; above 0, they go before `steps`.
    steps: optimizer steps.
    split: of the data set; 'a+b' for two of them together.
    count: only the first so many examples.
    per_class: only so many images of each class, drawn by the stage's seed.
    share: only this share of each class, drawn in the same way.
    layouts: only examples of these layouts.
    clean: 'own' gives each example the plain print behind it, 'other' that of
      another one; of rendered data.
    views: options of `ssljax.augment.text.text_views`.
    take: part -> where to take it from: an earlier stage, another run's folder
      (its first stage is meant) or a stage's folder in it.
    freeze: parts that stay as they are.
    seed: added to the run's.
    match_compute: earlier stages whose FLOPs together set the steps.
    best_rate_of: earlier stages; the learning rate of the one with the best
      validation accuracy is used.
    probe: a linear classifier watches; of images that have classes.
  """
  placeholder = ml_collections.config_dict.placeholder
  config = ConfigDict(
    {
      'method': method,
      'optimizer': optimizer,
      'batch_size': batch_size,
      'epochs': epochs,
      'steps': placeholder(int),
      'data': {
        'split': split,
        'count': placeholder(int),
        'per_class': placeholder(int),
        'share': placeholder(float),
        'layouts': tuple(layouts),
        'clean': clean,
      },
      'views': views or {},
      'take': take or {},
      'freeze': tuple(freeze),
      'seed': seed,
      'match_compute': tuple(match_compute),
      'best_rate_of': tuple(best_rate_of),
      'probe': probe,
    }
  )
  config.steps, config.data.count = steps, count
  config.data.per_class, config.data.share = per_class, share
  return config


# Seed 0 served development; the tables are read off images of seed 1.
def data(scale: str, *, seed=1, layouts=None, unseen=0):
  """The rendered data set of a scale.

  Args:
    scale: says how many images of which size.
    seed: the one integer that the images are rebuilt from.
    layouts: of all splits but the unseen ones; four at `smoke` and `laptop`
      and all nine above, unless given.
    unseen: share of the held-out layouts' images, of `unlabeled` and `test`.
  """
  sizes = {
    'smoke': (32, 96, 512, 256, 128, 128),
    'laptop': (32, 96, 20_000, 2_000, 1_000, 2_000),
    'gpu': (60, 160, 200_000, 40_000, 5_000, 20_000),
    'article': (60, 160, 800_000, 40_000, 5_000, 20_000),
  }
  height, width, *counts = sizes[scale]
  small = scale in ('smoke', 'laptop')
  names = ('unlabeled', 'train', 'validation', 'test')
  counts = dict(zip(names, counts, strict=True))
  if unseen:
    counts['unlabeled_unseen'] = round(unseen * counts['unlabeled'])
    counts['test_unseen'] = round(unseen * counts['test'])
  return ConfigDict(
    {
      'charset': 'digits' if small else 'alnum36',
      'height': height,
      'width': width,
      'max_length': 6,
      'layouts': layouts or (LAYOUTS if small else SEEN_LAYOUTS),
      'unseen_layouts': UNSEEN_LAYOUTS,
      'seed': seed,
      'counts': counts,
      # Bytes of decoded images that a split may hold; a GPU's host has more.
      'memory': 2**36 if scale == 'gpu' else 2**30,
    }
  )


def own_data(directory: str, charset: str = ''):
  """A folder of images and, optionally, `labels.csv`.

  Args:
    directory: the folder.
    charset: a charset's name or the characters; those of the labels if ''.
  """
  return ConfigDict(
    {
      'directory': directory,
      'charset': charset,
      # Half as high again as the rendered images of `laptop`: on a folder of
      # 160x60 images it raised exact match from 0.85 to 0.91.
      'height': 48,
      'width': 144,
      'max_length': 0,  # the longest label's
      'holdout': 0.1,  # share of the labelled images that only test
      'contents': '',  # a digest of the folder, filled in when it is read
      'memory': 2**30,  # bytes of decoded images to hold
    }
  )
