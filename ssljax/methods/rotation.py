"""Rotation (RotNet, arXiv 1803.07728): by which turn does the image stand?

All turns of an image are in one batch, as in the paper (section 3.1), so that
no other difference between images tells them.
"""

import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain, unpadded
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Classifier


def rotation(
  encoder, *, views=None, turns: int = 4, axis_name: str | None = None
) -> Method:
  """Classifies the turn of an image (eq. 2).

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    views: `(key, images, index, widths)` to one view; None learns from plain
      images.
    turns: 4, by 90 degrees each; or 2, upright and upside down, where an image
      is not square. On text 180 degrees leave some characters what they are
      (0, 8) or make others (6, 9); a line as a whole still tells.
    axis_name: the devices that share the mean and the batch statistics.

  Raises:
    UserError: another number of turns, or four of images that are not square.
  """
  if turns not in (2, 4):
    raise UserError(f'Found {turns} turns; expected 4, or 2 of lines of text.')
  parts = {'encoder': encoder, 'head': Classifier(turns, pooled=True)}

  def turned(images):
    """All turns of all images; those by one angle are one after another."""
    if turns == 4 and images.shape[1] != images.shape[2]:
      raise UserError(
        f'Found images of {images.shape[1]}x{images.shape[2]} pixels for 4 '
        'rotations; expected square ones. Set method.turns=2.'
      )
    quarters = range(0, 4, 4 // turns)
    made = [jnp.rot90(images, each, axes=(1, 2)) for each in quarters]
    return jnp.concatenate(made), jnp.arange(turns).repeat(len(images))

  def init(key, batch):
    params, statistics = networks.init(parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    shown = unpadded(batch)
    images = plain(shown)
    if views is not None:
      ((images, _),) = views(key, shown, batch['index'], None)
    images, labels = turned(images)
    outputs, statistics = networks.apply(
      parts, params, method_state['batch_stats'], images, train=True
    )
    values, hits = losses.classification(outputs['head'], labels)
    metrics = {
      'accuracy': hits.mean(),
      'loss_at_chance': jnp.log(1.0 * turns),
      **losses.feature_spread(outputs['encoder']),
    }
    return values.mean(), ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    del key
    images, labels = turned(plain(unpadded(batch)))
    outputs, _ = networks.apply(
      parts, params, method_state['batch_stats'], images, train=False
    )
    _, hits = losses.classification(outputs['head'], labels)
    return {'accuracy': hits.reshape(turns, -1).mean(axis=0)}, {}

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
