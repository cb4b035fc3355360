"""The article's table: supervised, SimSiam + finetune, SimCLR + finetune.

The three rows of the article's section 05 on the same data and labels, beside
its own figures, and the row that it lacks: supervised training that spends the
FLOPs of SimCLR's pretraining, head and finetuning together. Nine layouts; four
more, in other fonts, are held out and read as `test_unseen`. Each pretrained
row stands twice: the held-out layouts never seen, and present without labels
in pretraining.

Scales: `laptop` (at most 30 minutes a seed on 2 CPU cores), `gpu` (one GPU of
the H200's class, under 25 minutes), `article` (its sizes and hyperparameters to
the letter). Any of them can be stopped (Ctrl-C, SIGTERM, SIGKILL) and goes on
with the same command; where a job may take ten minutes, put `timeout 580`
before it, and repeat it until it prints the table. `seeds=3` runs three
training seeds, for means and standard deviations:

  python -m ssljax.main --config=configs/article_table.py:laptop,seeds=3
"""

from configs import common, simclr_ocr, simsiam_ocr

METHODS = {'SimSiam': simsiam_ocr.stages, 'SimCLR': simclr_ocr.stages}
# The held-out layouts in pretraining: never seen, or present without labels.
POOLS = {
  '': 'unlabeled',
  ', unseen layouts unlabelled': 'unlabeled+unlabeled_unseen',
}
SUPERVISED, EQUAL = 'supervised', 'supervised, equal compute'
PUBLISHED = {
  SUPERVISED: 0.9081,
  'SimSiam + finetune': 0.9541,
  'SimCLR + finetune': 0.957,
}


def stages_of(stages, scale):
  """A method's stages; at `laptop` longer finetuning, for nine layouts."""
  made = stages(scale)
  if scale == 'laptop':
    made['finetune'].steps = 1250
    made['supervised'].steps = made['head'].steps + 1250
  return made


def pretrained(plain, seed, name, split):
  """The stages of one pretrained row, by name."""
  names = {stage: f'{stage}_{name}_{seed}' for stage in plain}
  plain['pretrain'].data.split = split
  plain['head'].take.encoder = names['pretrain']
  plain['finetune'].take.update(encoder=names['head'], head=names['head'])
  return {
    names[stage]: plain[stage] for stage in ('pretrain', 'head', 'finetune')
  }


def of_seed(scale, seed):
  """Every stage of a seed, by name, and each row's last one, by title."""
  stages, rows = {}, {}
  stages[f'supervised_{seed}'] = stages_of(simclr_ocr.stages, scale)[
    'supervised'
  ]
  rows[SUPERVISED] = f'supervised_{seed}'
  for title, plain in METHODS.items():
    for suffix, split in POOLS.items():
      name = title.lower() + ('_all' if suffix else '')
      made = pretrained(stages_of(plain, scale), seed, name, split)
      stages |= made
      rows[f'{title} + finetune{suffix}'] = f'finetune_{name}_{seed}'
  equal = stages_of(simclr_ocr.stages, scale)['supervised']
  equal.epochs, equal.steps = 0, None
  equal.match_compute = tuple(
    f'{stage}_simclr_{seed}' for stage in ('pretrain', 'head', 'finetune')
  )
  stages[f'equal_{seed}'] = equal
  rows[EQUAL] = f'equal_{seed}'
  for stage in stages.values():
    stage.seed = seed
  return stages, rows


def get_config(arg=None):
  """`--config=configs/article_table.py:SCALE,seeds=1`."""
  scales = ('smoke', 'laptop', 'gpu', 'article')
  options = common.parse_arg(arg, scales=scales, seeds=1)
  data = common.data(options.scale, layouts=common.SEEN_LAYOUTS, unseen=0.5)
  config = simclr_ocr.base(options.scale, data)
  recipe, rows = [], {}
  for seed in range(options.seeds):
    stages, titles = of_seed(options.scale, seed)
    config.update(stages)
    recipe += stages
    for title, stage in titles.items():
      rows.setdefault(title, []).append(stage)
  config.recipe = tuple(recipe)
  labels = f'{config.supervised_0.data.count or "40,000"} labels'
  config.rows = tuple(
    (labels, title, tuple(row)) for title, row in rows.items()
  )
  config.differences = (
    ('SimCLR + finetune', SUPERVISED),
    ('SimCLR + finetune', EQUAL),
    ('SimSiam + finetune', SUPERVISED),
    ('SimCLR + finetune, unseen layouts unlabelled', 'SimCLR + finetune'),
    ('SimSiam + finetune, unseen layouts unlabelled', 'SimSiam + finetune'),
  )
  config.published = PUBLISHED
  config.product = 'finetune_simclr_0'
  return config
