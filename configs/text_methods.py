"""Every method that pretrains on text, in one table and under one protocol.

Same data, labels, steps and seeds for each, but for the pace of a pretext task;
on the frozen encoder a head is trained with 500 labels, then all of it is
finetuned, beside supervised training for the same labelled steps. Papers: those
of the methods' own configs. Expected: `docs/text_methods.md`. An estimated 4
minutes a method and seed on 2 CPU cores.

  python -m ssljax.main --config=configs/text_methods.py:laptop,seeds=3
"""

import functools

from configs import (
  byol_ocr,
  common,
  deepcluster_ocr,
  metric_ocr,
  moco_ocr,
  pretext_images,
  pretext_ocr,
  simclr_ocr,
  simsiam_ocr,
  swav_ocr,
)
from configs.metric_images import TITLES

METHODS = (
  {
    'SimCLR': simclr_ocr.stages,
    'SimSiam': simsiam_ocr.stages,
    'MoCo v2': moco_ocr.stages,
    'BYOL': byol_ocr.stages,
    'SwAV': swav_ocr.stages,
    'DeepCluster v1': functools.partial(deepcluster_ocr.stages, version=1),
    'DeepCluster v2': deepcluster_ocr.stages,
  }
  | {
    title: functools.partial(metric_ocr.stages, objective=objective)
    for objective, title in TITLES.items()
  }
  | {
    title: functools.partial(pretext_ocr.stages, task=task)
    for task, title in pretext_images.TITLES.items()
  }
)
PRETRAINING = 300  # steps at `laptop`, so that there is time for all of them
SUPERVISED = 'supervised, same labelled steps'


def of_seed(scale: str, seed: int):
  """Every stage of a seed by name, and each row's last one by title."""
  stages, rows = {}, {}
  plain = simclr_ocr.stages(scale)
  stages[f'random_{seed}'] = plain['head']
  plain['head'].take = {}
  stages[f'supervised_{seed}'] = plain['supervised']
  rows['random encoder + head'] = f'random_{seed}'
  rows[SUPERVISED] = f'supervised_{seed}'
  for title, make in METHODS.items():
    name = title.lower().replace(' ', '_').replace('-', '_')
    plain = make(scale)
    if scale == 'laptop':
      full = simclr_ocr.SIZES[scale]['steps'][0]
      plain['pretrain'].steps = plain['pretrain'].steps * PRETRAINING // full
      if 'hold' in plain['pretrain'].optimizer:
        hold = {'prototypes': PRETRAINING // 20}
        plain['pretrain'].optimizer.hold = hold
    names = {stage: f'{stage}_{name}_{seed}' for stage in plain}
    plain['head'].take.encoder = names['pretrain']
    plain['finetune'].take.update(encoder=names['head'], head=names['head'])
    for stage in ('pretrain', 'head', 'finetune'):
      stages[names[stage]] = plain[stage]
    rows[f'{title} + head'] = names['head']
    rows[f'{title} + finetune'] = names['finetune']
  for stage in stages.values():
    stage.seed = seed
  return stages, rows


def get_config(arg=None):
  """`--config=configs/text_methods.py:SCALE,seeds=1`."""
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), seeds=1)
  config = simclr_ocr.base(options.scale)
  recipe, rows = [], {}
  for seed in range(options.seeds):
    stages, titles = of_seed(options.scale, seed)
    config.update(stages)
    recipe += stages
    for title, stage in titles.items():
      rows.setdefault(title, []).append(stage)
  config.recipe = tuple(recipe)
  labels = f'{config.supervised_0.data.count} labels'
  config.rows = tuple(
    (labels, title, tuple(row)) for title, row in rows.items()
  )
  config.differences = tuple(
    (f'{title} + finetune', SUPERVISED) for title in METHODS
  )
  config.product = 'finetune_simclr_0'
  return config
