"""What is particular to the pretext tasks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssljax import core, losses, optim
from ssljax.augment.patches import permutations
from ssljax.errors import UserError
from ssljax.methods import colorization as colours
from ssljax.methods import jigsaw as jigsaws
from ssljax.methods import rotation as rotations
from ssljax.methods.autoencoder import autoencoder
from ssljax.methods.colorization import colorization
from ssljax.methods.cyclegan import cyclegan
from ssljax.methods.inpainting import inpainting
from ssljax.methods.jigsaw import jigsaw
from ssljax.methods.pix2pix import pix2pix
from ssljax.methods.relative_patch import relative_patch
from ssljax.methods.rotation import rotation
from ssljax.methods.super_resolution import super_resolution
from ssljax.models.pixels import Pixels

ROWS, SIDE = 4, 16


class Encoder(nn.Module):
  """The smallest with maps of two sizes."""

  @nn.compact
  def __call__(self, images, *, train=False):
    x = nn.relu(nn.Conv(4, (3, 3), 2)(images))
    self.sow('maps', 'fine', x)
    x = nn.relu(nn.Conv(4, (3, 3), 2)(x))
    self.sow('maps', 'coarse', x)
    return x.mean(axis=(1, 2))


class Decoder(nn.Module):
  """One Dense; the maps are not looked at."""

  channels: int = 3
  scale: int = 1

  @nn.compact
  def __call__(self, features, maps, images):
    side = SIDE // self.scale
    x = nn.Dense(side * side * self.channels)(features)
    return x.reshape(-1, side, side, self.channels)


class Critic(nn.Module):
  @nn.compact
  def __call__(self, images):
    return nn.Dense(1)(nn.tanh(nn.Conv(4, (4, 4), 4)(images)))


def _batch(rows=ROWS, side=SIDE, seed=0, channels=3):
  rng = np.random.default_rng(seed)
  shape = (rows, side, side, channels)
  images = rng.integers(0, 256, shape).astype(np.uint8)
  return {
    'image': images.repeat(3 // channels, axis=-1),
    'clean': rng.integers(0, 256, shape).astype(np.uint8),
    'index': np.arange(rows, dtype=np.int32) + 100 * seed,
    'label': np.zeros(rows, np.int32),
  }


def _init(method, batch):
  return method.init(jax.random.key(0), batch)


class Seen(nn.Module):
  """Keeps what the encoder is shown: features are the pixels themselves."""

  @nn.compact
  def __call__(self, images, *, train=False):
    return images.reshape(len(images), -1)


def _shown(method, monkeypatch, module, batch=None):
  """The images of one step that go into the encoder."""
  seen = []
  apply = module.networks.apply

  def watched(parts, params, statistics, x, **options):
    if 'encoder' in parts:
      seen.append(x)
    return apply(parts, params, statistics, x, **options)

  monkeypatch.setattr(module.networks, 'apply', watched)
  batch = batch or _batch()
  params, state = _init(method, batch)
  seen.clear()
  method.loss(params, state, batch, jax.random.key(7), 0)
  return batch, np.asarray(seen[0])


def test_all_exact_turns_of_an_image_are_in_one_batch(monkeypatch):
  from ssljax.methods import rotation as module

  batch, shown = _shown(rotation(Seen()), monkeypatch, module)
  plain = batch['image'] / np.float32(127.5) - 1
  expected = [np.rot90(plain, turn, axes=(1, 2)) for turn in range(4)]
  np.testing.assert_allclose(shown, np.concatenate(expected), atol=1e-6)


def test_a_line_is_turned_upside_down(monkeypatch):
  from ssljax.methods import rotation as module

  batch, shown = _shown(rotation(Seen(), turns=2), monkeypatch, module)
  plain = batch['image'] / np.float32(127.5) - 1
  np.testing.assert_allclose(shown[ROWS:], plain[:, ::-1, ::-1], atol=1e-6)


def test_turns_that_cannot_be():
  with pytest.raises(UserError, match=r'Found 3 turns; expected 4'):
    rotation(Seen(), turns=3)
  batch = _batch()
  batch['image'] = batch['image'][:, :8]
  method = rotation(Encoder())
  params, state = _init(method, batch)
  with pytest.raises(UserError, match=r'8x16 pixels.*square.*turns=2'):
    method.loss(params, state, batch, jax.random.key(0), 0)


def test_a_neighbour_has_its_places_label(monkeypatch):
  """With labels as drawn, a reader of places has all of them right."""
  from ssljax.methods import relative_patch as module

  # A pixel tells its place, so the cell of a patch can be read off it.
  place = np.arange(SIDE * SIDE).reshape(1, SIDE, SIDE, 1)
  batch = _batch()
  batch['image'] = np.tile(place, (ROWS, 1, 1, 3)).astype(np.uint8)
  method = relative_patch(Seen(), grid=(2, 2), gap=0, colours='keep')
  found = {}

  def classification(logits, labels):
    found['labels'] = np.asarray(labels)
    return losses.classification(logits, labels)

  monkeypatch.setattr(
    module, 'losses', _changed(losses, classification=classification)
  )
  seen = []
  apply = module.networks.apply

  def watched(parts, params, statistics, x, **options):
    if 'encoder' in parts:
      seen.append(np.asarray(x))
    return apply(parts, params, statistics, x, **options)

  monkeypatch.setattr(
    module, 'networks', _changed(module.networks, apply=watched)
  )
  params, state = _init(method, batch)
  seen.clear()
  labels = []
  for seed in range(8):
    method.loss(params, state, batch, jax.random.key(seed), 0)
    corner = np.round((seen[-1][:, 0, 0, 0] + 1) * 127.5).astype(int)
    row, column = corner // SIDE // 8, corner % SIDE // 8
    cells = (2 * row + column).reshape(2, ROWS)
    np.testing.assert_array_equal(cells[0], 2)  # the middle one
    np.testing.assert_array_equal(
      cells[1], np.array([0, 1, 3])[found['labels']]
    )
    labels += found['labels'].tolist()
  assert set(labels) == {0, 1, 2}


def _changed(module, **names):
  """A module with some of its names replaced."""

  class Changed:
    def __getattr__(self, name):
      return names.get(name) or getattr(module, name)

  return Changed()


def test_the_pieces_of_a_puzzle_lie_in_the_order_of_the_label(monkeypatch):
  from ssljax.methods import jigsaw as module

  batch = _batch()
  method = jigsaw(Seen(), grid=(2, 2), gap=0, orders=6)
  found = {}

  def classification(logits, labels):
    found['labels'] = np.asarray(labels)
    return losses.classification(logits, labels)

  monkeypatch.setattr(
    module, 'losses', _changed(losses, classification=classification)
  )
  monkeypatch.setattr(module, 'standardize', lambda pieces: pieces)
  _, shown = _shown(method, monkeypatch, module)
  half = SIDE // 2
  plain = batch['image'] / np.float32(127.5) - 1
  pieces = plain.reshape(ROWS, 2, half, 2, half, 3).transpose(0, 1, 3, 2, 4, 5)
  pieces = pieces.reshape(ROWS, 4, half, half, 3)
  orders = permutations(4, 6)[found['labels']]
  expected = pieces[np.arange(ROWS)[:, None], orders]
  np.testing.assert_allclose(shown.reshape(expected.shape), expected, atol=1e-6)


def test_each_place_of_a_puzzle_has_a_network_of_its_own():
  method = jigsaw(Encoder(), grid=(2, 2), gap=0, orders=6, width=5)
  params, _ = _init(method, _batch())
  (kernel,) = [x for x in jax.tree.leaves(params['places']) if x.ndim == 3]
  assert kernel.shape == (4, 4, 5)
  assert not np.allclose(kernel[0], kernel[1])


def test_gray_images_have_no_colours_to_learn():
  colours.check(_batch())
  with pytest.raises(UserError, match=r'gray images.*differ by 0.0 of 255'):
    colours.check(_batch(channels=1))


def test_rare_colours_weigh_more():
  """Equation 4 against NumPy: the mean weight over the seen colours is 1."""
  shares = np.random.default_rng(0).dirichlet(np.ones(313))
  found = np.asarray(colours._balanced(jnp.asarray(shares), 0.5))
  expected = 1 / (0.5 * shares + 0.5 / 313)
  expected /= (shares * expected).sum()
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert found[shares.argmin()] > found[shares.argmax()]


def test_the_encoder_of_colourisation_sees_no_colours():
  method = colorization(Encoder(), Decoder(scale=4), form='l1')
  batch = _batch()
  params, state = _init(method, batch)
  same = method.encode(params, state, batch['image'])
  # Another colour of the same lightness, found by scaling gray to its L.
  lightness = _same_lightness(batch['image'])
  gray = np.repeat(lightness[..., None], 3, axis=-1)
  other = method.encode(params, state, gray)
  np.testing.assert_allclose(other, same, atol=0.05)


def test_the_colours_of_the_print_are_counted_where_it_is_known():
  method = colorization(Encoder(), Decoder(scale=4), form='l1')
  batch = _batch()
  batch['clean'][:] = 255
  batch['clean'][:, :4] = 0
  params, state = _init(method, batch)
  other = dict(batch, image=batch['image'].copy())
  other['image'][:, 8:] = 0  # where the print is white

  def of_gray(batch):
    figures, _ = method.examine(params, state, batch, jax.random.key(0))
    return np.asarray(figures['colour_error_of_gray'])

  np.testing.assert_allclose(of_gray(other), of_gray(batch), rtol=1e-5)
  for each in (batch, other):
    del each['clean']
  assert np.abs(of_gray(other) - of_gray(batch)).min() > 10


def _same_lightness(images):
  """uint8 gray of the same L."""
  from ssljax.augment import lab

  light = np.asarray(lab.to_lab(images / np.float32(255)))[..., 0]
  flat = np.stack([light, 0 * light, 0 * light], axis=-1)
  return np.round(255 * np.asarray(lab.to_rgb(flat))[..., 0]).astype(np.uint8)


def test_a_hole_is_filled_and_nothing_else_is_touched():
  method = inpainting(Encoder(), Decoder(), Critic(), share=0.5)
  batch = _batch()
  params, state = _init(method, batch)
  _, pictures = method.examine(params, state, batch, jax.random.key(0))
  same = np.isclose(pictures['output'], pictures['target']).all(axis=-1)
  assert 0.7 < same.mean() < 0.8  # a quarter is the hole
  inside = ~same
  mean = np.asarray(pictures['input'])[inside]
  assert np.ptp(mean.reshape(ROWS, -1, 3), axis=1).max() < 1e-5


@pytest.mark.parametrize('corruption', ['none', 'noise', 'mask', 'salt'])
def test_an_autoencoder_mends_what_was_spoiled(corruption):
  method = autoencoder(Encoder(), Decoder(), corruption=corruption)
  batch = _batch()
  del batch['clean']
  params, state = _init(method, batch)
  _, pictures = method.examine(params, state, batch, jax.random.key(0))
  np.testing.assert_allclose(
    pictures['target'], batch['image'] / 255, atol=1e-5
  )
  spoiled = not np.allclose(pictures['input'], pictures['target'])
  assert spoiled == (corruption != 'none')


def test_the_print_is_the_target_where_it_is_known():
  method = autoencoder(Encoder(), Decoder(), corruption='none')
  batch = _batch()
  params, state = _init(method, batch)
  _, pictures = method.examine(params, state, batch, jax.random.key(0))
  np.testing.assert_allclose(
    pictures['target'], batch['clean'] / 255, atol=1e-5
  )


def test_bad_input_is_named():
  batch = _batch()
  for method, key in ((pix2pix, 'own'), (cyclegan, 'other')):
    with pytest.raises(UserError, match=f'data.clean={key}'):
      without = {k: v for k, v in batch.items() if k != 'clean'}
      _init(method(Encoder(), Decoder(), Critic()), without)
    smaller = batch | {'clean': batch['clean'][:, :8]}
    with pytest.raises(UserError, match=r'16x16 pixels.*8x16.*the same size'):
      _init(method(Encoder(), Decoder(), Critic()), smaller)
  with pytest.raises(UserError, match=r'16x16 pixels to make 3 times smaller'):
    _init(super_resolution(Encoder(), Decoder(), Critic(), factor=3), batch)
  with pytest.raises(UserError, match=r'4 pictures per step for a pool of 3'):
    _step(cyclegan(Encoder(), Decoder(), Critic(), pool=3), batch)
  with pytest.raises(UserError, match=r'Pixels as the encoder of a task'):
    _init(autoencoder(Pixels(), Decoder()), batch)


def _step(method, batch):
  params, state = _init(method, batch)
  return method.loss(params, state, batch, jax.random.key(0), 0)


ADVERSARIAL = {
  'inpainting': functools.partial(inpainting, adversarial=0.5),
  'super_resolution': functools.partial(super_resolution, adversarial=0.5),
  'pix2pix': pix2pix,
}


@pytest.mark.parametrize('name', ADVERSARIAL)
def test_one_scalar_has_the_gradients_of_both_games(name):
  """Neither player's gradient has a share of the other's loss."""
  method = ADVERSARIAL[name](Encoder(), Decoder(), Critic())
  batch = _batch()
  params, state = _init(method, batch)

  def loss(params):
    return method.loss(params, state, batch, jax.random.key(0), 0)

  whole = jax.grad(lambda p: loss(p)[0])(params)
  own = jax.grad(lambda p: loss(p)[1][1]['critic_loss'])(params)
  # The critic moves by its own loss alone, and it moves no other part.
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
    whole['critic'],
    own['critic'],
  )
  for part in ('encoder', 'decoder'):
    for leaf in jax.tree.leaves(own[part]):
      np.testing.assert_array_equal(leaf, 0)
  # The generator moves by its content and by what the critic says of it: with a
  # critic that has no opinion another gradient is left.
  blind = dict(params, critic=jax.tree.map(jnp.zeros_like, params['critic']))
  alone = jax.grad(lambda p: loss(p)[0])(blind)
  for part in ('encoder', 'decoder'):
    apart = jax.tree.map(
      lambda a, b: float(jnp.abs(a - b).max()), whole[part], alone[part]
    )
    assert max(jax.tree.leaves(apart)) > 1e-4


def _watched(monkeypatch):
  """Logits that `two_players` is given: fooled, made and real of each game."""
  seen, kept = [], losses.two_players

  def watched(*logits, **options):
    seen.append(logits)
    return kept(*logits, **options)

  monkeypatch.setattr(losses, 'two_players', watched)
  return seen


def test_both_critics_of_a_cycle_move_by_their_own_loss_alone():
  method = cyclegan(Encoder(), Decoder(), Critic(), pool=8)
  batch = _batch()
  params, state = _init(method, batch)

  def loss(params):
    return method.loss(params, state, batch, jax.random.key(0), 0)

  whole = jax.grad(lambda p: loss(p)[0])(params)
  for critic, domain in (('critic', 'clean'), ('reverse_critic', 'noisy')):
    figure = f'critic_loss_{domain}'
    own = jax.grad(lambda p, figure=figure: loss(p)[1][1][figure])(params)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
      whole[critic],
      own[critic],
    )
    for part in set(params) - {critic}:
      for leaf in jax.tree.leaves(own[part]):
        np.testing.assert_array_equal(leaf, 0)


def test_critics_see_older_pictures_once_the_pool_is_full(monkeypatch):
  seen = _watched(monkeypatch)
  method = cyclegan(Encoder(), Decoder(), Critic(), pool=16)
  batch = _batch(rows=16)
  params, state = _init(method, batch)
  _, (state, _) = method.loss(params, state, batch, jax.random.key(0), 0)
  for fooled, made, _ in seen:  # there was room: the newest are shown
    np.testing.assert_allclose(made, fooled, rtol=1e-5)
  seen.clear()
  batch = _batch(rows=16, seed=1)
  _, (new, _) = method.loss(params, state, batch, jax.random.key(1), 1)
  fooled, made, _ = seen[0]
  older = np.abs(np.asarray(made - fooled)).max(axis=(1, 2, 3)) > 1e-6
  assert 0 < older.sum() < 16
  shown = Critic().apply({'params': params['critic']}, state['pool']['clean'])
  for logits in np.asarray(made)[older]:  # each of one that was stored
    assert np.abs(np.asarray(shown) - logits).max(axis=(1, 2, 3)).min() < 1e-5
  changed = new['pool']['clean'] != state['pool']['clean']
  assert changed.any(axis=(1, 2, 3)).sum() == older.sum()


def test_the_pool_against_numpy():
  """It fills with what is made; then half of the new ones change places."""
  pool = 10
  method = cyclegan(Encoder(), Decoder(), Critic(), pool=pool)
  batch = _batch()
  params, state = _init(method, batch)
  loss = jax.jit(method.loss)
  for step in range(6):
    batch = _batch(seed=step)
    key = jax.random.key(step)
    _, (new, _) = loss(params, state, batch, key, step)
    made = np.asarray(method.predict(params, state, batch['image']))
    raw = np.asarray(new['pool']['clean'])
    old = np.asarray(state['pool']['clean'])
    if step < 2:  # room for four more
      np.testing.assert_allclose(
        np.clip(raw[4 * step : 4 * step + 4], -1, 1), made, atol=1e-5
      )
    elif step == 2:  # room for two of four
      np.testing.assert_allclose(np.clip(raw[8:], -1, 1), made[:2], atol=1e-5)
      np.testing.assert_array_equal(raw[:8], old[:8])
    else:
      changed = np.flatnonzero((raw != old).any(axis=(1, 2, 3)))
      assert len(changed) <= 4
      for place in changed:  # each by one of the new ones
        distance = np.abs(np.clip(raw[place], -1, 1) - made).max((1, 2, 3))
        assert distance.min() < 1e-5
    assert int(new['filled']) == min(pool, 4 * (step + 1))
    state = new


def test_the_pool_changes_about_half():
  method = cyclegan(Encoder(), Decoder(), Critic(), pool=16)
  batch = _batch(rows=16)
  params, state = _init(method, batch)
  loss, swapped = jax.jit(method.loss), 0
  _, (state, _) = loss(params, state, batch, jax.random.key(0), 0)
  for step in range(1, 9):
    batch = _batch(rows=16, seed=step)
    _, (new, _) = loss(params, state, batch, jax.random.key(step), step)
    changed = new['pool']['clean'] != state['pool']['clean']
    swapped += int(changed.any(axis=(1, 2, 3)).sum())
    state = new
  assert 40 < swapped < 90  # of 128


def test_a_critic_takes_several_steps_for_one_of_the_generator():
  optimizer = optim.optimizer(
    'sgd',
    learning_rate=1.0,
    steps=6,
    decay='constant',
    every=3,
    players={
      'critic': {'name': 'sgd', 'learning_rate': 0.1, 'decay': 'constant'}
    },
  )
  params = {'encoder': jnp.zeros(2), 'critic': jnp.zeros(2)}
  grads = jax.tree.map(jnp.ones_like, params)
  state = optimizer.init(params)
  course = []
  for _ in range(6):
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    course.append([float(params[part][0]) for part in ('encoder', 'critic')])
  expected = [[-(step // 3), -0.1 * step] for step in range(1, 7)]
  np.testing.assert_allclose(course, expected, atol=1e-6)
  with pytest.raises(UserError, match="Found 'critic' among the players"):
    optim.optimizer(
      'sgd',
      learning_rate=1.0,
      steps=6,
      hold={'critic': 2},
      players={'critic': {'learning_rate': 0.1}},
    )
  with pytest.raises(UserError, match='Found every=0'):
    optim.optimizer('sgd', learning_rate=1.0, steps=6, every=0)


def test_warm_up_and_hold_are_counted_in_steps_of_the_whole():
  """Of 12 steps the first 6 warm up, and the encoder waits for 4."""
  optimizer = optim.optimizer(
    'sgd',
    learning_rate=1.0,
    steps=12,
    decay='constant',
    warmup=6,
    hold={'encoder': 4},
    every=2,
  )
  params = {'encoder': jnp.zeros(1), 'head': jnp.zeros(1)}
  grads = jax.tree.map(jnp.ones_like, params)
  state, moves = optimizer.init(params), []
  for _ in range(12):
    updates, state = optimizer.update(grads, state, params)
    moves.append([-float(updates[part][0]) for part in ('head', 'encoder')])
  rates = [0, 0, 0, 1 / 3, 0, 2 / 3, 0, 1, 0, 1, 0, 1]
  held = [0] * 5 + rates[5:]
  np.testing.assert_allclose(moves, np.transpose([rates, held]), atol=1e-6)


@pytest.mark.parametrize('module', [rotations, jigsaws])
def test_padding_is_no_answer(module, monkeypatch):
  """A blank right half of an image is in none of the pieces and turns."""
  method = {
    rotations: lambda: rotation(Encoder()),
    jigsaws: lambda: jigsaw(Encoder(), grid=(1, 2), orders=2, gap=0),
  }[module]()
  batch = _batch()
  batch['image'][:, :, SIDE // 2 :] = 0
  batch['width'] = np.full(ROWS, SIDE // 2, np.int32)
  _, shown = _shown(method, monkeypatch, module, batch)
  columns = shown.std(axis=(1, 3))  # a blank one does not vary
  assert columns.min() > 0


def test_rare_colours_weigh_more_in_the_loss():
  batch = _batch()
  params, state = _init(colorization(Encoder(), Decoder(scale=4)), batch)
  params = jax.tree.map(lambda x: 20 * x, params)  # guesses that differ
  values = [
    colorization(Encoder(), Decoder(scale=4), balance=balance).loss(
      params, state, batch, jax.random.key(0), 0
    )[0]
    for balance in (0.1, 1.0)
  ]
  assert abs(values[0] - values[1]) > 0.01


def test_a_step_of_all_players_keeps_the_tree():
  method = cyclegan(Encoder(), Decoder(), Critic(), pool=8)
  optimizer = optim.optimizer(
    'adam',
    learning_rate=1e-3,
    steps=4,
    b1=0.5,
    players={
      part: {'name': 'adam', 'learning_rate': 1e-3, 'b1': 0.5}
      for part in ('critic', 'reverse_critic')
    },
  )
  batch = _batch()
  state = core.create_state(
    jax.random.key(0), batch, method=method, optimizer=optimizer
  )
  step = jax.jit(
    functools.partial(core.train_step, method=method, optimizer=optimizer)
  )
  new, metrics = step(state, batch)
  assert jax.tree.structure(new) == jax.tree.structure(state)
  assert np.isfinite(metrics['loss'])
