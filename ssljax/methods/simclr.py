"""SimCLR (arXiv 2002.05709), on images and on sequences (SeqCLR, 2012.10873).

Two views of an image, one encoder and projector; each instance of one view
must find itself among the instances of the other.
"""

import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks


def simclr(
  encoder,
  projector,
  *,
  views,
  instances,
  temperature: float = 0.1,
  contrast: str = 'info_nce',
  negatives: str = 'batch',
  axis_name: str | None = None,
) -> Method:
  """Project, pool into instances, contrast.

  Args:
    encoder: module, images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`. Both views go through
      encoder and projector as one batch, as in the paper's code.
    views: `(key, images, index, widths)` to two pairs of (images, columns).
    instances: `(projections, columns) -> rows, weights`, applied last.
    temperature: of the loss.
    contrast: 'info_nce', the article's, whose negatives are the other view's
      instances, or 'nt_xent', the paper's (eq. 1), with both views'.
    negatives: 'batch', as in the papers: the instances of all images on all
      devices. 'image': only those of the same image, which share its style
      and so leave what is written as the one thing to tell them apart;
      for 'info_nce'.
    axis_name: the devices whose instances are negatives.
  """
  parts = {'encoder': encoder, 'projector': projector}

  def init(key, batch):
    params, statistics = networks.init(parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    shown = views(key, batch['image'], batch['index'], batch.get('width'))
    a, b, weights, features, statistics = networks.pair(
      parts, params, method_state['batch_stats'], shown, instances
    )
    options = {'weights': weights, 'axis_name': axis_name}
    if negatives == 'image':
      options['groups'] = jnp.repeat(
        batch['index'], len(a) // len(batch['index'])
      )
    function = getattr(losses, contrast)
    value = function(a, b, temperature=temperature, **options)
    accuracy, chance = losses.retrieval_accuracy(a, b, **options)
    # Of all devices before the logarithm; 0 where no row counts.
    chance = parallel.mean(chance, axis_name)
    chance = jnp.where(chance > 0, chance, 1)
    # NT-Xent has 2N - 1 candidates where InfoNCE has N.
    candidates = 1 / chance if contrast == 'info_nce' else 2 / chance - 1
    metrics = {
      'retrieval': accuracy,
      'retrieval_chance': chance,
      'loss_at_chance': jnp.log(candidates),
      **losses.feature_spread(jax.lax.stop_gradient(features)),
    }
    return value, ({'batch_stats': statistics}, metrics)

  return Method(init=init, loss=loss, encode=encoding(encoder))
