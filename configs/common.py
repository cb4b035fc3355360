"""What every recipe shares: its argument, and the schema of a stage.

A config names its stages in `recipe` and describes each with `stage(...)`.
Nothing of ssljax is imported here, so reading a config starts no backend.
"""

import difflib
import os
import pathlib

import ml_collections
from ml_collections import ConfigDict

# A laptop's minutes are enough for these four layouts.
LAYOUTS = ('arcs', 'colors', 'textured', 'hollow')
SEEN_LAYOUTS = (*LAYOUTS, 'overlap', 'warp', 'grid', 'salt', 'spaced')
UNSEEN_LAYOUTS = ('arched', 'pixel', 'shadow', 'jpeg')
# How many of its newest checkpoints a stage keeps; and on how many validation
# images each checkpoint is tested, so that the best is kept apart (0 keeps no
# best). Neither changes what a run computes.
KEEP = {'keep': 2, 'keep_best': 0}
PATHS = ('data', 'take')  # the options that name folders
# A folder's tables of labels, and the folders of its splits; capitals do not
# matter. `ssljax.data` has the same names.
LABEL_FILES = (
  *('labels.csv', 'labels.tsv', 'labels.txt', 'labels.jsonl', 'labels.json'),
  *('metadata.csv', 'metadata.jsonl'),
)
SPLIT_FOLDERS = (
  *('train', 'training', 'tr'),
  *('validation', 'val', 'valid', 'dev', 'eval'),
  *('test', 'testing', 'tst'),
)


def parse_arg(arg: str | None, scales=('smoke', 'laptop', 'article'), **known):
  """Reads 'article,seed=3' as {'scale': 'article', 'seed': 3, ...defaults}.

  Args:
    arg: the text behind the colon of `--config=file.py:arg`.
    scales: the allowed scales; the default is `laptop`.
    **known: the other keys, each with its default; a value gets the type of
      its default.

  Raises:
    ValueError: an unknown scale or key, or a value of another type.
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
    if key in PATHS:
      value = os.path.expanduser(value)  # a shell leaves `data=~/b` as it is
    values[key] = value == 'True' if kind is bool else kind(value)
  return ConfigDict(values)


def paced(size: dict, pace: tuple[int, int] | None, scale: str) -> dict:
  """Changes the batch size and the number of steps of a stage to a pace.

  Args:
    size: the stage's `batch_size` and `steps`.
    pace: the images per step, and the number of steps that replace one step;
      None keeps the size.
    scale: only `laptop` takes more steps, because `smoke` has to be short and
      `article` counts epochs.
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
  draw=None,
  labelled=0,
  unlabelled='',
  clean='',
  views=None,
  take=None,
  freeze=(),
  seed=0,
  match_compute=(),
  best_rate_of=(),
  probe=False,
  accumulate=1,
):
  """Describes one stage of a recipe.

  Args:
    method: `name`, which is the name of a file in `ssljax/methods`, and the
      method's options.
    optimizer: options of `ssljax.optim.optimizer`, and `warmup_share`, the
      share of the steps in which the learning rate grows.
    batch_size: examples per step, over all devices.
    epochs: passes over the data. If above 0, they set the number of steps, and
      `steps` is ignored.
    steps: optimizer steps.
    split: the split of the data set; 'a+b' joins two splits.
    count: uses only this many examples, the first ones.
    draw: with `count`, draws the examples by this seed instead. A smaller
      number of examples of a draw is contained in a larger one.
    per_class: uses only this many images of each class, drawn by the stage's
      seed.
    share: uses only this share of each class, drawn by the stage's seed.
    layouts: uses only examples of these layouts.
    unlabelled: a split like `split`, whose examples join those chosen above.
      Their labels are not used.
    labelled: with `unlabelled`, how many examples of a batch have labels; 0
      chooses it by the number of labels.
    clean: 'own' adds to each example the plain print behind its image, 'other'
      the plain print behind another image. Only rendered data has prints.
    views: options of `ssljax.augment.text.text_views`, or on images of
      `ssljax.augment.policies.policy_views`.
    take: part -> where to take it from: an earlier stage, the folder of another
      run (which means the first stage of that run), the folder of a stage in
      another run, or, for an encoder, a file of weights (docs/weights.md).
    freeze: parts that training does not change.
    seed: is added to the seed of the run.
    match_compute: earlier stages. This stage takes as many steps as their FLOPs
      together allow.
    best_rate_of: earlier stages. This stage uses the learning rate of the one
      with the best validation accuracy.
    probe: whether a linear classifier is trained beside the method and watches
      its features; only for images that have classes.
    accumulate: equal parts in which each device takes its rows of a batch, to
      save memory; only for methods that learn from each example by itself
      (recognize, supervised, self_training).
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
  # Stages without these options keep the form that older runs have.
  if draw is not None:
    config.data.draw = draw
  if accumulate != 1:
    config.accumulate = accumulate
  if unlabelled:
    config.data.update(unlabelled=unlabelled, labelled=labelled)
  return config


# Development used images of seed 0; the tables use images of seed 1.
def data(scale: str, *, seed=1, layouts=None, unseen=0):
  """The rendered data set of a scale.

  Args:
    scale: sets the number of images and their size.
    seed: the integer from which the images are rendered again.
    layouts: the layouts of all splits except the unseen ones. The default is
      four layouts at `smoke` and `laptop`, and all nine at larger scales.
    unseen: the size of `unlabeled_unseen` and of `test_unseen`, which show the
      held-out layouts, as a share of `unlabeled` and of `test`.
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
      # The most bytes of decoded images that a split holds in memory; the host
      # of a GPU has more memory.
      'memory': 2**36 if scale == 'gpu' else 2**30,
    }
  )


def has_labels(directory: str, labels: str = '') -> bool:
  """Whether a folder of the user's images has labels.

  Args:
    directory: the folder, which need not exist.
    labels: where the labels are, if the user says it.
  """
  if labels:
    return True
  top = pathlib.Path(directory)
  folders = [top, *(path for path in top.glob('*') if path.is_dir())]
  return any(
    path.name.casefold() in LABEL_FILES and path.is_file()
    for folder in folders
    if folder == top or folder.name.casefold() in SPLIT_FOLDERS
    for path in folder.glob('*')
  )


def own_data(
  directory: str, charset: str = '', scale: str = 'laptop', labels: str = ''
):
  """The data of a folder of the user's images, with or without labels.

  The splits `rendered` and `rendered_validation` have rendered text of the same
  charset in the same frame, whose labels cost nothing. It is rendered when a
  stage first opens one of them.

  Args:
    directory: the folder.
    charset: the name of a charset, or the characters themselves; '' takes the
      characters of the labels.
    scale: sets the number of rendered images.
    labels: where the labels are: 'names' (the text before the first `_` of each
      file name), 'folders' (the name of an image's folder), or the path of a
      table whose rows are added to the folder's own labels and correct them;
      '+' joins several of these. '' takes a table such as `labels.csv`.
  """
  config = ConfigDict(
    {
      'directory': directory,
      'charset': charset,
      # 0 fits the frame to the pictures: 48 pixels of height (32 if all are
      # lower than that), and the width that 95 % of them need. On a folder of
      # 160x60 images, a height of 48 raised exact match from 0.85 to 0.91
      # against the 32 of the rendered images of `laptop`.
      'height': 0,
      'width': 0,
      'max_length': 0,  # 0 takes the length of the longest label
      'holdout': 0.1,  # the share of the labelled images kept for testing
      'contents': '',  # a digest of the folder, filled in when it is opened
      'memory': 2**30,  # the most bytes of decoded images to hold
      # The images of `rendered`; the shortest and the longest length of their
      # texts, where () takes the lengths of the labels, or 4 to 6 without
      # labels; and the integer from which they are rendered again.
      'rendered': 256 if scale == 'smoke' else 20_000,
      'lengths': (),
      'seed': 1,
    }
  )
  # Runs without this option keep the form that older runs have.
  if labels:
    config.labels = labels
  return config
