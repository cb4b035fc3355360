"""SimSiam on text lines, then reading with a few labels.

Paper: SimSiam, arXiv 2011.10566; heads and loss as the article has them, which
see `ssljax/models/heads.py`. Scales, stages, views, costs and options are those
of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/simsiam_ocr.py:laptop
"""

from configs import simclr_ocr

SIMSIAM = {
  'name': 'simsiam',
  'l2': 1e-3,
  'predict': True,
  'stop_gradient': True,
  'projector': {'batch_norm': True},  # of the article too
}


def get_config(arg=None):
  """`--config=configs/simsiam_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return simclr_ocr.recipe(arg, 'SimSiam', SIMSIAM)
