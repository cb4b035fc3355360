"""pix2pix (arXiv 1611.07004): from a noisy image to its print, by pairs."""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.pixels import plain_and_clean
from ssljax.core import Method
from ssljax.methods._inference import drawing, encoding
from ssljax.methods._players import play
from ssljax.models import networks


def pix2pix(
  encoder,
  decoder,
  critic,
  *,
  l1: float = 100.0,
  axis_name: str | None = None,
) -> Method:
  """L1 and a critic that sees both sides of a pair (eq. 1, 3 and 4).

  The pair is `batch['image']` and `batch['clean']`. Both players move at
  once; see `_players`. The paper's noise is dropout,
  which it found to be ignored; there is none here.

  Args:
    encoder: module that sows its maps, the first half of the U-Net.
    decoder: module, features and maps to a picture.
    critic: module, pairs beside one another in the channels to logits.
    l1: weight of the L1 part beside the adversarial part's 1.
    axis_name: the devices that share the batch statistics.

  Raises:
    UserError: data without clean pictures, or of another size than the images.
  """
  del axis_name  # means over examples; statistics are the encoder's
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
