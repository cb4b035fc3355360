"""The article's table: supervised, SimSiam + finetune, SimCLR + finetune.

Paper: the article's section 05, its figures beside ours, and the row that it
lacks: supervised training that spends the FLOPs of SimCLR's three stages.
For: whether pretraining reads better than the labels alone, on nine layouts.
Four more, in other fonts, are held out and read as `test_unseen`; each
pretrained row stands twice, without and with their unlabelled images.
Expected: `docs/article_table.md`.
Cost: `laptop` at most 30 minutes a seed on 2 CPU cores, `gpu` 25 on one GPU.

  python -m ssljax.main --config=configs/article_table.py:laptop,seeds=3
"""

from configs import common, simclr_ocr, simsiam_ocr, tables, text

METHODS = {'SimSiam': simsiam_ocr.stages, 'SimCLR': simclr_ocr.stages}
UNSEEN = ', unseen layouts unlabelled'
SUPERVISED, EQUAL = 'supervised', 'supervised, equal compute'
SIMSIAM, SIMCLR = 'SimSiam + finetune', 'SimCLR + finetune'
PUBLISHED = {SUPERVISED: 0.9081, SIMSIAM: 0.9541, SIMCLR: 0.957}


def longer(make, scale: str) -> dict:
  """A method's stages; at `laptop` more labels and steps, for nine layouts."""
  made = make(scale)
  if scale == 'laptop':
    tables.relabelled(made, count=500)
    made['pretrain'].steps, made['finetune'].steps = 1000, 1250
    made['supervised'].steps = made['head'].steps + 1250
  return made


def of_seed(scale: str, seed: int):
  """Every stage of a seed by name, and each row's last one by title."""
  plain = longer(simclr_ocr.stages, scale)['supervised']
  labels = f'{plain.data.count or "40,000"} labels'
  stages = {f'supervised_{seed}': plain}
  rows = {(labels, SUPERVISED): f'supervised_{seed}'}
  for title, make in METHODS.items():
    for suffix, also in (('', ''), (UNSEEN, '+unlabeled_unseen')):
      made = longer(make, scale)
      made['pretrain'].data.split = f'unlabeled{also}'
      name = title.lower() + ('_all' if also else '')
      stages |= tables.linked(made, f'{name}_{seed}')
      rows[labels, f'{title} + finetune{suffix}'] = f'finetune_{name}_{seed}'
  equal = longer(simclr_ocr.stages, scale)['supervised']
  stages[f'equal_{seed}'] = tables.of_equal_cost(equal, f'simclr_{seed}')
  return stages, rows | {(labels, EQUAL): f'equal_{seed}'}


def get_config(arg=None):
  """`--config=configs/article_table.py:SCALE,seeds=1`."""
  options = common.parse_arg(arg, scales=text.SCALES, seeds=1)
  data = common.data(options.scale, layouts=common.SEEN_LAYOUTS, unseen=0.5)
  config = tables.table(text.base(options.scale, data), options.seeds, of_seed)
  pairs = [(SIMCLR, SUPERVISED), (SIMCLR, EQUAL), (SIMSIAM, SUPERVISED)]
  pairs += [(f'{each}{UNSEEN}', each) for each in (SIMCLR, SIMSIAM)]
  config.differences, config.published = tuple(pairs), PUBLISHED
  config.product = 'finetune_simclr_0'
  return config
