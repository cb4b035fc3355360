"""Autoencoders (Vincent et al., 2010): what was the picture before?

Without corruption the picture must fit through the features; with noise, salt
and pepper, or masked blocks the clean one has to be found again.
"""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.corruption import corrupt
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import drawing, encoding
from ssljax.models import networks


def autoencoder(
  encoder,
  decoder,
  *,
  corruption: str = 'noise',
  amount: float = 0.5,
  block: int = 8,
  axis_name: str | None = None,
) -> Method:
  """Mean squared error to the clean picture.

  The clean picture is `batch['clean']` where the data has one (the print behind
  a noisy image), and the image itself elsewhere.

  Args:
    encoder: module that sows its maps.
    decoder: module, features and maps to a picture.
    corruption: 'none', 'noise', 'mask' or 'salt'; see
      `ssljax.augment.corruption`.
    amount: of it.
    block: side of a masked block.
    axis_name: the devices that share the batch statistics.
  """
  del axis_name  # a mean over the examples, and statistics are the encoder's
  parts = {'encoder': encoder, 'decoder': decoder}

  def pair(key, batch):
    images = plain(batch['image'])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch['index'])
    spoiled = corrupt(keys, images, kind=corruption, amount=amount, block=block)
    return spoiled, plain(batch['clean']) if 'clean' in batch else images

  def init(key, batch):
    params, statistics = networks.init_drawing(
      parts, key, plain(batch['image'])
    )
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    spoiled, clean = pair(key, batch)
    pictures, features, statistics = networks.draw(
      parts, params, method_state['batch_stats'], spoiled, train=True
    )
    metrics = {
      'psnr': losses.psnr(pictures, clean).mean(),
      **losses.feature_spread(features),
    }
    value = jnp.square(pictures - clean).mean()
    return value, ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    spoiled, clean = pair(key, batch)
    pictures, _, _ = networks.draw(
      parts, params, method_state['batch_stats'], spoiled, train=False
    )
    return losses.compared(spoiled, pictures, clean)

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=drawing(parts),
    examine=examine,
  )
