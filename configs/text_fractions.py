"""SimCLR on text with 1, 5, 10 and 100 % of the labels.

Paper: the fractions are those of SimCLR's table 7, arXiv 2002.05709. One
pretraining; for each fraction a head on the frozen encoder, finetuning, and
supervised training for the same labelled steps. Smaller label sets are
contained in larger ones. The images' counterpart are the fractions in every
run of `simclr_images`. About 20 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/text_fractions.py:laptop
"""

from configs import common, simclr_ocr

FRACTIONS = (0.01, 0.05, 0.1, 1.0)


def get_config(arg=None):
  """`--config=configs/text_fractions.py:SCALE`."""
  scale = common.parse_arg(arg, scales=('smoke', 'laptop')).scale
  config = simclr_ocr.base(scale)
  config.pretrain = simclr_ocr.stages(scale)['pretrain']
  recipe, rows = ['pretrain'], []
  for fraction in FRACTIONS:
    count = max(1, round(fraction * config.data.counts.train))
    plain = simclr_ocr.stages(scale)
    short = f'{fraction:.0%}'.rstrip('%')
    names = {stage: f'{stage}_{short}' for stage in plain}
    plain['finetune'].take.update(encoder=names['head'], head=names['head'])
    for stage in ('head', 'finetune', 'supervised'):
      plain[stage].data.count = count
      plain[stage].batch_size = min(plain[stage].batch_size, count)
      config[names[stage]] = plain[stage]
      recipe.append(names[stage])
    labels = f'{fraction:.0%}: {count} labels'
    rows += [
      (labels, 'SimCLR + head', (names['head'],)),
      (labels, 'SimCLR + finetune', (names['finetune'],)),
      (labels, 'supervised, same labelled steps', (names['supervised'],)),
    ]
  config.recipe, config.rows = tuple(recipe), tuple(rows)
  config.differences = (
    ('SimCLR + finetune', 'supervised, same labelled steps'),
  )
  config.product = names['finetune']
  return config
