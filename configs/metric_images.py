"""Metric learning on images: pairs, triplets or N-pairs; labels are optional.

Papers: Hadsell et al. 2006 (`objective=margin`), FaceNet, arXiv 1503.03832
(`triplet`), Sohn 2016 (`n_pair`).
For: the losses that contrastive learning began with. The positive of an image
is its other view and its negatives are the rest of the batch; with
`labelled=True` the classes decide both.
Expected on `glyphs` and `digits`: `docs/images.md`. No paper has these losses
without labels on CIFAR or ImageNet, which are trained as by the other methods.
Cost, data sets, options and evaluation: those of `simclr_images.py`.

  python -m ssljax.main --config=configs/metric_images.py
  python -m ssljax.main --config=configs/metric_images.py:objective=n_pair
"""

from configs import images
from configs.simclr_images import SIMCLR

OBJECTIVES = {
  'margin': {'name': 'metric', 'objective': 'margin', 'margin': 1.0},
  'triplet': {'name': 'metric', 'objective': 'triplet', 'margin': 0.2},
  'n_pair': {'name': 'metric', 'objective': 'n_pair', 'l2': 3e-3},
}
TITLES = {'margin': 'margin pairs', 'triplet': 'triplets', 'n_pair': 'N-pairs'}


def described(objective: str, labelled: bool = False) -> dict:
  """SimCLR's heads and views with another loss."""
  method = OBJECTIVES[objective] | {'labelled': labelled}
  return {form: made | {'method': method} for form, made in SIMCLR.items()}


def of_objective(options) -> dict:
  return described(options.objective, options.labelled)


def get_config(arg=None):
  """`--config=configs/metric_images.py:SCALE,objective=NAME,labelled=True`."""
  title, further = 'metric learning ({objective})', {'labelled': False}
  return images.recipe(arg, title, of_objective, objective='triplet', **further)
