"""The article's three warnings about SimSiam, each tried.

Paper: SimSiam, arXiv 2011.10566, section 4.
For: seeing collapse. Without the predictor, and without the stopped gradient,
the features collapse; without BatchNorm in the predictor's hidden layer, or
with BatchNorm at its output, they get worse. All variants have the same data,
seed and steps. The telemetry of pretraining is printed beside what a reader
finetuned from it reads.
Expected: `docs/simsiam.md`.
Cost at `laptop`: about 10 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/simsiam_warnings.py:laptop
"""

from configs import common, tables, text
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
  config = text.base(scale)
  recipe, rows = [], []
  for title, change in VARIANTS.items():
    plain = stages(scale, SIMSIAM | change)
    if scale == 'laptop':
      tables.relabelled(plain, count=500)
      plain['pretrain'].steps, plain['finetune'].steps = 400, 650
    labels = f'{plain["finetune"].data.count} labels'
    made = tables.linked(plain, title.replace(' ', '_'))
    config.update(made)
    recipe += made
    rows.append((labels, title, (recipe[-1],)))
  config.recipe, config.rows = tuple(recipe), tuple(rows)
  config.product = rows[0][2][0]
  return config
