"""Inpainting (context encoder, arXiv 1604.07379): what stood in the hole?"""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.corruption import hole
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.methods._players import play
from ssljax.models import networks


def inpainting(
  encoder,
  decoder,
  critic,
  *,
  share: float = 0.4,
  adversarial: float = 0.001,
  axis_name: str | None = None,
) -> Method:
  """L2 inside the hole and an adversarial part (eq. 1 to 3).

  Both players move at once; see `_players`.

  The critic judges the whole picture with the hole filled in, and not the hole
  alone as the paper's: a patch of it sees the seam.

  Args:
    encoder: module that sows its maps.
    decoder: module, features and maps to a picture.
    critic: module, pictures to logits.
    share: of each side that the hole takes.
    adversarial: weight of the critic's opinion beside the L2 part's 1.
    axis_name: the devices that share the batch statistics.
  """
  del axis_name  # means over examples; statistics are the encoder's
  parts = {'encoder': encoder, 'decoder': decoder}

  def torn(key, batch):
    """Pictures with the mean of the rest in the hole, whole ones, the hole."""
    images = plain(batch['image'])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch['index'])
    inside = hole(keys, images.shape[1:3], share=share)
    rest = images * (1 - inside)
    seen = (1 - inside).sum(axis=(1, 2), keepdims=True)
    mean = rest.sum(axis=(1, 2), keepdims=True) / seen
    return rest + inside * mean, images, inside

  def filled(params, statistics, given, inside, train):
    """What the decoder draws is added to the mean; the encoder sees gray."""
    pictures, features, statistics = networks.draw(
      parts, params, statistics, given * (1 - inside), train=train
    )
    return given + inside * pictures, features, statistics

  def init(key, batch):
    draw_key, critic_key = jax.random.split(key)
    images = plain(batch['image'])
    params, statistics = networks.init_drawing(parts, draw_key, images)
    params['critic'] = critic.init(critic_key, images)['params']
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    given, images, inside = torn(key, batch)
    made, features, statistics = filled(
      params, method_state['batch_stats'], given, inside, True
    )
    error = jnp.square(made - images).mean()
    content = error / inside.mean()  # every hole is of one size
    own = {'params': params['critic']}
    value, metrics = play(critic.apply, own, made, images, weight=adversarial)
    metrics |= {
      'content': content,
      'psnr': losses.psnr(made, images).mean(),
      **losses.feature_spread(features),
    }
    return content + value, ({'batch_stats': statistics}, metrics)

  def examine(params, method_state, batch, key):
    given, images, inside = torn(key, batch)
    made, _, _ = filled(
      params, method_state['batch_stats'], given, inside, False
    )
    return losses.compared(given, made, images)

  return Method(init=init, loss=loss, encode=encoding(encoder), examine=examine)
