"""CycleGAN (arXiv 1703.10593): noisy images to plain print, without pairs.

Two generators, one each way, and two critics. What a generator makes, the other
one must turn back.
"""

import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.pixels import plain_and_clean
from ssljax.core import Method
from ssljax.errors import UserError
from ssljax.methods._inference import drawing, encoding
from ssljax.methods._players import play
from ssljax.models import networks

KIND = 'least_squares'  # as the paper's code, section 4


def cyclegan(
  encoder,
  decoder,
  critic,
  *,
  cycle: float = 10.0,
  identity: float = 0.5,
  pool: int = 50,
  axis_name: str | None = None,
) -> Method:
  """Adversarial, cycle and identity parts (eq. 1 to 3, section 5.2).

  `batch['image']` holds images of one domain, `batch['clean']` the print of
  other images. All players move at once; see `_players`. The encoder that is
  kept is the one from noisy to clean; the networks of the way back have the
  same shape.

  State: 'pool', the last made pictures of either domain, which the critics see
  instead of the newest in half of the cases (section 4), and 'filled', how many
  there are. It is the same on every device.

  Args:
    encoder: module that sows its maps.
    decoder: module, features and maps to a picture.
    critic: module, pictures to logits.
    cycle: weight of the cycle part.
    identity: weight of the identity part, times `cycle`.
    pool: pictures kept; at least those of a step over all devices.
    axis_name: the devices that share the pool and the batch statistics.

  Raises:
    UserError: data without clean pictures, or of another size; a pool smaller
      than a step's pictures.
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

    # Statistics are kept of these two alone, whose kind inference meets.
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
    """The pool with new pictures in it, and what the critic is shown.

    While there is room a picture is stored and shown. Later half of them are
    stored in the place of older ones, which are shown in their stead. Which
    half hangs on an example's index, and the places on the step.
    """
    local = len(made)
    made, index = (parallel.gather(x, axis_name) for x in (made, index))
    rows = len(made)
    if rows > pool:
      raise UserError(
        f'Found {rows} pictures a step for a pool of {pool}; expected at least '
        'as many places. Lower batch_size or set method.pool.'
      )
    flip_key, place_key = jax.random.split(key)
    flip = jax.vmap(
      lambda each: jax.random.bernoulli(jax.random.fold_in(flip_key, each))
    )(index)[:, None, None, None]
    full = filled >= pool
    # Fresh places past the end are dropped; all are different either way.
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
