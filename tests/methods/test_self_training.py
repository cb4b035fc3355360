"""Self-training: its loss by definition, its teacher, and its telemetry."""

import functools
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ctc_paths import all_paths

from ssljax import core, losses, parallel
from ssljax.methods.self_training import self_training
from ssljax.models.convnet import ConvNet
from ssljax.models.heads import Classifier
from ssljax.models.resnet import ResNet
from ssljax.models.sequence import CtcHead
from ssljax.text import Charset

CHARSET = Charset('abc')
ROWS, LABELLED, CLASSES = 16, 5, 4
STRIDE, FRAMES, LENGTH = 4, 5, 4
AXIS = 'devices'
SHARES = (0, 0.5, 0.3, 0.2)  # of the characters that 'text' aligns with


class Frames(nn.Module):
  """A frame's features are a Dense layer over its own pixel columns."""

  stride: int = STRIDE

  @nn.compact
  def __call__(self, images, *, train=False, mask=None):
    batch, height, width, channels = images.shape
    x = images.reshape(batch, height, width // self.stride, -1, channels)
    x = x.swapaxes(1, 2).reshape(batch, width // self.stride, -1)
    return jnp.tanh(nn.Dense(8)(x))


class Network(NamedTuple):
  encoder: nn.Module
  head: nn.Module
  criterion: losses.Criterion
  text: bool = False


NETWORKS = {
  'text': Network(Frames(), CtcHead(CHARSET.classes, 8), losses.ctc, text=True),
  # Norms of 16 values each: one of four, of variance near zero, would magnify
  # what another order of a sum rounds.
  'classes': Network(
    ConvNet((32, 32), grid=2, width=8),
    Classifier(CLASSES),
    losses.cross_entropy,
  ),
  'batch norm': Network(
    ResNet((1,), width=8, stem='cifar', zero_init=False, axis_name=AXIS),
    Classifier(CLASSES),
    losses.cross_entropy,
  ),
}
every_network = pytest.mark.parametrize('name', NETWORKS)


@functools.cache
def _method(name, axis_name=None):
  network = NETWORKS[name]
  encoder = network.encoder
  if name == 'batch norm':
    encoder = encoder.clone(axis_name=axis_name)
  return self_training(
    encoder,
    network.head,
    criterion=network.criterion,
    momentum=0.75,
    shares=SHARES if network.text else (),
    axis_name=axis_name,
  )


@functools.cache
def _batch(name):
  """The labelled rows come first, so most devices of eight have none.

  Labels of strings: one is longer than the frames of its image, and one of an
  unlabelled row is not known.
  """
  rng = np.random.default_rng(0)
  width = STRIDE * FRAMES if NETWORKS[name].text else 8
  # Of a colour in each frame, with noise: images differ more than their pixels.
  colours = rng.integers(0, 256, (ROWS, 1, width // STRIDE, 3))
  noise = rng.integers(-40, 40, (ROWS, 8, width, 3))
  images = np.clip(colours.repeat(STRIDE, axis=2) + noise, 0, 255)
  batch = {
    'image': images.astype(np.uint8),
    'index': np.arange(ROWS, dtype=np.int32),
    'labelled': np.arange(ROWS) < LABELLED,
  }
  if not NETWORKS[name].text:
    labels = rng.integers(0, CLASSES, ROWS)
    labels[[1, 9]] = -1
    return batch | {'label': labels.astype(np.int32)}
  labels = rng.integers(1, CHARSET.classes, (ROWS, LENGTH))
  labels[np.arange(LENGTH) >= rng.integers(1, 4, (ROWS, 1))] = 0
  labels[1], labels[9] = 2, 0  # four times the same needs seven frames
  widths = rng.integers(STRIDE * 2 + 1, width + 1, ROWS)
  return batch | {
    'label': labels.astype(np.int32),
    'width': widths.astype(np.int32),
  }


@functools.cache
def _state(name):
  """Params, and a state whose teacher has params and statistics of its own.

  Kernels are scaled up, so that guesses differ and are more or less certain.
  """
  method = _method(name)
  params, state = jax.jit(method.init)(jax.random.key(0), _batch(name))
  others, _ = jax.jit(method.init)(jax.random.key(1), _batch(name))
  rng = np.random.default_rng(2)

  def moved(x):
    return (x + rng.uniform(0, 0.5, x.shape)).astype(x.dtype)

  def scaled(params):
    factor = 5 if name == 'batch norm' else 2
    head = jax.tree.map(lambda x: factor * x, params['head'])
    return {**params, 'head': head}

  target = {
    'params': scaled(others),
    'batch_stats': jax.tree.map(moved, state['batch_stats']),
  }
  state = {**state, 'target': target}
  if 'alignment' in state:
    bias = jnp.float32([0, 0.5, -0.7, 0.2])
    state['alignment'] = {**state['alignment'], 'bias': bias}
  return jax.device_get((scaled(params), state))


@functools.cache
def _gradient(name):
  @jax.jit
  def call(params, state, batch):
    def loss(params, target):
      full = {**state, 'target': target}
      return _method(name).loss(params, full, batch, jax.random.key(0), 0)

    function = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, (_, metrics)), grads = function(params, state['target'])
    return value, metrics, grads

  return call


def _logits(name, params, statistics, train):
  """By the modules themselves, of plain images."""
  network, images = NETWORKS[name], _batch(name)['image']
  variables = {
    'params': params['encoder'], 'batch_stats': statistics['encoder']
  }  # fmt: skip
  encoder = network.encoder
  if name == 'batch norm':
    encoder = encoder.clone(axis_name=None)
  features, _ = encoder.apply(
    variables,
    images.astype(np.float32) / 127.5 - 1,
    train=train,
    mutable=['batch_stats'],
  )
  return np.float64(network.head.apply({'params': params['head']}, features))


def _reference(name):
  """(loss, guesses, confidence), row by row, in float64."""
  (params, state), batch = _state(name), _batch(name)
  target = state['target']
  taught = _logits(name, target['params'], target['batch_stats'], False)
  if 'alignment' in state:
    taught += np.float64(state['alignment']['bias'])
  seen = _logits(name, params, state['batch_stats'], True)
  total, guesses, confidences = 0.0, [], []
  for row in range(ROWS):
    label = batch['label'][row]
    if NETWORKS[name].text:
      shown = np.arange(FRAMES) < -(-batch['width'][row] // STRIDE)
      ((text, whole),) = CHARSET.greedy(taught[None, row], shown[None])
      confidence = whole ** (1 / len(text)) if text else 0.0
      guess = [CHARSET.characters.index(c) + 1 for c in text]
      label = guess if row >= LABELLED else [c for c in label if c]
      value = all_paths(seen[row, shown], label)
    else:
      odds, mine = (
        np.exp(each[row]) / np.exp(each[row]).sum() for each in (taught, seen)
      )
      guess, confidence = odds.argmax(), odds.max()
      label = guess if row >= LABELLED else label
      value = -np.log(mine[label]) if label >= 0 else np.inf
    weight = 1.0 if row < LABELLED else confidence
    total += weight * value if np.isfinite(value) else 0.0
    guesses.append(guess)
    confidences.append(confidence)
  return total / ROWS, guesses, np.array(confidences)


@every_network
def test_the_loss_is_the_mean_of_weight_times_loss(name):
  """Labels for some, the teacher's guess and confidence for the others."""
  value, metrics, _ = _gradient(name)(*_state(name), _batch(name))
  expected, guesses, confidence = _reference(name)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  unsure = confidence[LABELLED:]
  np.testing.assert_allclose(metrics['confidence'], unsure.mean(), rtol=1e-4)
  np.testing.assert_allclose(metrics['infeasible'], 1 / ROWS, rtol=1e-4)
  # A teacher of one guess, or as sure of all, would test little.
  assert len({str(guess) for guess in guesses[LABELLED:]}) > 1
  assert unsure.max() > 1.5 * unsure.min()


@every_network
def test_nobody_looks_at_the_label_of_an_unlabelled_example(name):
  batch, found = _batch(name), []
  unlabelled = np.flatnonzero(~batch['labelled'])
  for shift in (0, 1, 2):
    labels = batch['label'].copy()
    labels[unlabelled] = np.roll(labels[unlabelled], shift, axis=0)
    given = batch | {'label': labels}
    found.append(_gradient(name)(*_state(name), given))
  for value, metrics, grads in found[1:]:
    first, others, same = found[0]
    assert value == first
    chex.assert_trees_all_equal(grads, same)
    assert {key for key in metrics if metrics[key] != others[key]} <= {'right'}
  assert len({float(metrics['right']) for _, metrics, _ in found}) > 1
  # Those of labelled examples matter.
  labels = np.roll(batch['label'], 1, axis=0)
  value, _, _ = _gradient(name)(*_state(name), batch | {'label': labels})
  assert abs(value - found[0][0]) > 1e-3


@every_network
def test_no_gradient_reaches_the_teacher(name):
  """Although the loss depends on it."""
  params, state = _state(name)
  value, _, (own, taught) = _gradient(name)(params, state, _batch(name))
  for leaf in jax.tree.leaves(taught):
    assert not leaf.any()
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own['head']))
  target = jax.tree.map(lambda x: 1.2 * x, state['target'])
  moved = {**state, 'target': target}
  assert _gradient(name)(params, moved, _batch(name))[0] != value


@functools.cache
def _stepped(name, mapping, devices):
  """The state before and after a step of SGD, and the metrics."""
  parts = {
    'method': _method(name, None if mapping == 'jit' else AXIS),
    'optimizer': optax.sgd(1.0),
  }
  params, method_state = _state(name)
  # Copies, because a step takes the arrays that it is given.
  params, method_state = jax.tree.map(jnp.array, (params, method_state))
  state = core.TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key(0),
    params=params,
    method_state=method_state,
    opt_state=parts['optimizer'].init(params),
  )
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts),
    mapping=mapping,
    devices=jax.devices()[:devices],
    axis_name=AXIS,
  )
  after, metrics = step(state, _batch(name))
  found = after.params, after.method_state, metrics
  return jax.device_get(found)


@every_network
def test_the_teacher_follows_the_network_after_the_step(name):
  """Params and statistics alike: three quarters of its own stay."""
  _, state = _state(name)
  params, after, _ = _stepped(name, 'jit', 1)
  online = {'params': params, 'batch_stats': after['batch_stats']}
  expected = jax.tree.map(
    lambda old, new: 0.75 * old + 0.25 * new, state['target'], online
  )
  chex.assert_trees_all_close(after['target'], expected, rtol=1e-5, atol=1e-6)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), after['target'], state['target']
  )
  assert np.mean(jax.tree.leaves(moved)) > 0.9
  if name == 'batch norm':
    assert jax.tree.leaves(after['target']['batch_stats'])


def test_alignment_counts_what_the_unlabelled_are_read_as():
  """The bias of a class that is read too rarely rises; that of blank stays."""
  _, guesses, _ = _reference('text')
  read = np.concatenate(guesses[LABELLED:])
  counts = np.array([0, *((read == c).sum() for c in (1, 2, 3))])
  wanted, before = np.array(SHARES), _state('text')[1]['alignment']
  found = wanted + 0.05 * (counts / counts.sum() - wanted)
  error = np.log((wanted + 0.1 / 3) / (found + 0.1 / 3))
  bias = before['bias'] + 0.05 * error
  bias[1:] -= bias[1:].mean()
  bias[0] = 0
  after = _stepped('text', 'jit', 1)[1]['alignment']
  np.testing.assert_allclose(after['found'], found, atol=1e-6)
  np.testing.assert_allclose(after['bias'], bias, atol=1e-6)
  # With the labelled ones it would be another count.
  every = np.concatenate(guesses)
  whole = np.array([(every == c).mean() for c in (1, 2, 3)])
  assert np.abs(whole - counts[1:] / counts.sum()).max() > 0.01


def test_the_teacher_starts_as_the_network():
  """In arrays of its own, because a step donates both."""
  method = _method('batch norm')
  create = functools.partial(
    core.create_state, method=method, optimizer=optax.sgd(1.0)
  )
  params, state = _state('batch norm')
  found = jax.jit(create)(
    jax.random.key(3),
    _batch('batch norm'),
    params=params,
    batch_stats=state['target']['batch_stats'],
  )
  chex.assert_trees_all_equal(
    jax.device_get(found.method_state['target']),
    {'params': params, 'batch_stats': state['target']['batch_stats']},
  )


@pytest.mark.parametrize(
  ('name', 'mapping'),
  [*((name, 'shard_map') for name in NETWORKS), ('text', 'pmap')],
)
def test_one_device_and_eight_agree(name, mapping):
  """All labelled rows are on three devices; SGD at 1 shows each gradient."""
  one, several = _stepped(name, 'jit', 1), _stepped(name, mapping, 8)
  chex.assert_trees_all_close(several[:2], one[:2], rtol=0, atol=1e-5)
  for key, value in one[2].items():
    np.testing.assert_allclose(
      several[2][key], value, rtol=1e-4, atol=1e-6, err_msg=key
    )


# Rows by hand. The digits are classes of frames; '?' is a frame that may be
# anything, which reads as blank and has a probability of a quarter.
HAND = (
  # labelled, frames, label
  (True, '1', 'a'),
  (True, '1102', 'ab'),
  (True, '33', 'b'),
  (False, '11', 'a'),
  (False, '0010', 'b'),
  (False, '01', ''),
  (False, '102', 'ab'),
  (False, '?3', 'a'),
)


class Given(nn.Module):
  """Logits are the first channel of the image: a row for each class."""

  stride: int = 1

  @nn.compact
  def __call__(self, images, *, train=False, mask=None):
    scale = self.param('scale', nn.initializers.constant(60.0), ())
    return scale * images[..., 0].swapaxes(1, 2)


class Same(nn.Module):
  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    return x + self.param('bias', nn.initializers.zeros, ())


@functools.cache
def _by_hand():
  method = self_training(Given(), Same(), criterion=losses.ctc)

  @jax.jit
  def metrics(batch):
    params, state = method.init(jax.random.key(0), batch)
    _, (_, found) = method.loss(params, state, batch, jax.random.key(0), 0)
    return found

  return metrics


def _hand(rows):
  images = np.zeros((len(rows), CHARSET.classes, FRAMES, 3), np.uint8)
  labels = np.zeros((len(rows), LENGTH), np.int32)
  for image, label, (_, frames, text) in zip(images, labels, rows, strict=True):
    for time, each in enumerate(frames.ljust(FRAMES, '0')):
      chosen = slice(None) if each == '?' else int(each)
      image[chosen, time] = 255
    if text:
      label[:] = CHARSET.encode(text, LENGTH)
  return {
    'image': images,
    'index': np.arange(len(rows), dtype=np.int32),
    'label': labels,
    'labelled': np.array([labelled for labelled, _, _ in rows]),
  }


def test_metrics_by_hand():
  found = _by_hand()(_hand(HAND))
  expected = {
    'confidence': 4.25 / 5,
    'agreement': 2 / 3,
    'right': 2 / 5,  # of the four whose truth is known
    'truth_known': 4 / 5,
    'variety': 1 - 3 / 5,  # 'a' thrice; labelled ones do not count
    'labelled_share': 4 / (4 + 5 + 0.25),  # of characters
    'infeasible': 0,
  }
  for key, value in expected.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-4, err_msg=key)
  smoothed = (2 / 3 + 0.05) / (4.25 / 5 + 0.05)
  np.testing.assert_allclose(found['trust'], smoothed, rtol=1e-4)


def test_a_teacher_that_is_sure_of_nothing_is_not_distrusted():
  """At the start, before it reads anything; one that is sure is."""
  wrong = [(labelled, frames, 'cab') for labelled, frames, _ in HAND]
  unsure = [(labelled, '?????', text) for labelled, _, text in wrong]
  assert _by_hand()(_hand(unsure))['trust'] > 0.9
  assert _by_hand()(_hand(wrong))['trust'] < 0.1


def test_all_alike_has_no_variety():
  blank = [(labelled, '', text) for labelled, _, text in HAND]
  same = [(labelled, '12', text) for labelled, _, text in HAND]
  for rows in (blank, same):
    np.testing.assert_allclose(_by_hand()(_hand(rows))['variety'], 0, atol=1e-6)


def test_classes_by_hand():
  """A weight each, and the share of images."""
  batch = _batch('classes')
  _, metrics, _ = _gradient('classes')(*_state('classes'), batch)
  _, guesses, confidence = _reference('classes')
  guesses, labels = np.array(guesses), batch['label']
  apart = slice(LABELLED, None)
  right = ((guesses == labels) & (labels >= 0))[apart]
  _, counts = np.unique(guesses[apart], return_counts=True)
  expected = {
    'agreement': (guesses == labels)[:LABELLED].mean(),
    'right': right.mean(),
    'truth_known': 1 - 1 / (ROWS - LABELLED),
    'variety': 1 - counts.max() / counts.sum(),
    'labelled_share': (LABELLED - 1) / (LABELLED - 1 + confidence[apart].sum()),
  }
  for key, value in expected.items():
    np.testing.assert_allclose(
      metrics[key], value, rtol=1e-4, atol=1e-6, err_msg=key
    )


def test_a_label_longer_than_its_image_is_not_cut_to_fit():
  """'abc' is not 'ab' on an image of two frames."""
  rows = [(True, '12', 'abc'), (False, '12', 'abc'), (False, '12', 'ab')]
  batch = _hand(rows)
  batch['image'] = batch['image'][:, :, :2]
  found = _by_hand()(batch)
  np.testing.assert_allclose(found['infeasible'], 1 / 3, rtol=1e-5)
  np.testing.assert_allclose(found['agreement'], 0)
  np.testing.assert_allclose(found['right'], 1 / 2, rtol=1e-5)
