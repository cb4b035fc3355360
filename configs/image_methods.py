"""Every method that pretrains on images, in one table and under one protocol.

Each pretrains for the same steps on the same images, a pretext task at its own
pace; its frozen features are tested by kNN and by linear probes with 5 labels a
class in 10 draws, paired with raw pixels and an untrained encoder. Papers:
those of the methods' own configs. Expected: `docs/images.md`. At most 5 minutes
a method on 2 CPU cores.

  python -m ssljax.main --config=configs/image_methods.py:dataset=glyphs
  python -m ssljax.main --config=configs/image_methods.py:dataset=digits,seeds=3
"""

from configs import (
  common,
  deepcluster_images,
  metric_images,
  pretext_images,
  simclr_images,
  swav_images,
)
from configs.byol_images import BYOL
from configs.moco_images import MOCO
from configs.simclr_images import SIMCLR
from configs.simsiam_images import SIMSIAM

# What features are worth that have seen every label.
_SUPERVISED = {'method': {'name': 'supervised'}, 'views': {'count': 1}}
SUPERVISED = {
  'small': _SUPERVISED,
  'cifar': _SUPERVISED,
  'imagenet': simclr_images.SIMCLR['imagenet'] | _SUPERVISED,
}


def methods(options):
  """Each by its title, as `simclr_images.pretraining` takes it."""
  found = {
    'SimCLR': SIMCLR,
    'MoCo v2': MOCO,
    'BYOL': BYOL,
    'SimSiam': SIMSIAM,
    'SwAV': swav_images.of_dataset(options),
    'DeepCluster v1': deepcluster_images.V1,
    'DeepCluster v2': deepcluster_images.of_version(options),
  }
  for objective, title in metric_images.TITLES.items():
    chosen = {'objective': objective}
    found[title] = metric_images.of_objective(common.ConfigDict(chosen))
  for task, title in pretext_images.TITLES.items():
    if task in tasks(options):
      chosen = common.ConfigDict(options.to_dict() | {'task': task})
      found[title] = pretext_images.of_task(chosen)
  return found


def tasks(options) -> set:
  """Pretext tasks that the data is fit for.

  Digits are gray and too small for patches, and print is known of glyphs only.
  """
  if options.data or options.dataset != 'glyphs':
    unfit = {'pix2pix', 'cyclegan'}
    if options.dataset == 'digits':
      unfit |= {'relative_patch', 'jigsaw', 'colorization'}
    return set(pretext_images.TASKS) - unfit
  return set(pretext_images.TASKS)


def get_config(arg=None):
  """`--config=configs/image_methods.py:SCALE,dataset=NAME,seeds=1`."""
  known = simclr_images.ARGUMENTS | {'seeds': 1}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  config = simclr_images.base(options)
  config.evaluation.pictures = ()  # those of a method are its own config's
  dataset = config.data.name
  made = {'raw pixels': {'pixels': simclr_images.untrained(name='pixels')}}
  made['random encoder'] = {
    f'random_{seed}': simclr_images.untrained() for seed in range(options.seeds)
  }
  for title, method in methods(options).items():
    name = title.lower().replace(' ', '_').replace('-', '_')
    made[title] = {
      f'{name}_{seed}': simclr_images.pretraining(
        dataset, options.scale, method
      )
      for seed in range(options.seeds)
    }
  made['supervised, all labels'] = {
    f'supervised_{seed}': simclr_images.pretraining(
      dataset, options.scale, SUPERVISED
    )
    for seed in range(options.seeds)
  }
  for stages in made.values():
    for seed, (name, stage) in enumerate(stages.items()):
      stage.seed, stage.probe = seed, False
      config[name] = stage
  config.recipe = tuple(name for stages in made.values() for name in stages)
  config.rows = tuple((title, tuple(stages)) for title, stages in made.items())
  config.baselines = ('raw pixels', 'random encoder')
  config.product = 'simclr_0'
  return config
