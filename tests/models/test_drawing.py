"""The small encoder, the maps that encoders leave, decoders and critics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.errors import UserError
from ssljax.models import decoders, networks
from ssljax.models.convnet import ConvNet, shares
from ssljax.models.decoders import Decoder, Modulation, PatchCritic
from ssljax.models.pixels import Pixels
from ssljax.models.resnet import ResNet
from ssljax.models.sequence import SequenceEncoder
from ssljax.models.vit import ViT

ENCODERS = {
  'convnet': (ConvNet((8, 8), grid=3, width=16), (2, 24, 24, 3), (12, 6)),
  'resnet': (ResNet((1, 1), width=8), (2, 32, 32, 3), (16, 8, 4)),
  'sequence': (
    SequenceEncoder((8, 8), width=16, layers=0, heads=2),
    (2, 16, 32, 3),
    (8, 4),
  ),
  'vit': (ViT(width=16, layers=1, heads=2, patch=8), (2, 24, 24, 3), (3,)),
}


def _images(shape, seed=0):
  values = np.random.default_rng(seed).uniform(-1, 1, shape)
  return jnp.asarray(values, jnp.float32)


def test_the_small_encoder_sees_patches_as_well():
  encoder = ConvNet((8, 8), grid=3, width=16)
  variables = encoder.init(jax.random.key(0), _images((2, 24, 24, 3)))
  assert set(variables) == {'params'}
  assert encoder.apply(variables, _images((2, 24, 24, 3))).shape == (2, 16)
  assert encoder.apply(variables, _images((5, 10, 10, 3))).shape == (5, 16)
  gray = _images((2, 24, 24, 1))
  np.testing.assert_allclose(
    encoder.apply(variables, gray),
    encoder.apply(variables, gray.repeat(3, axis=-1)),
    atol=1e-5,
  )


@pytest.mark.parametrize('size', [2, 4, 6, 7, 16])
def test_cells_are_shared_as_a_resize_does(size):
  image = _images((2, size, 6, 3))
  np.testing.assert_allclose(
    jnp.einsum('bhwc,yh->bywc', image, shares(6, size), precision='highest'),
    jax.image.resize(image, (2, 6, 6, 3), 'linear'),
    atol=1e-6,
  )


def test_the_small_encoder_tells_places_apart():
  """Which a mean over the last map would not: the same thing elsewhere."""
  encoder = ConvNet((8, 8), grid=3, width=16)
  image = np.zeros((1, 24, 24, 3), np.float32)
  image[:, 4:8, 4:8] = 1
  moved = np.roll(image, 12, axis=(1, 2))
  variables = encoder.init(jax.random.key(0), image)
  a, b = (np.asarray(encoder.apply(variables, x)) for x in (image, moved))
  assert np.abs(a - b).max() > 0.1


@pytest.mark.parametrize('name', ENCODERS)
@pytest.mark.parametrize(('skips', 'scale'), [(True, 1), (False, 1), (True, 4)])
def test_a_picture_of_every_encoder(name, skips, scale):
  encoder, shape, rows = ENCODERS[name]
  decoder = Decoder(width=4, skips=skips, scale=scale)
  parts = {'encoder': encoder, 'decoder': decoder}
  images = _images(shape)
  params, statistics = networks.init_drawing(parts, jax.random.key(0), images)
  _, maps, _ = networks.maps(encoder, params, statistics, images, train=False)
  assert tuple(each.shape[1] for each in maps) == rows  # fine ones first
  picture, features, _ = networks.draw(
    parts, params, statistics, images, train=True
  )
  assert picture.shape == (2, shape[1] // scale, shape[2] // scale, 3)
  assert picture.dtype == features.dtype == jnp.float32


def test_without_skips_all_passes_through_the_features():
  encoder, shape, _ = ENCODERS['convnet']
  images, others = _images(shape), _images(shape, 1)
  for skips in (True, False):
    decoder = Decoder(width=4, skips=skips)
    parts = {'encoder': encoder, 'decoder': decoder}
    params, _ = networks.init_drawing(parts, jax.random.key(0), images)
    features, maps, _ = networks.maps(encoder, params, {}, images, train=False)
    _, other, _ = networks.maps(encoder, params, {}, others, train=False)

    def drawn(maps, images, decoder=decoder, params=params, features=features):
      return decoder.apply(
        {'params': params['decoder']}, features, maps, images
      )

    same = np.allclose(drawn(maps, images), drawn(other, others), atol=1e-6)
    assert same != skips


@pytest.mark.parametrize('name', ['convnet', 'sequence'])
def test_without_skips_a_coarse_picture_is_linear_in_the_features(name):
  encoder, shape, _ = ENCODERS[name]
  images = _images(shape)
  parts = {'encoder': encoder, 'decoder': Decoder(width=4, skips=False)}
  params, _ = networks.init_drawing(parts, jax.random.key(0), images)
  features, maps, _ = networks.maps(encoder, params, {}, images, train=False)
  rest = params['decoder'] | {
    'pixels': jax.tree.map(jnp.zeros_like, params['decoder']['pixels'])
  }

  def drawn(features):
    return parts['decoder'].apply({'params': rest}, features, maps, images)

  assert drawn(features).std() > 0.1
  np.testing.assert_allclose(
    drawn(-3 * features), -3 * drawn(features), atol=1e-4
  )


def test_features_scale_what_is_laid_beside():
  """Of a line each frame its own columns; half as many frames as columns."""
  rng = np.random.default_rng(0)
  x, weights = rng.normal(size=(2, 3, 8, 5)), rng.normal(size=(7, 5))
  variables = {'params': {'Dense_0': {'kernel': weights, 'bias': np.ones(5)}}}
  image, line = rng.normal(size=(2, 7)), rng.normal(size=(2, 4, 7))
  factors = 2 + image @ weights
  np.testing.assert_allclose(
    Modulation().apply(variables, x, image),
    x * factors[:, None, None],
    rtol=1e-4,
    atol=1e-5,
  )
  factors = 2 + line @ weights  # (2, 4, 5)
  between = 0.25 * factors[:, 1] + 0.75 * factors[:, 2]
  scaled = Modulation().apply(variables, x, line)
  np.testing.assert_allclose(
    scaled[:, :, 4], x[:, :, 4] * between[:, None], rtol=1e-4, atol=1e-5
  )


def test_squares_of_pixels_find_their_places_again():
  """Also where the picture is no whole number of squares."""
  images = _images((2, 7, 10, 3))
  folded = decoders._fold(images, (2, 4), (4, 3))
  assert folded.shape == (2, 4, 3, 24)
  corner = folded[:, 1, 2].reshape(2, 2, 4, 3)[:, :, :2]
  np.testing.assert_array_equal(corner, images[:, 2:4, 8:10])
  back = decoders._unfold(folded, (2, 4))
  np.testing.assert_array_equal(back[:, :7, :10], images)
  np.testing.assert_array_equal(back[:, 7:], 0)


def test_a_picture_of_odd_size_that_begins_without_a_checkerboard():
  encoder = SequenceEncoder((8, 8), width=16, layers=0, heads=2)
  parts = {'encoder': encoder, 'decoder': Decoder(width=4)}
  images = _images((2, 17, 31, 3))
  params, _ = networks.init_drawing(parts, jax.random.key(0), images)
  picture, _, _ = networks.draw(parts, params, {}, images, train=True)
  assert picture.shape == images.shape
  squares = np.asarray(picture[:, :16, :30]).reshape(2, 8, 2, 15, 2, 3)
  np.testing.assert_array_equal(squares[:, :, 0], squares[:, :, 1])
  np.testing.assert_array_equal(squares[..., 0, :], squares[..., 1, :])
  assert squares.std() > 0.1


def test_what_cannot_be_drawn_from():
  images = _images((2, 24, 24, 3))
  parts = {'encoder': Pixels(), 'decoder': Decoder()}
  with pytest.raises(UserError, match='Pixels as the encoder'):
    networks.init_drawing(parts, jax.random.key(0), images)
  parts = {'encoder': ConvNet((8,), grid=3), 'decoder': Decoder(scale=8)}
  with pytest.raises(UserError, match=r'maps of \[12\] rows.*pictures of 3'):
    networks.init_drawing(parts, jax.random.key(0), images)


def test_a_critic_judges_each_picture_by_itself():
  critic, images = PatchCritic((8, 8)), _images((4, 16, 16, 3))
  params = critic.init(jax.random.key(0), images)
  whole = critic.apply(params, images)
  assert whole.shape == (4, 4, 4)
  np.testing.assert_allclose(
    critic.apply(params, images[:1]), whole[:1], atol=1e-5
  )
