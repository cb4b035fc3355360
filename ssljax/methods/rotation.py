"""Rotation (RotNet, arXiv 1803.07728): by which angle was the image turned?

A batch contains all turns of each image, as in the paper (section 3.1), so that
only the angle distinguishes one class of images from another.
"""

import flax.linen as nn
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain, unpadded
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.heads import Classifier


def rotation(
  encoder: nn.Module,
  *,
  views: Views | None = None,
  turns: int = 4,
  axis_name: str | None = None,
) -> Method:
  """Classifies by which angle an image was turned (eq. 2).

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    views: `(key, images, index, widths) -> views`, one pair of (images,
      columns). None trains on plain images.
    turns: 4 (multiples of 90 degrees), or 2 (upright and upside down) for
      images that are not square. Turned by 180 degrees, some characters look
      the same (0, 8) or become other characters (6, 9), but a line of text as a
      whole still shows whether it is upside down.
    axis_name: the axis of the devices; unused, because the loss is a mean over
      examples and the encoder itself shares its batch statistics.

  Raises:
    UserError: `turns` is neither 2 nor 4; or, on the first step, `turns` is 4
      and the images are not square.
  """
  del axis_name
  if turns not in (2, 4):
    raise UserError(
      f'Found {turns} turns; expected 4, or 2 for images that are not square. '
      'Set method.turns.'
    )
  parts = {'encoder': encoder, 'head': Classifier(turns, pooled=True)}

  def turned(images):
    """All turns of all images, angle by angle, and their classes."""
    if turns == 4 and images.shape[1] != images.shape[2]:
      raise UserError(
        f'Found images of {images.shape[1]}x{images.shape[2]} pixels for 4 '
        'rotations; expected square images. Set method.turns=2.'
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
