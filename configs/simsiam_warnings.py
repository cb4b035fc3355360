"""The article's three warnings about SimSiam, each tried.

Paper: SimSiam, arXiv 2011.10566, section 4. Without the predictor, and without
the stopped gradient, the features collapse; without BatchNorm in the
predictor's hidden layer, or with BatchNorm at its output, they get worse. Same
data, seed and steps for each; the telemetry of pretraining is printed beside
what a reader finetuned from it reads. About 10 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/simsiam_warnings.py:laptop
"""

from configs import common, simclr_ocr
from configs.simsiam_ocr import SIMSIAM, stages

VARIANTS = {
  'as it should be': {},
  'without predictor': {'predict': False},
  'without BatchNorm in the hidden layer': {
    'predictor': {'hidden_norm': False}
  },
  'BatchNorm at the output': {'predictor': {'output_norm': True}},
  'without stop-gradient': {'stop_gradient': False},
}


def get_config(arg=None):
  """`--config=configs/simsiam_warnings.py:SCALE`."""
  scale = common.parse_arg(arg, scales=('smoke', 'laptop')).scale
  config = simclr_ocr.base(scale)
  recipe, rows = [], []
  for title, change in VARIANTS.items():
    plain = stages(scale, SIMSIAM | change)
    if scale == 'laptop':
      plain['pretrain'].steps = 400
    names = {stage: f'{stage}_{title.replace(" ", "_")}' for stage in plain}
    plain['head'].take.encoder = names['pretrain']
    plain['finetune'].take.update(encoder=names['head'], head=names['head'])
    for stage in ('pretrain', 'head', 'finetune'):
      config[names[stage]] = plain[stage]
      recipe.append(names[stage])
    rows.append((title, (names['finetune'],)))
  config.recipe = tuple(recipe)
  labels = f'{plain["finetune"].data.count} labels'
  config.rows = tuple((labels, title, row) for title, row in rows)
  config.product = rows[0][1][0]
  return config
