"""Metric learning on text lines, then reading with a few labels.

Papers: Hadsell et al. 2006 (`objective=margin`), FaceNet, arXiv 1503.03832
(`triplet`), Sohn 2016 (`n_pair`). Positives are the same instance in two views,
negatives those of the batch. Scales, stages, views, costs and options are those
of `simclr_ocr.py`; expected: `docs/text_methods.md`.

  python -m ssljax.main --config=configs/metric_ocr.py:laptop
  python -m ssljax.main --config=configs/metric_ocr.py:objective=n_pair
"""

from configs import simclr_ocr
from configs.metric_images import OBJECTIVES


def stages(scale: str, objective: str = 'triplet') -> dict:
  """Those of `simclr_ocr`; N-pairs are of rows without a last BatchNorm."""
  method = dict(OBJECTIVES[objective])
  if objective == 'n_pair':
    method['projector'] = {'name': 'mlp', 'widths': (128, 32)}
  return simclr_ocr.stages(scale, method)


def get_config(arg=None):
  """`--config=configs/metric_ocr.py:SCALE,objective=NAME,data=DIR,...`."""
  return simclr_ocr.recipe(
    arg, 'metric learning ({objective})', stages, objective='triplet'
  )
