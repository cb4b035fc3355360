"""Colourisation (arXiv 1603.08511): predict the colours of a gray image."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ssljax import losses, parallel
from ssljax.augment import lab
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.errors import UserError, check_known
from ssljax.methods._inference import encoding
from ssljax.models import networks

FORMS, DECODINGS = ('bins', 'l1', 'l2'), ('annealed', 'top')
# Images count as coloured if the largest and the smallest channel of a pixel
# differ by at least this value of 255, on average.
LEAST = 2.0


def check(batch: Mapping[str, np.ndarray]) -> None:
  """Refuses images without colours.

  Args:
    batch: examples as NumPy arrays, with uint8 images at 'image'.

  Raises:
    UserError: the images are gray.
  """
  images = np.asarray(batch['image'], np.float32)
  spread = float((images.max(axis=-1) - images.min(axis=-1)).mean())
  if spread < LEAST:
    raise UserError(
      f'Found gray images, whose channels differ by {spread:.1f} of 255 on '
      f'average; expected {LEAST:.0f} or more, because colourisation learns '
      'from colours. Use another method, or images in colour.'
    )


def colorization(
  encoder: nn.Module,
  decoder: nn.Module,
  *,
  form: str = 'bins',
  balance: float = 0.5,
  memory: float = 0.99,
  decoding: str = 'annealed',
  axis_name: str | None = None,
) -> Method:
  """Predicts the ab of each pixel from L, as a distribution or as a value.

  The distribution is over 313 bins of ab (eq. 2). Soft encoding shares a colour
  among its five nearest bins. Rare colours count more, because the weight of a
  pixel is one over the share of its colour, mixed with uniform shares (eq. 4).
  The paper takes the shares from ImageNet beforehand. Here the shares are a
  moving average over the batches, `method_state['shares']`.

  Args:
    encoder: module that sows its feature maps. Its three input channels all
      hold L.
    decoder: module from features and maps to one map of 313 or 2 channels. Each
      side of this map is the image's side divided by the decoder's `scale`.
    form: 'bins' predicts the distribution. 'l2' and 'l1' regress ab, which
      leads to the desaturated mean of all plausible colours.
    balance: share of the uniform distribution in the mix of shares (eq. 4).
    memory: decay of the moving averages per step.
    decoding: how a distribution becomes a colour: 'annealed' for the annealed
      mean, or 'top' for the mean of the five likeliest bins.
    axis_name: the axis of the devices that share the weighted mean of the loss,
      and the moving averages.
  """
  check_known('form of colourisation', form, FORMS)
  check_known('decoding', decoding, DECODINGS)
  channels = lab.BINS if form == 'bins' else 2
  decoder = decoder.clone(channels=channels)
  parts, side = {'encoder': encoder, 'decoder': decoder}, decoder.scale

  def split(images):
    """L in the encoder's range of values, then L and ab of the images."""
    colours = lab.to_lab((images + 1) / 2)
    light = colours[..., :1]
    return light / 50 - 1, light, colours[..., 1:]

  def coarse(chroma):
    """The mean colour of each square of `scale` by `scale` pixels."""
    batch, height, width, _ = chroma.shape
    if height % side or width % side:
      raise UserError(
        f'Found images of {height}x{width} pixels and a decoder.scale of '
        f'{side}; expected a scale that divides both sides. Set decoder.scale.'
      )
    blocks = (batch, height // side, side, width // side, side, 2)
    return chroma.reshape(blocks).mean(axis=(2, 4))

  def counted(batch):
    """1 for pixels that the figures count: the print if known, else all."""
    if 'clean' in batch:
      return (plain(batch['clean'])[..., 0] < 0).astype(jnp.float32)
    return jnp.ones(batch['image'].shape[:3])

  def init(key, batch):
    gray, _, _ = split(plain(batch['image']))
    params, statistics = networks.init_drawing(parts, key, gray)
    state = {'batch_stats': statistics, 'mean': jnp.zeros(2)}
    if form == 'bins':
      state['shares'] = jnp.full(lab.BINS, 1 / lab.BINS)
    return params, state

  def loss(params, method_state, batch, key, step):
    del key, step
    gray, _, chroma = split(plain(batch['image']))
    target = coarse(chroma)
    outputs, features, statistics = networks.draw(
      parts, params, method_state['batch_stats'], gray, train=True
    )
    looked = counted(batch).reshape(-1)
    both = [
      losses.weighted_mean(each, looked, axis_name)
      for each in chroma.reshape(-1, 2).T
    ]
    mean = parallel.mean(jnp.stack(both), axis_name)
    mean = memory * method_state['mean'] + (1 - memory) * mean
    state = {**method_state, 'batch_stats': statistics, 'mean': mean}
    metrics = losses.feature_spread(features)
    if form != 'bins':
      error = (outputs - target) / lab.GRID
      each = jnp.abs(error) if form == 'l1' else jnp.square(error)
      return each.mean(), (state, metrics)
    codes = lab.soft_encode(target)
    seen = parallel.mean(codes.mean(axis=(0, 1, 2)), axis_name)
    shares = memory * method_state['shares'] + (1 - memory) * seen
    state['shares'] = shares
    weights = _balanced(shares, balance)
    # The weight of a pixel is the weight of the likeliest bin of its colour.
    likeliest = codes == codes.max(axis=-1, keepdims=True)
    each = (likeliest * weights).max(axis=-1)
    values = optax.softmax_cross_entropy(outputs, codes)
    return losses.weighted_mean(
      values.reshape(-1), each.reshape(-1), axis_name
    ), (state, metrics | {'loss_at_chance': jnp.log(1.0 * lab.BINS)})

  def gray(images):
    return split(plain(images))[0]

  def colours(params, method_state, images):
    """The predicted ab of each pixel, then L and ab of the images."""
    gray, light, chroma = split(images)
    outputs, _, _ = networks.draw(
      parts, params, method_state['batch_stats'], gray, train=False
    )
    if form == 'bins':
      decode = lab.annealed_mean if decoding == 'annealed' else lab.top_mean
      outputs = decode(outputs)
    shape = (*chroma.shape[:3], 2)
    return jax.image.resize(outputs, shape, 'linear'), light, chroma

  def examine(params, method_state, batch, key):
    """Mean distances in ab, over the print alone where the data knows it."""
    del key
    found, light, chroma = colours(params, method_state, plain(batch['image']))
    looked = counted(batch)

    def distance(ab):
      each = jnp.sqrt(jnp.square(ab - chroma).sum(-1))
      return (each * looked).sum((1, 2)) / jnp.maximum(looked.sum((1, 2)), 1)

    flat = jnp.zeros_like(chroma)
    pictures = {
      name: lab.to_rgb(jnp.concatenate([light, ab], axis=-1))
      for name, ab in (('input', flat), ('output', found), ('target', chroma))
    }
    figures = {
      'colour_error': distance(found),
      # A guess that ignores the image: the mean colour of the training images.
      'colour_error_of_mean': distance(method_state['mean']),
      'colour_error_of_gray': distance(flat),
    }
    return figures, pictures

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder, prepare=gray),
    examine=examine,
  )


def _balanced(
  shares: Float[Array, 'bins'], balance: float
) -> Float[Array, 'bins']:
  """A weight for each bin; the mean over the seen colours is 1 (eq. 4)."""
  weights = 1 / ((1 - balance) * shares + balance / len(shares))
  return weights / (shares * weights).sum()
