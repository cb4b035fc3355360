"""Losses: pure functions of arrays, without parameters and without state."""

from ssljax.losses.asymmetric import negative_cosine
from ssljax.losses.clustering import sinkhorn, swapped_prediction
from ssljax.losses.contrastive import info_nce, nt_xent, retrieval_accuracy
from ssljax.losses.criteria import Criterion, cross_entropy, ctc
from ssljax.losses.metric import margin_contrastive, n_pair, triplet
from ssljax.losses.pictures import (
  adversarial,
  classification,
  compared,
  psnr,
  two_players,
)
from ssljax.losses.queue import info_nce_queue, queue_accuracy
from ssljax.losses.rows import feature_spread, normalize, weighted_mean

__all__ = [
  'Criterion',
  'adversarial',
  'classification',
  'compared',
  'cross_entropy',
  'ctc',
  'feature_spread',
  'info_nce',
  'info_nce_queue',
  'margin_contrastive',
  'n_pair',
  'negative_cosine',
  'normalize',
  'nt_xent',
  'psnr',
  'queue_accuracy',
  'retrieval_accuracy',
  'sinkhorn',
  'swapped_prediction',
  'triplet',
  'two_players',
  'weighted_mean',
]
