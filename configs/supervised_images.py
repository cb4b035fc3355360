"""Supervised training on images, with all labels or a share of them.

The upper end of the tables: what the labels alone are worth. Data sets and
costs are those of `simclr_images.py`. `share=0.1` takes a tenth of each class,
stratified, and contained in every larger share.

  python -m ssljax.main --config=configs/supervised_images.py
  python -m ssljax.main --config=configs/supervised_images.py:share=0.01
"""

from configs import common, simclr_images


def get_config(arg=None):
  """`--config=configs/supervised_images.py:SCALE,dataset=NAME,share=1.0`."""
  known = simclr_images.ARGUMENTS | {'share': 1.0}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  config = simclr_images.base(options)
  config.supervised = simclr_images.labelled(config.data.name, options.scale)
  config.supervised.data.update(per_class=None, share=options.share)
  if options.take:
    config.supervised.take.encoder = options.take
  if options.scale == 'laptop':
    config.supervised.steps = 800
  config.recipe = ('supervised',)
  config.rows = ((f'supervised, {options.share:.0%}', ('supervised',)),)
  config.baselines = ()
  config.product = 'supervised'
  return config
