"""What the unlabelled images buy, against supervised training of equal cost.

Paper: the article's rows, and the control that it lacks: supervised training
that spends the FLOPs of pretraining, head and finetuning together.
For: 500 labels of all layouts, the first 100 of them, and 500 labels of two
layouts only, while the unlabelled images show all four. Every labelled row of a
label set has the same images, labels and views; one pretraining a seed serves
all. Equal compute has the best of three rates, by validation on seed 0; it is
chosen on all layouts, also for labels of two, which favours that row.
Expected: `docs/comparison.md`.
Cost at `laptop`: at most 90 minutes on 2 CPU cores, resumable.

  python -m ssljax.main --config=configs/compare_ocr.py
"""

from configs import common, simclr_ocr, text

ALL, PART = ' labels, all layouts', '500 labels of arcs and colors'
LAYOUTS = ('arcs', 'colors')
SETS = {
  '500' + ALL: ('all500', 500, ()),
  '100' + ALL: ('all100', 100, ()),
  PART: ('part500', 500, LAYOUTS),
}
RATES = (1e-3, 2e-3, 4e-3)
# More finetuning than in `simclr_ocr`, because a little more compute buys the
# most there, and equal compute pays for all of it.
STEPS = {'pretrain': 450, 'head': 500, 'finetune': 1000}


def of_seed(scale: str, seed: int):
  """Every stage of a seed by name, and each row's last one."""
  plain = simclr_ocr.stages(scale)
  if scale == 'laptop':
    for name, count in STEPS.items():
      plain[name].steps = count
  stages, rows = {f'pretrain_{seed}': plain['pretrain']}, {}
  steps = plain['head'].steps, plain['finetune'].steps
  for title, (name, count, layouts) in SETS.items():
    chosen = {'count': min(count, 100) if scale == 'smoke' else count}
    made, lasts = text.label_set(
      scale, seed, name, steps, RATES, layouts=layouts, **chosen
    )
    stages |= made
    rows |= {(title, row): last for row, last in lasts.items()}
  return stages, rows


def get_config(arg=None):
  """`--config=configs/compare_ocr.py:SCALE,seeds=3`."""
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), seeds=3)
  config = text.table(text.base(options.scale), options.seeds, of_seed)
  _, finetune, _, same, equal = text.LABEL_ROWS
  config.differences = ((finetune, equal), (finetune, same))
  config.labelled_layouts = {PART: LAYOUTS}
  return config
