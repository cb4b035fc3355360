"""Supervised reading from scratch: the baseline of the article.

Paper: the article's first row; the reader is trained by CTC (Graves, 2006).
For: what the labels alone are worth. Its stage is the stage `supervised` of
`simclr_ocr.py`, with the labelled steps of the head and of finetuning together.
Expected at `laptop`: the row 'supervised, same labelled steps' of the README.
Cost at `laptop`: about 2 minutes on 2 CPU cores.

  python -m ssljax.main --config=configs/supervised_ocr.py:laptop
"""

from configs import simclr_ocr, text


def get_config(arg=None):
  """`--config=configs/supervised_ocr.py:SCALE,data=DIR,charset=NAME`."""
  config = simclr_ocr.get_config(arg)
  rows = {name: (labels, stages) for labels, name, stages in config.rows}
  labels, stages = rows[text.SAME]
  config.rows = ((labels, 'supervised', stages),)
  config.recipe, config.differences = ('supervised',), ()
  config.product = 'supervised'
  for name in {'pretrain', 'head', 'finetune'} & set(config):
    del config[name]
  return config
