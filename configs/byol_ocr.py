"""BYOL on text lines, then reading with a few labels.

Paper: BYOL, arXiv 2006.07733; the heads are those of the article's SimSiam.
For: learning without negatives, from a slowly moving copy of the network.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/byol_ocr.py:laptop
"""

from configs import text

BYOL = {'name': 'byol', 'momentum': 0.9, 'predict': True}


def stages(scale: str) -> dict:
  """A slower target where there are more steps; a predictor that keeps up."""
  long = scale in ('gpu', 'article')
  made = text.stages(scale, BYOL | ({'momentum': 0.996} if long else {}))
  if scale != 'article':
    made['pretrain'].optimizer.rates = {'predictor': 30.0}
  return made


def get_config(arg=None):
  """`--config=configs/byol_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'BYOL', stages)
