"""Golden traces: ten steps of every kind of stage that the configs describe.

  python tests/traces.py tests/traces.json

records them anew, each trace with a digest of the state that it ends in. Two
files of one machine can be compared to the bit; `test_traces.py` allows what
another processor rounds otherwise. A kind is a stage's description without its
seed, its steps and the names of other stages, at networks and images so small
that a step takes milliseconds. Only what the command itself uses is called.
"""

import hashlib
import importlib
import json
import pathlib
import sys
import tempfile

import jax
import numpy as np

STEPS = 10
# The traces were recorded with XLA's optimisations, and the tests compile
# without; another processor rounds differently too. A wrong factor, sign, view
# or order changes the first losses or gradients by more than `rtol`. Rounding
# grows from step to step: later gradients, seen to differ by half, are not
# compared, and later losses within 5 % or 0.02.
EARLY = 3  # steps
TOLERANCES = (
  ('loss', slice(EARLY), {'rtol': 4e-3, 'atol': 1e-5}),
  ('gradient_norm', slice(EARLY), {'rtol': 2e-2, 'atol': 1e-5}),
  ('loss', slice(EARLY, None), {'rtol': 5e-2, 'atol': 2e-2}),
)
ROOT = pathlib.Path(__file__).parent.parent
# The arguments with which each config describes all of its stages.
TASKS = (
  'rotation',
  'relative_patch',
  'jigsaw',
  'colorization',
  'autoencoder',
  'inpainting',
  'super_resolution',
  'pix2pix',
  'cyclegan',
)
OBJECTIVES = ('margin', 'triplet', 'n_pair')
ARGUMENTS = {
  'simclr_ocr': ('smoke', 'article'),
  'simsiam_ocr': ('smoke', 'article'),
  'moco_ocr': ('smoke', 'article'),
  'byol_ocr': ('smoke', 'article'),
  'swav_ocr': ('smoke', 'article'),
  'deepcluster_ocr': ('smoke,version=1', 'smoke,version=2'),
  'metric_ocr': [f'smoke,objective={each}' for each in OBJECTIVES],
  'pretext_ocr': [f'smoke,task={each}' for each in TASKS],
  'supervised_ocr': ('smoke', 'article'),
  'article_table': ('smoke',),
  'labels_ocr': ('smoke,draws=1',),
  'simsiam_warnings': ('smoke',),
  'text_fractions': ('smoke',),
  'text_methods': ('smoke',),
  'simclr_images': (
    'smoke',
    'smoke,dataset=cifar10',
    'smoke,dataset=imagenet2012',
  ),
  'moco_images': (
    'smoke,version=1',
    'smoke,version=2',
    'smoke,dataset=cifar10',
    'smoke,dataset=imagenet2012',
  ),
  'byol_images': (
    'smoke',
    'smoke,dataset=cifar10',
    'smoke,dataset=imagenet2012',
  ),
  'simsiam_images': (
    'smoke',
    'smoke,dataset=cifar10',
    'smoke,dataset=imagenet2012',
  ),
  'swav_images': (
    'smoke',
    'smoke,dataset=cifar10',
    'smoke,dataset=imagenet2012',
  ),
  'deepcluster_images': (
    'smoke,version=1',
    'smoke,version=2',
    'smoke,version=1,dataset=imagenet2012',
  ),
  'metric_images': [
    f'smoke,labelled={labelled},objective={each}'
    for each in OBJECTIVES
    for labelled in (False, True)
  ],
  'pretext_images': [f'smoke,task={each}' for each in TASKS],
  'supervised_images': ('smoke', 'smoke,share=0.1'),
  'image_methods': ('smoke',),
  'labels_images': ('smoke,dataset=digits,draws=1',),
}
ON_EIGHT = ('simclr_ocr', 'moco_images', 'swav_images', 'deepcluster_ocr')
# In float32: twenty steps in bfloat16 before a stage move its first gradients
# by 3 % on another processor.
RESNET = {
  'name': 'resnet',
  'blocks': (1,),
  'width': 8,
  'stem': 'cifar',
  'dtype': 'float32',
}


def small(name: str, argument: str):
  """A config of the project, at a size for tests; no figures are taken."""
  config = importlib.import_module(f'configs.{name}').get_config(argument)
  text = 'charset' in config.data
  if text:
    config.update(importlib.import_module('configs.text').network('smoke'))
    config.projector.batch_norm = 'article' not in argument
    config.encoder.update({'channels': (8, 8), 'width': 16, 'layers': 1})
    config.encoder.strides = ((2, 2), (2, 2))
    config.encoder.heads = 2
    config.projector.width = config.head_width = 16
    counts = {'unlabeled': 64, 'train': 64, 'validation': 8, 'test': 8}
    for split in ('unlabeled_unseen', 'test_unseen'):
      if split in config.data.counts:
        counts[split] = 8
    config.data.update({'height': 32, 'width': 96, 'charset': 'alnum36'})
    config.data.counts = counts
  else:
    if 'name' not in config.encoder or config.encoder.name == 'resnet':
      config.encoder = RESNET
      config.data.update({'name': 'digits', 'size': 16, 'stored': 16})
    counts = {'train': 144, 'validation': 36, 'test': 36}
    config.data.counts = counts if config.data.name == 'glyphs' else {}
    config.evaluation = {}
  for stage in config.recipe:
    _shrink(config[stage], text)
  config.rows, config.differences = (), ()
  # One device takes a third of the time; a few show that eight do as well.
  if name not in ON_EIGHT:
    config.mapping = 'jit'
  config.log_every, config.checkpoint_every = 1, 100
  config.optimize = True
  return config


def _shrink(stage, text: bool):
  stage.batch_size = 16
  if stage.steps != 0 and not stage.match_compute:
    stage.steps, stage.epochs = STEPS, 0
  if stage.data.count:
    stage.data.count = 16 if stage.data.layouts else 32
  if stage.data.per_class:
    stage.data.per_class = 2
  if stage.data.share and stage.data.share < 1:
    stage.data.share = 0.25
  if stage.data.get('labelled'):
    stage.data.labelled = min(stage.data.labelled, 8)
  if 'hold' in stage.optimizer:
    stage.optimizer.hold = dict.fromkeys(stage.optimizer.hold, 3)
  if 'small_size' in stage.views:
    stage.views.small_size = 12
  method = stage.method
  for option, value in (
    ('queue', 64),
    ('queue_steps', 3),
    ('clusters', 6),
    ('prototypes', 12),
    ('groups', 8),
  ):
    if method.get(option):
      method[option] = value
  for part in ('projector', 'predictor'):
    if 'widths' in method.get(part, {}):
      widths = [min(width, 16) for width in method[part].widths]
      method[part].widths = tuple(widths)
  if method.name in TASKS[3:]:
    method.decoder = {**method.get('decoder', {}), 'width': 4}
  if method.name in TASKS[5:]:
    method.critic = {'widths': (4, 4)}
  if method.name == 'cyclegan':
    method.pool = 16


def kind(config, stage: str) -> str:
  """The same for two stages that differ in seed, length, rate or names."""
  described = json.loads(json.dumps(config[stage].to_dict()))
  for key in ('seed', 'steps', 'epochs', 'batch_size', 'probe'):
    del described[key]
  del described['data']['count'], described['optimizer']['learning_rate']
  described['data'].pop('draw', None)
  described['take'] = sorted(described['take'])
  for key in ('match_compute', 'best_rate_of'):
    described[key] = bool(described[key])
  shared = ('encoder', 'projector', 'predictor', 'head_width', 'standardize')
  parts = {key: config.get(key) for key in shared}
  task = {'text': 'charset' in config.data, 'size': config.data.get('size')}
  return json.dumps([described, parts, task], sort_keys=True, default=dict)


def needed(config, stages) -> tuple[str, ...]:
  """The stages and those that they rest on, in the recipe's order."""
  wanted = set(stages)
  for stage in reversed(config.recipe):
    if stage in wanted:
      each = config[stage]
      wanted |= {*each.take.values(), *each.match_compute, *each.best_rate_of}
  return tuple(stage for stage in config.recipe if stage in wanted)


def recipes():
  """(name, config, kinds) of runs that together show every kind once.

  `kinds` are the stages of which a trace is kept; the others are run for them.
  """
  seen = set()
  for name, arguments in ARGUMENTS.items():
    for argument in arguments:
      config, kinds = small(name, argument), []
      for stage in config.recipe:
        key = kind(config, stage)
        if key not in seen and config[stage].steps != 0:
          seen.add(key)
          kinds.append(stage)
      if kinds:
        config.recipe = needed(config, kinds)
        yield f'{name}:{argument}', config, kinds


def trace(folder: pathlib.Path) -> dict:
  """What a stage's folder shows of its steps, and a digest of its end."""
  from ssljax.checkpoint import read

  lines = (folder / 'metrics.jsonl').read_text().splitlines()[:STEPS]
  lines = [json.loads(line) for line in lines]
  saved = read(folder / 'checkpoints', 'params', 'method_state').state
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(saved):
    digest.update(np.asarray(leaf).tobytes())
  names = ('loss', 'gradient_norm')
  return {name: [line[name] for line in lines] for name in names} | {
    'digest': digest.hexdigest()
  }


def record(name: str, config, kinds, data_dir: str) -> dict[str, dict]:
  """The traces of a run, by 'config:argument stage'."""
  from ssljax import main

  with tempfile.TemporaryDirectory() as workdir:
    workdir = pathlib.Path(workdir) / 'run'
    main.run(config, workdir, data_dir, lambda: False)
    return {f'{name} {stage}': trace(workdir / stage) for stage in kinds}


def golden(image: bool):
  """(traces, recipes) of the configs on images, or of those on text."""
  found = json.loads((ROOT / 'tests' / 'traces.json').read_text())
  return (
    {key: each for key, each in found.items() if ('image' in key) == image},
    [each for each in recipes() if ('image' in each[0]) == image],
  )


def kinds_of(recipes) -> set[str]:
  return {f'{name} {kind}' for name, _, kinds in recipes for kind in kinds}


def compare(recipe, golden, data_dir: str) -> None:
  """Runs a recipe; AssertionError for a trace that is not the golden one."""
  for key, found in record(*recipe, data_dir).items():
    for figure, steps, tolerance in TOLERANCES:
      np.testing.assert_allclose(
        found[figure][steps],
        golden[key][figure][steps],
        err_msg=f'{key}: {figure}',
        **tolerance,
      )


def write(path: str) -> None:
  found = {}
  with tempfile.TemporaryDirectory() as data_dir:
    for name, config, kinds in recipes():
      print(name, *kinds, file=sys.stderr, flush=True)
      found |= record(name, config, kinds, data_dir)
      lines = [f'{json.dumps(key)}: {json.dumps(found[key])}' for key in found]
      pathlib.Path(path).write_text('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
  sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]
  importlib.import_module('conftest')
  jax.config.update('jax_threefry_partitionable', True)
  write(sys.argv[1])
