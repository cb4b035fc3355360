"""Evaluations: what a trained encoder is worth, as numbers."""

from ssljax.evals.text_metrics import (
  bootstrap,
  character_error_rate,
  edit_distance_accuracy,
  exact_match,
  per_sample,
  report,
)

__all__ = [
  'bootstrap',
  'character_error_rate',
  'edit_distance_accuracy',
  'exact_match',
  'per_sample',
  'report',
]
