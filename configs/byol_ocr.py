"""BYOL on text lines, then reading with a few labels.

Paper: BYOL, arXiv 2006.07733; the heads are the article's for SimSiam. Scales,
stages, views, costs and options are those of `simclr_ocr.py`; expected:
`docs/text_methods.md`.

  python -m ssljax.main --config=configs/byol_ocr.py:laptop
"""

from configs import simclr_ocr

BYOL = {'name': 'byol', 'momentum': 0.98, 'predict': True}


def stages(scale: str) -> dict:
  """Those of `simclr_ocr`; a slower target where there are more steps."""
  momentum = 0.996 if scale in ('gpu', 'article') else 0.98
  return simclr_ocr.stages(scale, BYOL | {'momentum': momentum})


def get_config(arg=None):
  """`--config=configs/byol_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return simclr_ocr.recipe(arg, 'BYOL', stages)
