"""Metric learning on images: pairs, triplets or N-pairs; labels are optional.

Papers: Hadsell et al. 2006 (`objective=margin`), FaceNet, arXiv 1503.03832
(`triplet`), Sohn 2016 (`n_pair`). Positives are two views of an image,
negatives come from the batch; `labelled=True` takes both from the classes. Data
sets, recipes, commands and costs are those of `simclr_images.py`, and so is the
evaluation. No paper has these without labels on CIFAR or ImageNet: there they
run with the other recipes' optimizers.

  python -m ssljax.main --config=configs/metric_images.py
  python -m ssljax.main --config=configs/metric_images.py:objective=n_pair
"""

from configs import simclr_images
from configs.simclr_images import SIMCLR

OBJECTIVES = {
  'margin': {'name': 'metric', 'objective': 'margin', 'margin': 1.0},
  'triplet': {'name': 'metric', 'objective': 'triplet', 'margin': 0.2},
  'n_pair': {'name': 'metric', 'objective': 'n_pair', 'l2': 3e-3},
}
TITLES = {'margin': 'margin pairs', 'triplet': 'triplets', 'n_pair': 'N-pairs'}


def of_objective(options) -> dict:
  """SimCLR's heads and views with another loss."""
  labelled = {'labelled': options.get('labelled', False)}
  method = OBJECTIVES[options.objective] | labelled
  return {kind: made | {'method': method} for kind, made in SIMCLR.items()}


def get_config(arg=None):
  """`--config=configs/metric_images.py:SCALE,objective=NAME,labelled=True`."""
  return simclr_images.recipe(
    arg,
    'metric learning ({objective})',
    of_objective,
    objective='triplet',
    labelled=False,
  )
