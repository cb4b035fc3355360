"""Inpainting (context encoder, arXiv 1604.07379): fill a hole in a picture."""

import flax.linen as nn
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
  encoder: nn.Module,
  decoder: nn.Module,
  critic: nn.Module,
  *,
  share: float = 0.4,
  adversarial: float = 0.001,
  axis_name: str | None = None,
) -> Method:
  """L2 loss inside the hole and an adversarial loss (eq. 1 to 3).

  Both players learn from the same step; see `_players`.

  The paper's critic judges the content of the hole alone. Here the critic
  judges the whole picture with the hole filled in, because it then also sees
  the seam around the hole.

  Args:
    encoder: module that sows its feature maps.
    decoder: module from features and maps to a picture.
    critic: module from pictures to logits.
    share: the part of each side that the hole covers.
    adversarial: weight of the generator's adversarial loss; the L2 loss has
      weight 1.
    axis_name: the axis of the devices; unused, because the loss is a mean over
      examples and the encoder itself shares its batch statistics.
  """
  del axis_name
  parts = {'encoder': encoder, 'decoder': decoder}

  def torn(key, batch):
    """Pictures with a hole, the whole pictures, and a mask of the hole.

    The hole is filled with the mean colour of the rest of the picture.
    """
    images = plain(batch['image'])
    _, height, width, _ = images.shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch['index'])
    inside = hole(keys, (height, width), share=share)
    rest = images * (1 - inside)
    seen = (1 - inside).sum(axis=(1, 2), keepdims=True)
    mean = rest.sum(axis=(1, 2), keepdims=True) / seen
    return rest + inside * mean, images, inside

  def filled(params, statistics, given, inside, train):
    """Pictures with the hole filled, the features, and the new statistics.

    The encoder sees a gray hole. The decoder's output is added to the mean
    colour in the hole.
    """
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
    content = error / inside.mean()  # all holes have the same size
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
