"""Supervised reading from scratch: the baseline of the article.

Paper: the article's first row; the reader is trained by CTC (Graves, 2006).
For: what the labels alone are worth. At `laptop` its steps cost about what the
whole recipe of `simclr_ocr.py` costs on rendered images.
Expected at `laptop`: the row 'supervised, equal compute' of the README.
Cost at `laptop`: about 4 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/supervised_ocr.py:laptop
"""

from configs import simclr_ocr, text

STEPS = {'smoke': 16, 'laptop': 6800}


def get_config(arg=None):
  """`--config=configs/supervised_ocr.py:SCALE,data=DIR,charset=NAME`."""
  config = simclr_ocr.get_config(arg)
  rows = {name: (labels, stages) for labels, name, stages in config.rows}
  labels, stages = rows[text.EQUAL]
  config.rows = ((labels, 'supervised', stages),)
  config.recipe, config.differences = ('supervised',), ()
  config.product = 'supervised'
  if config.scale in STEPS:
    config.supervised.steps = STEPS[config.scale]
  else:  # the article's epochs
    config.supervised.epochs = 50
  config.supervised.match_compute = ()
  for name in {'pretrain', 'head', 'finetune', 'self_train'} & set(config):
    del config[name]
  return config
