"""Losses: arrays to a scalar, without parameters and without state."""

from ssljax.losses.asymmetric import negative_cosine
from ssljax.losses.contrastive import info_nce, nt_xent, retrieval_accuracy
from ssljax.losses.rows import normalize, weighted_mean

__all__ = [
  'info_nce',
  'negative_cosine',
  'normalize',
  'nt_xent',
  'retrieval_accuracy',
  'weighted_mean',
]
