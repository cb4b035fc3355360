"""What unlabelled images are worth for classes: accuracy against labels.

Paper: none has all of these rows; the recipe is SimCLR (arXiv 2002.05709), then
a mean teacher (arXiv 1703.01780).
For: 1, 5 and 10 labels a class; the rows are those of `images.label_set`. Every
row has the same labels, views and settings: AdamW at 2e-3, which was not tuned
for any row. Each draw of the labels has a training seed and a pretraining of
its own. Fewer labels of a draw are contained in more.
Expected: `docs/labels.md`.
Cost at `laptop`, three draws on 2 CPU cores, resumable: `digits` about 15
minutes, `glyphs` about two hours (estimated from the FLOPs).

  python -m ssljax.main --config=configs/labels_images.py --workdir=GLYPHS
  python -m ssljax.main --config=configs/labels_images.py:dataset=digits \\
    --workdir=DIGITS
  python docs/draw/labels.py GLYPHS DIGITS
"""

from configs import common, images, simclr_images
from configs.tables import ROWS

LABELS = (1, 5, 10)  # of each class


def get_config(arg=None):
  """`--config=configs/labels_images.py:SCALE,dataset=glyphs,draws=3,...`."""
  known = images.ARGUMENTS | {'draws': 3}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  config = images.base(options)
  config.evaluation = {}  # only the classifiers are tested
  dataset, recipe, rows = config.data.name, [], {}
  for draw in range(options.draws):
    method = simclr_images.SIMCLR
    pretrain = images.pretraining(dataset, options.scale, method)
    pretrain.update(seed=draw, probe=False)
    found = {f'pretrain_{draw}': pretrain}
    for labels in LABELS:
      stages, last = images.label_set(dataset, options.scale, labels, draw)
      found |= stages
      count = f'{labels} label{"s" if labels > 1 else ""} a class'
      for row, stage in last.items():
        title = f'{count}: {ROWS[row]}'
        rows[title] = (*rows.get(title, ()), stage)
    config.update(found)
    recipe += found
  config.recipe, config.rows = tuple(recipe), tuple(rows.items())
  config.baselines = ()
  config.product = 'whole_10_0'
  return config
