"""What unlabelled images are worth: accuracy against labels, at equal compute.

Paper: none has all of these rows; the recipe is SimCLR (arXiv 2002.05709), then
a mean teacher (arXiv 1703.01780).
For: 10, 30, 100 and 500 labels of all layouts, and 500 labels of two layouts
only, while the unlabelled images show all four. Every row of a label set has
the same labels, views and settings (AdamW at 2e-3, which was not tuned for any
row), and each draw of the labels has a training seed of its own. FLOPs have
everything in them: pretraining, head, teacher.
Expected: `docs/labels.md`.
Cost at `laptop`: about six hours on 2 CPU cores, resumable. `rows=2` trains the
first two rows and `rows=3` supervised training beside them, for a start.

  python -m ssljax.main --config=configs/labels_ocr.py --workdir=RUN
  python docs/draw/labels.py RUN
"""

from configs import common, simclr_ocr, text

LAYOUTS = ('arcs', 'colors')
PART = '500 labels of arcs and colors'
SETS = {
  '30 labels': ('all30', 30, ()),
  '100 labels': ('all100', 100, ()),
  '500 labels': ('all500', 500, ()),
  PART: ('part500', 500, LAYOUTS),
  '10 labels': ('all10', 10, ()),
}


def get_config(arg=None):
  """`--config=configs/labels_ocr.py:SCALE,draws=3,rows=6`."""
  known = {'draws': 3, 'rows': len(text.ROWS)}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  config, titles = text.base(options.scale), tuple(text.ROWS)[: options.rows]
  trained, rows = {row: {} for row in titles}, {}
  for draw in range(options.draws):
    pretrain = simclr_ocr.stages(options.scale)['pretrain']
    pretrain.seed = draw
    trained['finetune'][f'pretrain_{draw}'] = pretrain
    for title, (name, count, layouts) in SETS.items():
      stages, last = text.label_set(
        options.scale, draw, name, count=count, layouts=layouts, draw=draw
      )
      for row in titles:
        for stage in stages[row].values():
          stage.seed = draw
        trained[row] |= stages[row]
        key = title, text.ROWS[row]
        rows[key] = (*rows.get(key, ()), last[row])
  config.update(
    {k: v for stages in trained.values() for k, v in stages.items()}
  )
  config.recipe = tuple(name for stages in trained.values() for name in stages)
  config.rows = tuple((*key, stages) for key, stages in rows.items())
  config.differences = ((text.ROWS['whole'], text.ROWS['once']),)
  config.labelled_layouts = {PART: LAYOUTS}
  config.product = 'whole_all500_0'
  return config
