"""SimCLR on text with 1, 5, 10 and 100 % of the labels.

Paper: the fractions are those of SimCLR's table 7, arXiv 2002.05709.
For: how many labels pretraining saves. After one pretraining, each fraction has
a head on the frozen encoder, finetuning, and supervised training for the same
labelled steps; larger label sets contain the smaller ones. On images every run
of `simclr_images.py` has its fractions.
Expected: not in the docs yet.
Cost at `laptop`: about 20 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/text_fractions.py:laptop
"""

from configs import common, simclr_ocr, tables, text

FRACTIONS = (0.01, 0.05, 0.1, 1.0)
LAST = {
  'SimCLR + head': 'head',
  'SimCLR + finetune': 'finetune',
  tables.SAME: 'supervised',
}


def get_config(arg=None):
  """`--config=configs/text_fractions.py:SCALE`."""
  scale = common.parse_arg(arg, scales=('smoke', 'laptop')).scale
  config = text.base(scale)
  config.pretrain = simclr_ocr.stages(scale)['pretrain']
  recipe, rows = ['pretrain'], []
  for fraction in FRACTIONS:
    count = max(1, round(fraction * config.data.counts.train))
    plain = simclr_ocr.stages(scale)
    short = f'{fraction:.0%}'.rstrip('%')
    names = {stage: f'{stage}_{short}' for stage in plain}
    plain['finetune'].take.update(encoder=names['head'], head=names['head'])
    for stage in LAST.values():
      plain[stage].data.count = count
      plain[stage].batch_size = min(plain[stage].batch_size, count)
      config[names[stage]] = plain[stage]
      recipe.append(names[stage])
    labels = f'{fraction:.0%}: {count} labels'
    rows += [(labels, title, (names[last],)) for title, last in LAST.items()]
  config.recipe, config.rows = tuple(recipe), tuple(rows)
  config.differences = (tuple(LAST)[1:],)
  config.product = names['finetune']
  return config
