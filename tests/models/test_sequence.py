"""The encoder: its convolution, its frames, and what it must not hold."""

import math

import jax
import jax.numpy as jnp
import making
import numpy as np
import pytest
from jax import lax

from configs import simclr_ocr
from ssljax import build
from ssljax.methods.recognize import recognize
from ssljax.models.convolution import conv_general_dilated
from ssljax.models.sequence import CtcHead, SequenceEncoder, positions

TINY = {'channels': (8, 8), 'width': 16, 'layers': 1, 'heads': 2}
WAVES = (math.sin, math.cos)
DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def _agree(size, window, strides, padding, **options):
  """Values and both gradients, of the product and of XLA's convolution."""
  rng = np.random.default_rng(0)
  groups = options.get('feature_group_count', 1)
  inputs = rng.normal(size=(2, *size, 4)).astype(np.float32)
  kernel = rng.normal(size=(*window, 4 // groups, 6)).astype(np.float32)

  def outputs(convolution):
    def loss(inputs, kernel):
      y = convolution(
        inputs,
        kernel,
        strides,
        padding,
        dimension_numbers=DIMENSIONS,
        **options,
      )
      return jnp.sum(jnp.sin(y)), y

    grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, y), grads = jax.jit(grad)(inputs, kernel)
    return y, grads

  mine, theirs = (
    outputs(conv_general_dilated),
    outputs(lax.conv_general_dilated),
  )
  for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(
  ('size', 'window', 'strides', 'padding'),
  [
    ((16, 32), (3, 3), (2, 2), 'SAME'),
    ((15, 31), (3, 3), (2, 2), 'SAME'),  # Odd sizes pad on both sides.
    ((16, 32), (3, 3), (2, 1), 'SAME'),
    ((9, 10), (5, 2), (3, 2), 'VALID'),
    ((8, 12), (8, 3), (1, 1), ((0, 0), (1, 1))),  # The column convolution.
    ((8, 12), (3, 4), (1, 3), ((2, 0), (0, 3))),
    ((4, 6), (1, 1), (2, 3), 'SAME'),
  ],
)
def test_patches_times_kernel_is_the_convolution(
  size, window, strides, padding
):
  _agree(size, window, strides, padding)


@pytest.mark.parametrize(
  'options',
  [
    {'rhs_dilation': (2, 1)},
    {'lhs_dilation': (2, 2)},
    {'feature_group_count': 2},
  ],
)
def test_what_the_product_does_not_do_is_left_to_xla(options):
  _agree((8, 12), (3, 3), (1, 1), ((1, 1), (1, 1)), **options)


def _shapes(encoder, height, width):
  images = jnp.zeros((2, height, width, 3))

  def run(key):
    variables = encoder.init(key, images)
    return variables, encoder.apply(variables, images)

  return jax.eval_shape(run, jax.random.key(0))


def test_the_tiny_encoder():
  encoder = SequenceEncoder(**TINY)
  variables, features = _shapes(encoder, 16, 32)
  assert encoder.stride == 4
  assert features.shape == (2, 8, 16)
  assert features.dtype == jnp.float32
  # No BatchNorm (rule 30), whose statistics padded columns would poison.
  assert set(variables) == {'params'}


@pytest.mark.parametrize('scale', ['smoke', 'laptop', 'article'])
def test_frames_are_enough_for_six_characters_with_repeats(scale):
  """CTC needs a frame a character and one between two that are equal."""
  config = simclr_ocr.get_config(scale)
  encoder = build.encoder(config)
  _, features = _shapes(encoder, config.data.height, config.data.width)
  assert features.shape[1] == config.data.width // encoder.stride
  assert features.shape[1] == making.frames(config)
  length = config.data.max_length
  assert length == 6
  assert features.shape[1] >= length + (length - 1)


def test_a_width_that_the_stride_does_not_divide():
  config = simclr_ocr.get_config('laptop')
  config.data.width = 98
  _, features = _shapes(build.encoder(config), 32, 98)
  assert features.shape[1] == making.frames(config) == 25


def test_bfloat16_computes_and_float32_stays():
  encoder = SequenceEncoder(**TINY, dtype=jnp.bfloat16)
  variables, features = _shapes(encoder, 16, 32)
  assert features.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


def test_a_frame_looks_where_its_column_says():
  """Around x = stride * (t + 1/2); views call that the frame's source x.

  'SAME' pads even sizes at the right only, so it is 1.5 pixels further on,
  in either view alike.
  """
  encoder = SequenceEncoder(**TINY | {'layers': 0})

  @jax.jit
  def reach(key):
    images = jax.random.normal(key, (1, 16, 48, 3))
    variables = encoder.init(key, images)

    def frame(images):
      return encoder.apply(variables, images)[0, 6] @ jnp.arange(16.0)

    return jnp.abs(jax.grad(frame)(images)).sum(axis=(0, 1, 3))

  weights = sum(np.asarray(reach(jax.random.key(seed))) for seed in range(16))
  # GroupNorm gives every pixel a little weight; the near ones have most.
  weights = np.maximum(weights - np.quantile(weights, 0.7), 0)
  centre = weights @ (np.arange(48) + 0.5) / weights.sum()
  assert abs(centre - 6.5 * encoder.stride - 1.5) < 0.75


@pytest.mark.parametrize('told', [False, True])
def test_the_order_of_frames_matters_to_an_encoder_with_positions(told):
  """Without positions the transformer is equivariant to the order of frames.

  Two pictures far from each other and from the border trade places. The blank
  frame at the border shows the same as before.
  """
  encoder = SequenceEncoder(**TINY, positions=told)
  key = jax.random.key(0)
  pictures = jax.random.normal(key, (2, 1, 16, 8, 3))
  blank = jnp.zeros((1, 16, 96, 3))
  one, other = (
    blank.at[:, :, 28:36].set(pictures[a]).at[:, :, 60:68].set(pictures[b])
    for a, b in ((0, 1), (1, 0))
  )
  variables = jax.jit(encoder.init)(key, one)
  run = jax.jit(encoder.apply)
  (found,), (traded,) = run(variables, one), run(variables, other)
  back = jnp.concatenate([traded[:4], traded[12:20], traded[4:12], traded[20:]])
  for frames in (slice(None), slice(0, 1)):
    change = jnp.abs(found - back)[frames].max()
    assert change > 1e-2 if told else change < 1e-5


def test_positions_are_those_of_the_paper():
  found = positions(50, 6)
  for t in (0, 1, 49):
    expected = [
      wave(t / 10_000 ** (2 * i / 6)) for i in range(3) for wave in WAVES
    ]
    np.testing.assert_allclose(found[t], expected, atol=1e-6)


def _padded(images, width):
  """Images with a border on the right, and which frames show the image."""
  rest = width - images.shape[2]
  padded = jnp.pad(images, ((0, 0), (0, 0), (0, rest), (0, 0)), mode='edge')
  shown = jnp.arange(-(-width // 4)) < -(-images.shape[2] // 4)
  return padded, jnp.broadcast_to(shown, (len(images), len(shown)))


@pytest.mark.parametrize('told', [False, True])
@pytest.mark.parametrize('width', [48, 45, 96])
def test_features_do_not_depend_on_the_padding(width, told):
  """A picture of 96 pixels, which needs none, is compared without a mask."""
  encoder = SequenceEncoder(**TINY | {'layers': 2}, positions=told)
  images = jax.random.normal(jax.random.key(0), (2, 16, width, 3))
  key = jax.random.key(1)
  variables = jax.jit(encoder.init)(key, images)
  apply, frames = jax.jit(encoder.apply), -(-width // 4)

  def features(wide):
    padded, shown = _padded(images, wide)
    found = apply(variables, padded, mask=shown)
    assert (np.asarray(found)[:, frames:] == 0).all()
    return found[:, :frames]

  expected = apply(variables, images) if width == 96 else features(96)
  assert np.abs(expected).max() > 1
  for wide in (112, 160):
    np.testing.assert_allclose(features(wide), expected, atol=1e-5)


def test_what_a_mask_hides_has_no_gradient_and_no_effect():
  """Also a span in the middle, and an image of which nothing is shown."""
  encoder = SequenceEncoder(**TINY, positions=True)
  key = jax.random.key(0)
  images = jax.random.normal(key, (2, 16, 48, 3))
  variables = jax.jit(encoder.init)(key, images)
  shown = jnp.ones((2, 12), bool).at[0, 4:7].set(False).at[1].set(False)

  def loss(variables, images):
    features = encoder.apply(variables, images, mask=shown)
    return jnp.sum(jnp.sin(features)), features

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (_, features), (grads, pixels) = grad(variables, images)
  for leaf in jax.tree.leaves((features, grads, pixels)):
    assert np.isfinite(leaf).all()
  hidden = ~shown.repeat(4, axis=1)
  reached = jnp.abs(pixels).max(axis=(1, 3)) > 0
  np.testing.assert_array_equal(reached, ~hidden)
  other = jnp.where(hidden[:, None, :, None], 100.0, images)
  (_, same), _ = grad(variables, other)
  np.testing.assert_array_equal(same, features)
  np.testing.assert_array_equal(features[~shown], 0)


def test_without_a_mask_nothing_is_masked():
  """Images without padding pay nothing, and all frames shown change nothing."""
  encoder = SequenceEncoder(**TINY)
  images = jax.random.normal(jax.random.key(0), (2, 16, 46, 3))
  variables = encoder.init(jax.random.key(0), images)
  program = jax.jit(encoder.apply).lower(variables, images).as_text()
  assert 'select' not in program
  every = jnp.ones((2, 12), bool)
  np.testing.assert_allclose(
    encoder.apply(variables, images, mask=every),
    encoder.apply(variables, images),
    atol=1e-5,
  )


def test_the_head_of_ctc():
  """Two fully connected layers, to raw float32 logits."""
  head = CtcHead(11, hidden=8, dtype=jnp.bfloat16)
  x = jnp.ones((2, 5, 4))

  def run(key):
    variables = head.init(key, x)
    return variables, head.apply(variables, x)

  variables, logits = jax.eval_shape(run, jax.random.key(0))
  assert set(variables['params']) == {'Dense_0', 'Dense_1'}
  assert logits.shape == (2, 5, 11)
  assert logits.dtype == jnp.float32


def _standardized(frozen, *, start=None, rows=64, standardize=True):
  """(method, params, state before, state after) of steps on masked frames."""
  method = recognize(
    SequenceEncoder(**TINY | {'layers': 0}),
    CtcHead(5, 8, standardize=standardize),
    freeze=('encoder',) if frozen else (),
  )
  rng = np.random.default_rng(0)
  batch = {
    'image': rng.integers(0, 256, (rows, 16, 32, 3)).astype(np.uint8),
    'index': np.arange(rows, dtype=np.int32),
    'label': np.ones((rows, 2), np.int32),
    'width': rng.integers(1, 33, rows).astype(np.int32),
  }
  params, before = jax.jit(method.init)(jax.random.key(0), batch)
  before = start or before

  @jax.jit
  def step(state):
    return method.loss(params, state, batch, jax.random.key(0), 0)[1][0]

  after = before
  for _ in range(100):
    after = step(after)
  return method, params, batch, before, after


def test_a_head_standardises_the_frames_that_are_shown():
  """To mean 0 and deviation 1, whatever the frames of padding hold."""
  method, params, batch, _, state = _standardized(frozen=True)
  found = state['batch_stats']['head']['BatchNorm_0']
  features = np.asarray(
    method.encode(params, state, batch['image'], batch['width'])
  )
  shown = np.arange(features.shape[1]) < -(-batch['width'][:, None] // 4)
  assert 0.2 < shown.mean() < 0.8
  rows = np.float64(features[shown])
  np.testing.assert_allclose(found['mean'], rows.mean(axis=0), atol=1e-3)
  np.testing.assert_allclose(found['var'], rows.var(axis=0), atol=1e-3)
  # A head behind them sees that: its logits are those of standard features.
  rows = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)
  assert np.abs(rows.std(axis=0) - 1).max() < 1e-2
  bare = {'params': params['head']}
  expected = CtcHead(5, 8).apply(bare, jnp.float32(rows[None]))[0]
  logits = method.predict(params, state, batch['image'], batch['width'])
  np.testing.assert_allclose(logits[shown], expected, atol=2e-2)


def test_standardising_stays_fixed_while_the_encoder_trains():
  *_, learned = _standardized(frozen=True)
  *_, before, after = _standardized(frozen=False, start=learned)
  for a, b in zip(
    jax.tree.leaves(before['batch_stats']),
    jax.tree.leaves(after['batch_stats']),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


def test_a_head_that_standardises_has_the_same_params():
  """And without it, no statistics; at the start they change nothing."""
  method, params, batch, state, after = _standardized(True, standardize=False)
  other, same, _, started, _ = _standardized(True)
  assert not jax.tree.leaves(state) and not jax.tree.leaves(after)
  jax.tree.map(np.testing.assert_array_equal, params, same)
  np.testing.assert_allclose(
    method.predict(params, state, batch['image']),
    other.predict(same, started, batch['image']),
    atol=1e-4,
  )
