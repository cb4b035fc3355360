"""Every method that pretrains on images, in one table and under one protocol.

Papers: those of the methods' own configs.
For: comparing methods. Each pretrains for the same steps on the same images, a
pretext task at its own pace. The frozen features are tested by kNN and by
linear probes with 5 labels a class in 10 draws, paired with raw pixels and an
untrained encoder.
Expected: `docs/images.md`.
Cost: at most 5 minutes a method and seed on 2 CPU cores.

  python -m ssljax.main --config=configs/image_methods.py:dataset=glyphs
  python -m ssljax.main --config=configs/image_methods.py:dataset=digits,seeds=3
"""

from configs import (
  byol_images,
  common,
  deepcluster_images,
  images,
  metric_images,
  moco_images,
  pretext_images,
  simclr_images,
  simsiam_images,
  supervised_images,
  swav_images,
)

# Digits are gray and too small for patches, and the print is known of glyphs.
GLYPHS_ONLY = ('pix2pix', 'cyclegan')
NOT_DIGITS = ('relative_patch', 'jigsaw', 'colorization')


def methods(options) -> dict:
  """Each method by its title, as `images.table` takes it."""
  found = {
    'SimCLR': simclr_images.SIMCLR,
    'MoCo v2': moco_images.MOCO,
    'BYOL': byol_images.BYOL,
    'SimSiam': simsiam_images.SIMSIAM,
    'SwAV': swav_images.of_dataset(options),
    'DeepCluster v1': deepcluster_images.V1,
    'DeepCluster v2': deepcluster_images.of_version(options),
  }
  for objective, title in metric_images.TITLES.items():
    found[title] = metric_images.described(objective)
  unfit = NOT_DIGITS if options.dataset == 'digits' else ()
  if options.data or options.dataset != 'glyphs':
    unfit += GLYPHS_ONLY
  for task, each in pretext_images.TASKS.items():
    if task not in unfit:
      found[each['title']] = pretext_images.described(task, options)
  return found | {'supervised, all labels': supervised_images.SUPERVISED}


def get_config(arg=None):
  """`--config=configs/image_methods.py:SCALE,dataset=NAME,seeds=1`."""
  known = images.ARGUMENTS | {'seeds': 1}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  return images.table(options, methods(options))
