"""CycleGAN (arXiv 1703.10593): from noisy images to plain print, without pairs.

One generator draws plain print from noisy images, a second generator draws
noisy images from plain print, and each domain has a critic. Each generator must
recover the input of the other generator from the other generator's output.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.pixels import plain_and_clean
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import drawing, encoding
from ssljax.methods._players import play
from ssljax.models import networks

KIND = 'least_squares'  # the adversarial losses, as in the paper (section 4)


def cyclegan(
  encoder: nn.Module,
  decoder: nn.Module,
  critic: nn.Module,
  *,
  cycle: float = 10.0,
  identity: float = 0.5,
  pool: int = 50,
  axis_name: str | None = None,
) -> Method:
  """Adversarial, cycle and identity losses (eq. 1 to 3, section 5.2).

  `batch['image']` holds noisy images, and `batch['clean']` holds the print of
  other images. All players learn from the same step; see `_players`. Later
  stages use the encoder of the generator from noisy to clean ('encoder'). The
  generator from clean to noisy has the same modules with params of its own.

  State: 'pool' holds earlier drawn pictures of each domain. In half of the
  cases a critic sees a picture of the pool instead of the newest picture
  (section 4). 'filled' is the number of places in use. The state is the same on
  every device.

  Args:
    encoder: module that sows its feature maps.
    decoder: module from features and maps to a picture.
    critic: module from pictures to logits.
    cycle: weight of the cycle loss; the adversarial losses have weight 1.
    identity: weight of the identity loss, as a factor of `cycle`.
    pool: places for pictures of each domain, at least as many as all devices
      draw per step.
    axis_name: the axis of the devices that share the pool.

  Raises:
    UserError: when the state is initialised, for data without clean pictures or
      with clean pictures of another size than the images; on the first step,
      for a pool with fewer places than pictures per step.
  """
  there = {'encoder': encoder, 'decoder': decoder}
  predict = drawing(there)
  back = {'reverse_encoder': encoder, 'reverse_decoder': decoder}

  def init(key, batch):
    keys = jax.random.split(key, 4)
    images, clean = plain_and_clean(batch, kind='other')
    params, statistics = networks.init_drawing(there, keys[0], images)
    more = networks.init_drawing(back, keys[1], clean)
    critics = {
      'critic': critic.init(keys[2], clean)['params'],
      'reverse_critic': critic.init(keys[3], images)['params'],
    }
    empty = jnp.zeros((pool, *images.shape[1:]))
    return {**params, **more[0], **critics}, {
      'batch_stats': {**statistics, **more[1]},
      'pool': {'clean': empty, 'noisy': empty},
      'filled': jnp.zeros((), jnp.int32),
    }

  def loss(params, method_state, batch, key, step):
    del step
    noisy, clean = plain_and_clean(batch, kind='other')
    statistics = method_state['batch_stats']

    def draw(parts, images):
      return networks.draw(parts, params, statistics, images, train=True)

    # Only these two passes renew the batch statistics, because inference meets
    # inputs of their kind.
    made_clean, features, forth = draw(there, noisy)
    made_noisy, _, reverse = draw(back, clean)
    cycled = (
      jnp.abs(draw(back, made_clean)[0] - noisy).mean()
      + jnp.abs(draw(there, made_noisy)[0] - clean).mean()
    )
    value, metrics = cycle * cycled, {'cycle': cycled}
    if identity:
      kept = (
        jnp.abs(draw(there, clean)[0] - clean).mean()
        + jnp.abs(draw(back, noisy)[0] - noisy).mean()
      )
      value += identity * cycle * kept
    stored = {}
    for name, player, made, real in (
      ('clean', 'critic', made_clean, clean),
      ('noisy', 'reverse_critic', made_noisy, noisy),
    ):
      own = {'params': params[player]}
      stored[name], shown = exchange(
        method_state['pool'][name],
        method_state['filled'],
        jax.lax.stop_gradient(made),
        key,
        batch['index'],
      )
      part, figures = play(
        critic.apply, own, made, real, shown=shown, kind=KIND
      )
      value += part
      metrics |= {f'{figure}_{name}': x for figure, x in figures.items()}
    rows = len(noisy) * parallel.size(axis_name)
    renewed = {
      name: (forth if name in there else reverse)[name] for name in statistics
    }
    state = {
      'batch_stats': renewed,
      'pool': stored,
      'filled': jnp.minimum(method_state['filled'] + rows, pool),
    }
    return value, (state, metrics | losses.feature_spread(features))

  def exchange(stored, filled, made, key, index):
    """The pool with new pictures in it, and the pictures shown to the critic.

    While the pool has room, each new picture is stored and shown. Once the pool
    is full, half of the new pictures replace older pictures in the pool, and
    the critic is shown the older pictures instead. Whether a picture is in this
    half depends on the key of the step and on the index of the example. Which
    places it replaces depends on the key alone.
    """
    local = len(made)
    made, index = (parallel.gather(x, axis_name) for x in (made, index))
    rows = len(made)
    if rows > pool:
      raise UserError(
        f'Found {rows} pictures per step for a pool of {pool}; expected a pool '
        f'of {rows} or more. Lower batch_size or raise method.pool.'
      )
    flip_key, place_key = jax.random.split(key)
    flip = jax.vmap(
      lambda each: jax.random.bernoulli(jax.random.fold_in(flip_key, each))
    )(index)[:, None, None, None]
    full = filled >= pool
    # Places past the end of the pool are dropped. The places of one step always
    # differ, so that no two pictures are written to the same place.
    fresh = filled + jnp.arange(rows)
    places = jax.random.permutation(place_key, pool)[:rows]
    places = jnp.where(full, places, fresh)
    old = stored[jnp.minimum(places, pool - 1)]
    shown = jnp.where(full & flip, old, made)
    kept = jnp.where(full & ~flip, old, made)
    first = local * parallel.rank(axis_name)
    own = jax.lax.dynamic_slice_in_dim(shown, first, local)
    return stored.at[places].set(kept, mode='drop'), own

  def examine(params, method_state, batch, key):
    del key
    images, clean = plain_and_clean(batch, kind='other')
    made = predict(params, method_state, batch['image'])
    return losses.compared(images, made, clean)

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=predict,
    examine=examine,
  )
