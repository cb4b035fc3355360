"""Metric learning on text lines, then reading with a few labels.

Papers: Hadsell et al. 2006 (`objective=margin`), FaceNet, arXiv 1503.03832
(`triplet`), Sohn 2016 (`n_pair`).
For: the losses that contrastive learning began with. The positive of an
instance is the same instance in the other view; its negatives are the other
instances of the batch.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/metric_ocr.py:laptop
  python -m ssljax.main --config=configs/metric_ocr.py:objective=n_pair
"""

from configs import text
from configs.metric_images import OBJECTIVES


def stages(scale: str, objective: str = 'triplet') -> dict:
  method = dict(OBJECTIVES[objective])
  if objective == 'n_pair':
    # N-pairs compare rows by their lengths too: no BatchNorm comes last.
    method['projector'] = {'name': 'mlp', 'widths': (128, 32)}
  return text.stages(scale, method)


def get_config(arg=None):
  """`--config=configs/metric_ocr.py:SCALE,objective=NAME,data=DIR,...`."""
  return text.recipe(
    arg, 'metric learning ({objective})', stages, objective='triplet'
  )
