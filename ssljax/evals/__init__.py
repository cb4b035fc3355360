"""Evaluations: what a trained encoder is worth, as numbers."""

from ssljax.evals.reading import figures, read
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
  'Samples',
  'bootstrap',
  'character_error_rate',
  'edit_distance_accuracy',
  'exact_match',
  'figures',
  'per_sample',
  'read',
  'report',
]
