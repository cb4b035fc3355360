"""SimCLR (arXiv 2002.05709), on images and on sequences (SeqCLR, 2012.10873).

Two views of an image, one encoder and projector; each instance of one view
must find itself among the instances of the other.
"""

import jax
import jax.numpy as jnp

from ssljax import losses
from ssljax.augment.text import plain
from ssljax.core import Method


def simclr(
  encoder,
  projector,
  *,
  views,
  instances,
  temperature: float = 0.1,
  negatives: str = 'batch',
  axis_name: str | None = None,
) -> Method:
  """The article's SimCLR: project, pool into instances, symmetric InfoNCE.

  Args:
    encoder: module, `(batch, height, width, 3)` to `(batch, time, d)`.
    projector: module called with `train` and `mask`.
    views: `(key, images, index, widths)` to two pairs of (images, columns).
    instances: `(projections, columns) -> rows, weights`, applied last.
    temperature: of the loss.
    negatives: 'batch', as in the papers: the instances of all images on all
      devices. 'image': only those of the same image, which share its style
      and so leave what is written as the one thing to tell them apart.
    axis_name: the devices whose instances are negatives.
  """

  def init(key, batch):
    encoder_key, projector_key = jax.random.split(key)
    images = plain(batch['image'])
    encoder_params = encoder.init(encoder_key, images)['params']
    features = encoder.apply({'params': encoder_params}, images)
    variables = projector.init(projector_key, features, train=False)
    params = {'encoder': encoder_params, 'projector': variables['params']}
    return params, {
      'batch_stats': {'projector': variables.get('batch_stats', {})}
    }

  def loss(params, method_state, batch, key, step):
    del step
    widths = batch.get('width')
    first, second = views(key, batch['image'], batch['index'], widths)
    images, columns = jax.tree.map(
      lambda a, b: jnp.concatenate((a, b)), first, second
    )
    features = encoder.apply({'params': params['encoder']}, images)
    projections, updated = projector.apply(
      {
        'params': params['projector'],
        'batch_stats': method_state['batch_stats']['projector'],
      },
      features,
      train=True,
      mask=columns >= 0,
      mutable=['batch_stats'],
    )
    rows, weights = instances(projections, columns)
    a, b = jnp.split(rows, 2)
    # A row counts where both views show it.
    weights = jnp.prod(jnp.stack(jnp.split(weights, 2)), axis=0)
    groups = None
    if negatives == 'image':
      groups = jnp.repeat(batch['index'], len(a) // len(batch['index']))
    options = {'weights': weights, 'groups': groups, 'axis_name': axis_name}
    value = losses.info_nce(a, b, temperature=temperature, **options)
    accuracy, chance = losses.retrieval_accuracy(a, b, **options)
    metrics = {
      'retrieval': accuracy,
      'retrieval_chance': chance,
      **losses.feature_spread(jax.lax.stop_gradient(features)),
    }
    state = {'batch_stats': {'projector': updated.get('batch_stats', {})}}
    return value, (state, metrics)

  def encode(params, method_state, images):
    del method_state
    return encoder.apply({'params': params['encoder']}, plain(images))

  return Method(init=init, loss=loss, encode=encode)
