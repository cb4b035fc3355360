"""pix2pix (arXiv 1611.07004): from noisy images to their print, with pairs."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain_and_clean
from ssljax.core import Method
from ssljax.methods._inference import drawing, encoding
from ssljax.methods._players import play
from ssljax.models import networks


def pix2pix(
  encoder: nn.Module,
  decoder: nn.Module,
  critic: nn.Module,
  *,
  l1: float = 100.0,
  axis_name: str | None = None,
) -> Method:
  """L1 loss, and a critic that sees both pictures of a pair (eq. 1, 3 and 4).

  A pair is an image of `batch['image']` and its print in `batch['clean']`. Both
  players learn from the same step; see `_players`. The paper uses dropout as
  noise and reports that it changes the pictures little. There is no noise here.

  Args:
    encoder: module that sows its feature maps, the first half of the U-Net.
    decoder: module from features and maps to a picture.
    critic: module from pairs to logits; the two pictures of a pair are
      concatenated along the channels.
    l1: weight of the L1 loss; the adversarial loss has weight 1.
    axis_name: the axis of the devices; unused, because the loss is a mean over
      examples and the encoder itself shares its batch statistics.

  Raises:
    UserError: the data has no clean pictures, or clean pictures of another size
      than the images; raised when the state is initialised.
  """
  del axis_name
  parts = {'encoder': encoder, 'decoder': decoder}
  predict = drawing(parts)

  def init(key, batch):
    draw_key, critic_key = jax.random.split(key)
    images, clean = plain_and_clean(batch, kind='own')
    params, statistics = networks.init_drawing(parts, draw_key, images)
    both = jnp.concatenate([images, clean], axis=-1)
    params['critic'] = critic.init(critic_key, both)['params']
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del key, step
    images, clean = plain_and_clean(batch, kind='own')
    made, features, statistics = networks.draw(
      parts, params, method_state['batch_stats'], images, train=True
    )

    def judge(own, pictures):
      both = jnp.concatenate([images, pictures], axis=-1)
      return critic.apply({'params': own}, both)

    value, metrics = play(judge, params['critic'], made, clean)
    content = jnp.abs(made - clean).mean()
    metrics |= {
      'content': content,
      'psnr': losses.psnr(made, clean).mean(),
      **losses.feature_spread(features),
    }
    return value + l1 * content, ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    del key
    images, clean = plain_and_clean(batch, kind='own')
    made = predict(params, method_state, batch['image'])
    return losses.compared(images, made, clean)

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=predict,
    examine=examine,
  )
