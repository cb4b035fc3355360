"""What a step of training is compiled from: no work that nobody needs."""

import functools

import jax
import making
import numpy as np
import pytest

from configs import simclr_images, simclr_ocr
from ssljax import core

CONFIGS = {'text': simclr_ocr, 'images': simclr_images}
LOOPS = ('while', 'scan')
PRODUCTS = ('conv_general_dilated', 'dot_general')


def _products(jaxpr, looped=False):
  """Of each convolution or matrix product, its name and whether in a loop."""
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name in PRODUCTS:
      yield name, looped
    parts = jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr'),
    )
    for part in parts:
      part = getattr(part, 'jaxpr', part)
      if hasattr(part, 'eqns'):
        yield from _products(part, looped or name in LOOPS)


def _batch(config):
  data, size = config.data, 8
  batch = {
    'image': np.zeros((size, data.height, data.width, 3), np.uint8),
    'index': np.arange(size, dtype=np.int32),
    'labelled': np.arange(size) < 4,
  }
  if 'charset' in data:
    batch['label'] = np.ones((size, 6), np.int32)
    batch['width'] = np.full(size, data.width, np.int32)
  else:
    batch['label'] = np.arange(size, dtype=np.int32) % 10
  return batch


@pytest.fixture(scope='module', params=CONFIGS)
def traced(request):
  """Of each stage of a recipe, its step and its encoder as jaxprs."""
  config = CONFIGS[request.param].get_config('smoke')
  if 'height' not in config.data:
    config.data.height = config.data.width = config.data.size
  batch, found = _batch(config), {}
  for name in config.recipe:
    parts = {
      'method': making.method(config, name),
      'optimizer': making.optimizer(config, name, steps=4),
    }
    create = functools.partial(core.create_state, **parts)
    state = jax.eval_shape(create, jax.random.key(0), batch)
    step = functools.partial(core.train_step, **parts, axis_name=None)
    encode = parts['method'].encode
    found[name] = tuple(
      list(_products(jaxpr.jaxpr))
      for jaxpr in (
        jax.make_jaxpr(step)(state, batch),
        jax.make_jaxpr(encode)(
          state.params, state.method_state, batch['image']
        ),
      )
    )
  return found


def test_no_convolution_stands_in_a_loop(traced):
  """On CPU it would be eight times slower there (jax#12868)."""
  for name, (step, _) in traced.items():
    assert ('conv_general_dilated', True) not in step, name


def test_a_frozen_encoder_is_not_differentiated(traced):
  """Each of its products would have two more, for weights and for inputs."""
  if 'head' not in traced:
    return  # a probe of images is no step of the same network
  (head, encoder), (whole, _) = traced['head'], traced['finetune']
  assert len(head) == len(whole) - 2 * len(encoder)


def test_a_teacher_only_reads(traced):
  """It adds one forward pass, and its head of at most two layers."""
  (taught, encoder), (plain, _) = traced['self_train'], traced['finetune']
  assert 0 < len(taught) - len(plain) - len(encoder) <= 2
