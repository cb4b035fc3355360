"""What unlabelled images are worth: accuracy against labels, at equal compute.

Paper: none has all of these rows; the recipe is SimCLR (arXiv 2002.05709), then
a mean teacher (arXiv 1703.01780).
For: 10, 30, 100 and 500 labels of all layouts, and 500 labels of two layouts
only, while the unlabelled images show all four. Every row of a label set has
the same labels, views and settings (AdamW at 2e-3, which was not tuned for any
row), and each draw of the labels has a training seed. FLOPs have all in them.
Expected: `docs/labels.md`.
Cost at `laptop`: about six hours on 2 CPU cores, and a part is a result too.

  python -m ssljax.main --config=configs/labels_ocr.py --workdir=RUN
  python docs/draw/labels.py RUN
"""

from configs import common, simclr_ocr, tables, text

LAYOUTS = ('arcs', 'colors')
PART = '500 labels of arcs and colors'
SETS = {
  '30 labels': ('all30', 30, ()),
  '100 labels': ('all100', 100, ()),
  '500 labels': ('all500', 500, ()),
  PART: ('part500', 500, LAYOUTS),
  '10 labels': ('all10', 10, ()),
}
# These stages run after all others of all draws, one label set after another.
ROWS = 'alone', 'begun', 'random', 'twice'
LAST = [f'{row}_{name}' for name, *_ in SETS.values() for row in ROWS]


def of_draw(scale: str, draw: int):
  """Every stage of a draw by name, and each row's last one."""
  stages, rows = {}, {}
  stages[f'pretrain_{draw}'] = simclr_ocr.stages(scale)['pretrain']
  for title, (name, count, layouts) in SETS.items():
    made, last = tables.label_set(
      scale, draw, name, count=count, layouts=layouts, draw=draw
    )
    stages |= made
    rows |= {(title, tables.ROWS[row]): stage for row, stage in last.items()}
  return stages, rows


def place(stage: str) -> int:
  name = stage.rpartition('_')[0]
  return LAST.index(name) if name in LAST else -1


def get_config(arg=None):
  """`--config=configs/labels_ocr.py:SCALE,draws=3`."""
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), draws=3)
  config = text.base(options.scale)
  config.data.counts.train = max(config.data.counts.train, 1150)  # of `smoke`
  config = tables.table(config, options.draws, of_draw)
  config.recipe = tuple(sorted(config.recipe, key=place))
  config.differences = ((tables.ROWS['whole'], tables.ROWS['once']),)
  config.labelled_layouts = {PART: LAYOUTS}
  config.product = 'whole_all500_0'
  return config
