"""Super-resolution (SRGAN, arXiv 1609.04802): what did the small image show?"""

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
  encoder,
  decoder,
  critic,
  *,
  factor: int = 4,
  adversarial: float = 0.001,
  axis_name: str | None = None,
) -> Method:
  """Content and adversarial parts (eq. 3, 4 and 6).

  The content part is the pixels' mean squared error (eq. 4), not the distance
  of VGG's features (eq. 5), as nothing here is trained on ImageNet. The network
  sees the bicubic enlargement and draws what is to be added to it.

  Both players move at once; see `_players`.

  Args:
    encoder: module that sows its maps.
    decoder: module, features and maps to a picture.
    critic: module, pictures to logits.
    factor: by which each side is made smaller; it divides both.
    adversarial: weight of the critic's opinion beside the content's 1.
    axis_name: the devices that share the batch statistics.

  Raises:
    UserError: a factor that does not divide the image's sides.
  """
  del axis_name  # means over examples; statistics are the encoder's
  parts = {'encoder': encoder, 'decoder': decoder}

  def pair(batch):
    """The bicubic enlargement of the small image, and the image."""
    images = plain(batch['image'])
    batch_size, height, width, channels = images.shape
    if height % factor or width % factor:
      raise UserError(
        f'Found images of {height}x{width} pixels to make {factor} times '
        'smaller; expected a factor of both sides. Set method.factor.'
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
