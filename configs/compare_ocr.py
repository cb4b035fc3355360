"""What the unlabelled images buy, against supervised training of equal cost.

Paper: the protocol of rows is the article's, with the control that it lacks:
supervised training that spends the FLOPs of pretraining, head and finetuning
together, at the best of three learning rates on validation.
Cost at `laptop`: at most 90 minutes on 2 CPU cores, resumable.

  python -m ssljax.main --config=configs/compare_ocr.py

Three label sets: 500 labels of all layouts, 100 of all layouts (the first of
the 500), and 500 labels of two layouts only, while the unlabelled images show
all four. Every labelled row sees the same images, labels and views; one
pretraining a seed serves all label sets. The learning rate of equal compute is
chosen on seed 0, by validation images of all layouts, also where labels come
from two, which favours that row.
"""

from configs import common
from configs.simclr_ocr import ADAMW, LABELLED_VIEWS, base, stages

LABELLED = ('arcs', 'colors')
RATES = (1e-3, 2e-3, 4e-3)
# Steps at `laptop`. More finetuning than in `simclr_ocr`: it is where a little
# more compute buys the most, and equal compute pays for all of it.
STEPS = {'pretrain': 450, 'head': 500, 'finetune': 1000}
SETS = {
  '500 labels, all layouts': dict(short='all500', count=500),
  '100 labels, all layouts': dict(short='all100', count=100),
  '500 labels of arcs and colors': dict(
    short='part500', count=500, layouts=LABELLED
  ),
}


def scaled(scale):
  """The stages of `simclr_ocr`, with this recipe's steps at `laptop`."""
  plain = stages(scale)
  if scale == 'laptop':
    for name, steps in STEPS.items():
      plain[name].steps = steps
  return plain


def labelled_stages(scale, short, seed, pretrain, *, count, layouts=()):
  """Every labelled row of one label set and seed, by short name."""
  plain = scaled(scale)
  head, finetune = plain['head'].steps, plain['finetune'].steps
  rate = plain['finetune'].optimizer.learning_rate
  if scale == 'smoke':
    count = min(count, 100)

  def row(steps=None, learning_rate=rate, **options):
    return common.stage(
      {'name': 'recognize'},
      steps=steps,
      batch_size=plain['finetune'].batch_size,
      optimizer=ADAMW | {'learning_rate': learning_rate},
      views=LABELLED_VIEWS,
      count=count,
      layouts=layouts,
      seed=seed,
      **options,
    )

  def name(kind):
    return f'{kind}_{short}_{seed}'

  frozen = {'steps': head, 'freeze': ('encoder',)}
  made = {
    name('head'): row(**frozen, take={'encoder': pretrain}),
    name('finetune'): row(
      finetune, take={'encoder': name('head'), 'head': name('head')}
    ),
    name('random'): row(**frozen),
    name('supervised'): row(head + finetune),
  }
  spent = (pretrain, name('head'), name('finetune'))
  rates = tuple(f'equal_{short}_0_rate{i}' for i in range(len(RATES)))
  if seed == 0:
    made |= {
      stage: row(learning_rate=value, match_compute=spent)
      for stage, value in zip(rates, RATES, strict=True)
    }
  else:
    made[name('equal')] = row(match_compute=spent, best_rate_of=rates)
  return made, rates if seed == 0 else name('equal')


def get_config(arg=None):
  """`--config=configs/compare_ocr.py:SCALE,seeds=3`."""
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), seeds=3)
  scale, config = options.scale, base(options.scale)
  recipe, rows = [], {}
  for seed in range(options.seeds):
    pretrain = f'pretrain_{seed}'
    config[pretrain] = scaled(scale)['pretrain']
    config[pretrain].seed = seed
    recipe.append(pretrain)
    for title, label_set in SETS.items():
      made, equal = labelled_stages(
        scale, seed=seed, pretrain=pretrain, **label_set
      )
      config.update(made)
      recipe += made
      short = label_set['short']
      for row, stage in {
        'SimCLR + head': f'head_{short}_{seed}',
        'SimCLR + finetune': f'finetune_{short}_{seed}',
        'random frozen encoder + head': f'random_{short}_{seed}',
        'supervised, same labelled steps': f'supervised_{short}_{seed}',
        'supervised, equal compute': equal,
      }.items():
        rows.setdefault((title, row), []).append(stage)
  config.recipe = tuple(recipe)
  config.rows = tuple((*key, tuple(found)) for key, found in rows.items())
  config.differences = (
    ('SimCLR + finetune', 'supervised, equal compute'),
    ('SimCLR + finetune', 'supervised, same labelled steps'),
  )
  config.labelled_layouts = {'500 labels of arcs and colors': LABELLED}
  return config
