"""Supervised training on images, with all labels or a share of them.

Paper: none; softmax cross-entropy on the labels.
For: the upper end of the tables, which is what the labels alone are worth.
`share=0.1` takes a tenth of each class; every larger share contains it.
Expected on `glyphs` and `digits`: `docs/images.md`.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/supervised_images.py
  python -m ssljax.main --config=configs/supervised_images.py:share=0.01
"""

from configs import common, images, simclr_images

# The same as a method that pretrains: in a table, with all labels.
METHOD = {'method': {'name': 'supervised'}, 'views': {'count': 1}}
SUPERVISED = {
  'small': METHOD,
  'cifar': METHOD,
  'imagenet': simclr_images.SIMCLR['imagenet'] | METHOD,
}


def get_config(arg=None):
  """`--config=configs/supervised_images.py:SCALE,dataset=NAME,share=1.0`."""
  known = images.ARGUMENTS | {'share': 1.0}
  options = common.parse_arg(arg, scales=('smoke', 'laptop'), **known)
  config = images.base(options)
  config.supervised = images.labelled(config.data.name, options.scale)
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
