"""Networks as ONNX compute what JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ssljax import onnx_model
from ssljax.models.convnet import ConvNet

SIZE = 20, 24


def test_the_small_encoder_of_images_converts(tmp_path):
  pytest.importorskip('jax2onnx', reason="pip install 'ssljax[export]'")
  # Maps of 5 x 6 cells become 3 x 3, which do not divide them.
  encoder = ConvNet((8, 8), grid=3, width=16)
  noise = np.random.default_rng(0)
  images = noise.integers(0, 256, (3, *SIZE, 3), np.uint8)
  shapes = jax.eval_shape(encoder.init, jax.random.key(0), images / 255.0)
  params = jax.tree.map(
    lambda each: noise.normal(0, 0.3, each.shape).astype('f'), shapes
  )

  def encode(params, state, images, widths):
    return encoder.apply(params, images.astype(jnp.float32) / 127.5 - 1)

  model = onnx_model.converted(encode, (params, {}), SIZE, 'features')
  (tmp_path / 'model.onnx').write_bytes(model)
  found = onnx_model.runner(tmp_path / 'model.onnx')
  wanted = encode(params, {}, images, None)
  # The widths are no input that it needs.
  np.testing.assert_allclose(
    found(images, np.full(3, SIZE[1], np.int32)), wanted, atol=1e-5
  )


@pytest.mark.parametrize('masked', [False, True])
def test_group_norm_is_that_of_flax(masked):
  norm = nn.GroupNorm(num_groups=4)
  keys = jax.random.split(jax.random.key(0), 3)
  x = 3 + 2 * jax.random.normal(keys[0], (2, 5, 7, 12))
  mask = None
  if masked:
    shown = np.arange(7) < np.array([[3], [7]])
    mask = jnp.broadcast_to(shown[:, None, :, None], (2, 1, 7, 12))
  variables = {
    'params': {
      'scale': jax.random.uniform(keys[1], (12,)),
      'bias': jax.random.normal(keys[2], (12,)),
    }
  }
  bound = norm.bind(variables)
  np.testing.assert_allclose(
    onnx_model.group_norm(bound, x, mask=mask),
    norm.apply(variables, x, mask=mask),
    atol=1e-5,
  )
