"""Evaluations: figures that tell how good a trained encoder is."""

from ssljax.evals.knn import knn
from ssljax.evals.linear import linear_probe
from ssljax.evals.outputs import outputs
from ssljax.evals.pictures import embed
from ssljax.evals.probe import probe_optimizer, with_probe
from ssljax.evals.reading import (
  Outputs,
  Read,
  figures,
  joined,
  outputs_of_text,
  read,
  read_outputs,
  readings,
)
from ssljax.evals.representation import (
  Features,
  comparable,
  evaluate,
  paired,
  proportion,
)
from ssljax.evals.subsets import per_class, share
from ssljax.evals.text_metrics import (
  Samples,
  bootstrap,
  character_error_rate,
  edit_distance_accuracy,
  exact_match,
  per_sample,
  report,
)

__all__ = [
  'Features',
  'Outputs',
  'Read',
  'Samples',
  'bootstrap',
  'character_error_rate',
  'comparable',
  'edit_distance_accuracy',
  'embed',
  'evaluate',
  'exact_match',
  'figures',
  'joined',
  'knn',
  'linear_probe',
  'outputs',
  'outputs_of_text',
  'paired',
  'per_class',
  'per_sample',
  'probe_optimizer',
  'proportion',
  'read',
  'read_outputs',
  'readings',
  'report',
  'share',
  'with_probe',
]
