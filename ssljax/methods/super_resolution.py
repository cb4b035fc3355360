"""Super-resolution (SRGAN, arXiv 1609.04802): enlarge a small image."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import encoding
from ssljax.methods._players import play
from ssljax.models import networks


def super_resolution(
  encoder: nn.Module,
  decoder: nn.Module,
  critic: nn.Module,
  *,
  factor: int = 4,
  adversarial: float = 0.001,
  axis_name: str | None = None,
) -> Method:
  """Content and adversarial losses (eq. 3, 4 and 6).

  The content loss is the mean squared error of the pixels (eq. 4). The distance
  between VGG features (eq. 5) is not used, because nothing here is trained on
  ImageNet. The network sees the bicubic enlargement of the small image and
  draws the difference that is added to the enlargement.

  Both players learn from the same step; see `_players`.

  Args:
    encoder: module that sows its feature maps.
    decoder: module from features and maps to a picture.
    critic: module from pictures to logits.
    factor: each side of the small image is the image's side divided by this
      factor.
    adversarial: weight of the generator's adversarial loss; the content loss
      has weight 1.
    axis_name: the axis of the devices; unused, because the loss is a mean over
      examples and the encoder itself shares its batch statistics.

  Raises:
    UserError: the factor does not divide both sides of the images; raised when
      the state is initialised.
  """
  del axis_name
  parts = {'encoder': encoder, 'decoder': decoder}

  def pair(batch):
    """The bicubic enlargements of the small images, and the images."""
    images = plain(batch['image'])
    batch_size, height, width, channels = images.shape
    if height % factor or width % factor:
      raise UserError(
        f'Found images of {height}x{width} pixels to make {factor} times '
        'smaller; expected a number that divides both sides. Set '
        'method.factor.'
      )
    small = (batch_size, height // factor, width // factor, channels)
    small = jax.image.resize(images, small, 'cubic')
    large = jax.image.resize(small, images.shape, 'cubic')
    return jnp.clip(large, -1, 1), images

  def enlarged(params, statistics, given, train):
    pictures, features, statistics = networks.draw(
      parts, params, statistics, given, train=train
    )
    return given + pictures, features, statistics

  def init(key, batch):
    draw_key, critic_key = jax.random.split(key)
    given, images = pair(batch)
    params, statistics = networks.init_drawing(parts, draw_key, given)
    params['critic'] = critic.init(critic_key, images)['params']
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del key, step
    given, images = pair(batch)
    made, features, statistics = enlarged(
      params, method_state['batch_stats'], given, True
    )
    content = jnp.square(made - images).mean()
    own = {'params': params['critic']}
    value, metrics = play(critic.apply, own, made, images, weight=adversarial)
    metrics |= {
      'content': content,
      'psnr': losses.psnr(made, images).mean(),
      **losses.feature_spread(features),
    }
    return content + value, ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    del key
    given, images = pair(batch)
    made, _, _ = enlarged(params, method_state['batch_stats'], given, False)
    return losses.compared(given, made, images)

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
