"""The three mappings: same numbers, one compilation, a donated state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import parallel

DEVICES = 8
MANY = ('pmap', 'shard_map')


def _step(state, batch, *, axis_name):
  """Least squares by SGD, with what every helper says beside it."""

  def loss(weights):
    return jnp.mean((batch['x'] @ weights - batch['y']) ** 2)

  value, grads = jax.value_and_grad(loss)(state['weights'])
  value, grads = parallel.mean((value, grads), axis_name)
  metrics = {
    'loss': value,
    'size': jnp.asarray(parallel.size(axis_name)),
    'rows': parallel.gather(batch['y'], axis_name),
    'ranks': parallel.gather(
      jnp.full((1,), parallel.rank(axis_name)), axis_name
    ),
  }
  state = {
    'weights': state['weights'] - 0.1 * grads,
    'step': state['step'] + 1,
    'key': state['key'],
  }
  return state, metrics


def _state():
  return {
    'weights': jnp.arange(4.0),
    'step': jnp.zeros((), jnp.int32),
    'key': jax.random.key(0),
  }


def _batch(rows=16, seed=0):
  rng = np.random.default_rng(seed)
  scale = np.arange(1, rows + 1) / rows  # No two devices alike.
  return {
    'x': (rng.normal(size=(rows, 4)) * scale[:, None]).astype(np.float32),
    'y': np.arange(rows, dtype=np.float32),
  }


@pytest.fixture(scope='module')
def compilations():
  """Every time XLA is asked; a count of traces would miss a second time.

  One listener for the module: JAX 0.8 has no public way to remove it.
  """
  events = []

  def listen(event, duration, **_):
    if event.endswith('backend_compile_duration'):
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  return events


def _run(mapping, steps=3, **options):
  call = parallel.compile_step(_step, mapping=mapping, **options)
  state = _state()
  for i in range(steps):
    state, metrics = call(state, _batch(seed=i))
  return state, metrics


def test_helpers_are_the_identity_without_an_axis():
  x = jnp.arange(3.0)
  tree = {'x': x}
  assert parallel.mean(tree) is tree
  assert parallel.gather(x) is x
  assert parallel.rank() == 0
  assert parallel.size() == 1


@pytest.mark.parametrize('mapping', MANY)
def test_helpers_see_every_device_in_order(mapping):
  _, metrics = _run(mapping, steps=1)
  assert metrics['size'] == DEVICES
  np.testing.assert_array_equal(metrics['ranks'], np.arange(DEVICES))
  np.testing.assert_array_equal(metrics['rows'], np.arange(16))


@pytest.mark.parametrize('mapping', MANY)
def test_many_devices_equal_one(mapping):
  one, metrics = _run('jit')
  assert metrics['size'] == 1
  several, more = _run(mapping)
  assert several['step'] == 3
  for name in ('weights', 'step'):
    np.testing.assert_allclose(several[name], one[name], rtol=1e-6)
  np.testing.assert_allclose(more['loss'], metrics['loss'], rtol=1e-6)
  # No device axis: the same state under every mapping.
  chex.assert_trees_all_equal_shapes_and_dtypes(several, one)


@pytest.mark.parametrize('mapping', MANY)
def test_gather_carries_the_global_gradient(mapping):
  """Σ over devices of rank · gathered²: each row's gradient from them all.

  With a gather that keeps only its own device's gradient the row of device r
  would get 2 r x instead of 2 (0 + ... + 7) x.
  """

  def step(state, batch, *, axis_name):
    def loss(x):
      rows = parallel.gather(x, axis_name)
      return (1 + parallel.rank(axis_name)) * jnp.sum(rows**2)

    return state, parallel.gather(jax.grad(loss)(batch), axis_name)

  x = np.arange(1.0, 17, dtype=np.float32)
  _, grads = parallel.compile_step(step, mapping=mapping)(jnp.zeros(()), x)
  np.testing.assert_allclose(grads, 2 * x * sum(range(1, DEVICES + 1)))


@pytest.mark.parametrize('mapping', parallel.MAPPINGS)
@pytest.mark.parametrize('origin', ['fresh', 'bound', 'elsewhere', 'host'])
def test_one_trace_one_compilation_and_donation(compilations, mapping, origin):
  traces = []

  def step(state, batch, *, axis_name):
    traces.append(axis_name)
    return _step(state, batch, axis_name=axis_name)

  state = _state()
  if origin == 'bound':
    state = jax.device_put(state, jax.devices()[0])
  elif origin == 'elsewhere':
    state = jax.device_put(state, jax.devices()[3])
  elif origin == 'host':
    state['weights'] = np.asarray(state['weights'])
  call = parallel.compile_step(step, mapping=mapping)
  batches = [_batch(seed=i) for i in range(3)]
  compilations.clear()
  for i, batch in enumerate(batches):
    before = state
    state, _ = jax.block_until_ready(call(state, batch))
    if i > 0:
      assert all(x.is_deleted() for x in jax.tree.leaves(before))
  assert traces == [None if mapping == 'jit' else 'devices']
  assert len(compilations) == 1


@pytest.mark.parametrize('mapping', parallel.MAPPINGS)
def test_a_state_goes_from_one_mapping_to_another(mapping):
  state, _ = _run(mapping, steps=2)
  for other in parallel.MAPPINGS:
    copy = jax.tree.map(jnp.copy, state)
    copy, _ = parallel.compile_step(_step, mapping=other)(copy, _batch(seed=2))
    np.testing.assert_allclose(
      copy['weights'], _run('jit')[0]['weights'], rtol=1e-6
    )


@pytest.mark.parametrize('mapping', MANY)
def test_chosen_devices(mapping):
  devices = jax.devices()[5:2:-1]
  call = parallel.compile_step(
    _step, mapping=mapping, devices=devices, axis_name='replicas'
  )
  state, metrics = call(_state(), _batch(12))
  assert metrics['size'] == 3
  assert state['weights'].devices() == set(devices)
  np.testing.assert_array_equal(metrics['rows'], np.arange(12))


def test_jit_on_a_chosen_device():
  device = jax.devices()[2]
  state, _ = _run('jit', devices=[device])
  assert state['weights'].devices() == {device}
  with pytest.raises(ValueError, match=r'runs on one device .* found 2 dev'):
    parallel.compile_step(_step, mapping='jit', devices=jax.devices()[:2])


def test_a_batch_that_is_already_on_the_devices():
  call = parallel.compile_step(_step)
  sharding = jax.sharding.NamedSharding(
    jax.make_mesh(
      (DEVICES,), ('devices',), axis_types=(jax.sharding.AxisType.Auto,)
    ),
    jax.sharding.PartitionSpec('devices'),
  )
  state, _ = call(_state(), jax.device_put(_batch(), sharding))
  np.testing.assert_allclose(
    state['weights'], _run('jit', steps=1)[0]['weights'], rtol=1e-6
  )


@pytest.mark.parametrize('mapping', MANY)
def test_a_batch_that_does_not_divide_is_refused(mapping):
  call = parallel.compile_step(_step, mapping=mapping)
  with pytest.raises(
    ValueError, match=r'batch of 12 cannot be .* over 8 .* example to 8 or 16'
  ):
    call(_state(), _batch(12))


@pytest.mark.parametrize('mapping', parallel.MAPPINGS)
def test_a_batch_with_rows_that_differ_is_refused(mapping):
  call = parallel.compile_step(_step, mapping=mapping)
  for y in (np.zeros(8), np.float32(0)):
    with pytest.raises(ValueError, match=r"same leading size.*\['y'\]"):
      call(_state(), _batch() | {'y': y})


def test_a_misspelt_mapping_is_refused():
  with pytest.raises(ValueError, match=r"'sharded_map'.*mean 'shard_map'"):
    parallel.compile_step(_step, mapping='sharded_map')
  with pytest.raises(ValueError, match=r'expected one of .*pmap'):
    parallel.compile_step(_step, mapping='xyz')


@pytest.mark.parametrize(
  ('mapping', 'devices'), [('jit', 1), ('pmap', 8), ('shard_map', 8)]
)
def test_a_scan_over_shared_data_is_the_same_steps(mapping, devices):
  """Three steps a call, by position in arrays that stay on the devices."""
  table = _batch(64)
  positions = np.random.default_rng(0).permutation(64)[:48].reshape(3, 16)

  def looked_up(state, batch, table, *, axis_name):
    batch = jax.tree.map(lambda column: column[batch['position']], table)
    return _step(state, batch, axis_name=axis_name)

  call = parallel.compile_step(
    looked_up,
    mapping=mapping,
    devices=jax.devices()[:devices],
    scan=True,
    shared=table,
  )
  state, metrics = call(_state(), {'position': positions})
  one = parallel.compile_step(_step, mapping='jit')
  expected, losses = _state(), []
  for rows in positions:
    batch = {name: column[rows] for name, column in table.items()}
    expected, found = one(expected, batch)
    losses.append(found['loss'])
  np.testing.assert_allclose(
    state['weights'], expected['weights'], rtol=1e-5, atol=1e-6
  )
  assert int(state['step']) == 3
  np.testing.assert_allclose(metrics['loss'], losses, rtol=1e-5)
  # Rows are split over devices within a step, in their order.
  np.testing.assert_array_equal(metrics['rows'], table['y'][positions])


def test_the_rows_of_a_scan_must_split_evenly():
  call = parallel.compile_step(_step, scan=True)
  batch = jax.tree.map(lambda x: np.stack([x, x]), _batch(12))
  with pytest.raises(ValueError, match='12 cannot be split over 8'):
    call(_state(), batch)
