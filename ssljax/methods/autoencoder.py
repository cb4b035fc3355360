"""Autoencoders (Vincent et al., 2010): recover a picture from a corrupted one.

Without corruption, the task is to compress the picture into the features. With
noise, salt and pepper, or masked blocks, the task is to restore the clean
picture.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.corruption import corrupt
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import drawing, encoding
from ssljax.models import networks


def autoencoder(
  encoder: nn.Module,
  decoder: nn.Module,
  *,
  corruption: str = 'noise',
  amount: float = 0.5,
  block: int = 8,
  axis_name: str | None = None,
) -> Method:
  """Learns to draw the clean picture, with the mean squared error as loss.

  The clean picture is `batch['clean']` if the data has clean pictures (the
  plain print of a noisy image). Otherwise it is the image itself.

  Args:
    encoder: module that sows its feature maps.
    decoder: module from features and maps to a picture.
    corruption: 'none', 'noise', 'mask' or 'salt'; see
      `ssljax.augment.corruption`.
    amount: how strong the corruption is; see `corrupt`.
    block: side of a masked block, in pixels.
    axis_name: the axis of the devices; unused, because the loss is a mean over
      examples and the encoder itself shares its batch statistics.
  """
  del axis_name
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
