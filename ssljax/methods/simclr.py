"""SimCLR (arXiv 2002.05709), on images and on sequences (SeqCLR, 2012.10873).

Two views of each image pass through one encoder and one projector. Each
instance of one view must find itself among the instances of the other view.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods._inference import encoding
from ssljax.models import networks
from ssljax.models.instances import Instances


def simclr(
  encoder: nn.Module,
  projector: nn.Module,
  *,
  views: Views,
  instances: Instances,
  temperature: float = 0.1,
  contrast: str = 'info_nce',
  negatives: str = 'batch',
  axis_name: str | None = None,
) -> Method:
  """Projects features, pools them into instances and contrasts instances.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    projector: module called with `train` and `mask`. Both views pass through
      the encoder and the projector as one batch, as in the paper's code.
    views: `(key, images, index, widths) -> views`, two pairs of (images,
      columns).
    instances: `(projections, columns) -> rows, weights`, applied after the
      projector.
    temperature: divides the cosines in the loss.
    contrast: 'info_nce' is the loss of the SeqCLR article; its negatives are
      instances of the other view. 'nt_xent' is the loss of the SimCLR paper
      (eq. 1); its negatives are instances of both views.
    negatives: 'batch' takes the instances of all images on all devices, as in
      the papers. 'image' takes only the instances of the same image. These
      share the style of the image, so that only their content tells them apart.
      'image' needs the contrast 'info_nce'.
    axis_name: the axis of the devices whose instances are negatives.
  """
  parts = {'encoder': encoder, 'projector': projector}

  def init(key, batch):
    params, statistics = networks.init(parts, key, plain(batch['image']))
    return params, {'batch_stats': statistics}

  def loss(params, method_state, batch, key, step):
    del step
    both = views(key, batch['image'], batch['index'], batch.get('width'))
    a, b, weights, features, statistics = networks.pair(
      parts, params, method_state['batch_stats'], both, instances
    )
    options = {'weights': weights, 'axis_name': axis_name}
    if negatives == 'image':
      options['groups'] = jnp.repeat(
        batch['index'], len(a) // len(batch['index'])
      )
    function = getattr(losses, contrast)
    value = function(a, b, temperature=temperature, **options)
    accuracy, chance = losses.retrieval_accuracy(a, b, **options)
    # The mean over devices is taken before the logarithm. It is 0 if no row
    # counts.
    chance = parallel.mean(chance, axis_name)
    chance = jnp.where(chance > 0, chance, 1)
    # InfoNCE has N candidates for each row, NT-Xent has 2N - 1.
    candidates = 1 / chance if contrast == 'info_nce' else 2 / chance - 1
    metrics = {
      'retrieval': accuracy,
      'retrieval_chance': chance,
      'loss_at_chance': jnp.log(candidates),
      **losses.feature_spread(
        jax.lax.stop_gradient(features), networks.shown(both)
      ),
    }
    return value, ({'batch_stats': statistics}, metrics)

  return Method(init=init, loss=loss, encode=encoding(encoder))
