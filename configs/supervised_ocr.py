"""Supervised reading from scratch: the baseline of the article.

Expected at `laptop`: the row 'supervised, same labelled steps' of the README.

  python -m ssljax.main --config=configs/supervised_ocr.py:laptop
"""

from configs import common, simclr_ocr


def get_config(arg=None):
  """`--config=configs/supervised_ocr.py:SCALE`."""
  scale = common.parse_arg(arg).scale
  config = simclr_ocr.base(scale)
  config.supervised = simclr_ocr.stages(scale)['supervised']
  config.recipe = ('supervised',)
  labels = simclr_ocr.label_set(config.supervised, config.data)
  config.rows = ((labels, 'supervised', ('supervised',)),)
  return config
