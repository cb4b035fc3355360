"""Nothing saved is lost, half-read or silently changed."""

import contextlib
import json
import logging
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore
from jax.sharding import NamedSharding, PartitionSpec

from ssljax import checkpoint, durable
from ssljax.checkpoint import CheckpointError, Checkpoints

METADATA = {'config': {'epochs': 3, 'views': [2, 'é']}, 'charset': '0123'}


class TrainState(NamedTuple):
  step: Any
  key: Any
  params: Any
  method_state: Any
  opt_state: Any


class Queue(NamedTuple):
  rows: Any
  pointer: Any


def create(*, size=3, typed=True):
  """A state with whatever is awkward: typed key, bfloat16, empty nodes."""
  key = jax.random.key(7) if typed else jax.random.PRNGKey(7)
  params = {
    'encoder': {'kernel': jax.random.normal(key, (size, size)), 'none': {}},
    'head': [jnp.ones(2, jnp.bfloat16), jnp.zeros(())],
  }
  labels = {'encoder': 'frozen', 'head': 'trained'}
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.partition(
      {'trained': optax.adamw(1e-3), 'frozen': optax.set_to_zero()}, labels
    ),
  )
  method_state = {
    'batch_stats': {},
    'queue': Queue(jnp.arange(6.0).reshape(2, 3), jnp.int32(1)),
    'keys': jax.random.split(key, 3),
  }
  return TrainState(
    jnp.int32(0), key, params, method_state, optimizer.init(params)
  )


def raw(leaf):
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.array(leaf, copy=True)


def assert_same(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for a, b in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(raw(a), raw(b))


@pytest.mark.parametrize('typed', [True, False])
@pytest.mark.parametrize('abstract', [True, False])
def test_round_trip(tmp_path, typed, abstract):
  state = create(typed=typed)
  with Checkpoints(tmp_path, metadata=METADATA) as checkpoints:
    assert checkpoints.restore(state) is None
    assert checkpoints.latest_step() is None
    checkpoints.save(3, state)
    assert checkpoints.latest_step() == 3
  like = jax.eval_shape(lambda: create(typed=typed)) if abstract else state
  with Checkpoints(tmp_path) as checkpoints:
    assert_same(checkpoints.restore(like), state)


def test_restores_onto_the_shardings_of_like(tmp_path):
  mesh = jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  everywhere = NamedSharding(mesh, PartitionSpec())
  state = create()
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)  # from one device
    like = jax.jit(create, out_shardings=everywhere)()
    restored = checkpoints.restore(like)
    assert_same(restored, state)
    for leaf in jax.tree.leaves(restored):
      assert leaf.sharding.is_equivalent_to(everywhere, leaf.ndim)
    checkpoints.save(2, restored)  # from all
    restored = checkpoints.restore(state)
    assert_same(restored, state)
    for leaf in jax.tree.leaves(restored):
      assert leaf.devices() == {jax.devices()[0]}


def test_keeps_the_last_steps(tmp_path):
  state = create()
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (10, 20, 30):
      checkpoints.save(step, state)
    checkpoints.save(30, state)  # a final save on a periodic one
  assert sorted(os.listdir(tmp_path)) == ['20', '30']


def test_an_earlier_step_is_refused(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(20, create())
    with pytest.raises(CheckpointError, match='already holds step 20'):
      checkpoints.save(10, create())


@pytest.mark.parametrize('devices', ['one', 'all'])
def test_donating_the_state_does_not_reach_a_save_under_way(tmp_path, devices):
  count = 1 if devices == 'one' else jax.device_count()
  mesh = jax.make_mesh(
    (count,),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:count],
  )
  everywhere = NamedSharding(mesh, PartitionSpec())

  def make():
    params = {'kernel': jnp.arange(1_000_000.0).reshape(1000, 1000)}
    return TrainState(
      jnp.int32(0), jax.random.key(0), params, {}, optax.adam(1e-3).init(params)
    )

  def increase(state):
    def add(x):
      return x + 1

    return state._replace(
      step=state.step + 1,
      key=jax.random.fold_in(state.key, 1),
      params=jax.tree.map(add, state.params),
      opt_state=jax.tree.map(add, state.opt_state),
    )

  step = jax.jit(
    jax.shard_map(
      increase, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec()
    ),
    donate_argnums=0,
  )
  state = step(jax.jit(make, out_shardings=everywhere)())
  # Otherwise the test would prove nothing: the steps do work in place.
  first = state.params['kernel'].addressable_shards[0].data
  place = first.unsafe_buffer_pointer()
  del first
  state = jax.block_until_ready(step(state))
  first = state.params['kernel'].addressable_shards[0].data
  assert first.unsafe_buffer_pointer() == place
  del first
  with Checkpoints(tmp_path) as checkpoints:
    caught = 0  # saves that steps ran beside; a busy machine may miss some
    for number in range(20):
      state = step(state)  # not waited for: saved while it is computed
      before = jax.tree.map(raw, jax.jit(lambda tree: tree)(state))
      checkpoints.save(number, state)
      under_way = 0
      for _ in range(20):
        state = jax.block_until_ready(step(state))
        under_way += checkpoints._manager.is_saving_in_progress()
      found = jax.tree.map(raw, checkpoints.restore(state))
      jax.tree.map(np.testing.assert_array_equal, found, before)
      caught += under_way > 0
      if caught == 2:
        break
    assert caught


@pytest.fixture
def full_disk():
  """A disk on which no file can grow beyond 100 kB."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

  yield fill
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big(value):
  # One array: where the write of one of several fails, Orbax leaves the others
  # under way, and they complain to an event loop that is gone.
  return {'params': jax.random.normal(jax.random.key(value), (500, 500))}


@pytest.mark.parametrize('moment', ['save', 'latest_step', 'exit'])
def test_a_failed_save_surfaces(tmp_path, full_disk, moment, capfd):
  def use(checkpoints):
    checkpoints.save(1, big(1))
    checkpoints.finish()
    full_disk()
    checkpoints.save(2, big(2))
    if moment == 'save':
      checkpoints.save(3, big(3))
    elif moment == 'latest_step':
      checkpoints.latest_step()

  with (
    pytest.raises(CheckpointError, match=r'step 2 could not.*\n.*step.* is 1'),
    Checkpoints(tmp_path) as checkpoints,
  ):
    use(checkpoints)
  # Nothing of the failed save is left.
  assert os.listdir(tmp_path) == ['1']
  with Checkpoints(tmp_path) as checkpoints:
    assert_same(checkpoints.restore(big(0)), big(1))
  assert capfd.readouterr().err == ''


def test_after_a_failed_save_the_same_step_can_be_saved(tmp_path, full_disk):
  with Checkpoints(tmp_path) as checkpoints:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    full_disk()
    checkpoints.save(2, big(2))
    with pytest.raises(CheckpointError, match='complete step there is None'):
      checkpoints.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    checkpoints.save(2, big(2))
    assert_same(checkpoints.restore(big(0)), big(2))


def test_a_failed_save_does_not_hide_what_stopped_the_run(tmp_path, full_disk):
  with (
    pytest.raises(ZeroDivisionError) as caught,
    Checkpoints(tmp_path) as checkpoints,
  ):
    full_disk()
    checkpoints.save(2, big(2))
    _ = 1 / 0
  assert 'step 2 could not be saved' in caught.value.__notes__[0]


def test_an_interrupted_run_keeps_the_save_under_way(tmp_path):
  with (
    pytest.raises(KeyboardInterrupt),
    Checkpoints(tmp_path) as checkpoints,
  ):
    checkpoints.save(2, big(2))
    raise KeyboardInterrupt
  assert checkpoint.read(tmp_path).step == 2


def test_another_structure_is_refused_by_name(tmp_path):
  state = create()
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
    for params, message in [
      (
        {**state.params, 'encoder': {'kernel': jnp.ones((3, 5))}},
        r'1 of \d+ arrays.*\n  params/encoder/kernel: found float32\[3,3\], '
        r'expected float32\[3,5\]\n.*another workdir',
      ),
      (
        {**state.params, 'projector': jnp.ones(2)},
        r'params/projector: found nothing, expected float32\[2\]',
      ),
      (
        {'encoder': state.params['encoder']},
        r'params/head/0: found bfloat16\[2\], expected nothing',
      ),
      (
        jax.tree.map(lambda x: x.astype(jnp.float16), state.params),
        r'params/head/0: found bfloat16\[2\], expected float16\[2\]',
      ),
      ({str(i): jnp.ones(1) for i in range(9)}, r'and 7 more'),
    ]:
      with pytest.raises(CheckpointError, match=message):
        checkpoints.restore(state._replace(params=params))


def test_nodes_without_arrays_may_differ(tmp_path):
  """A version of a method may name parts that have no statistics."""
  state = create()
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
  empty = {'encoder': {}, 'head': {}}
  other = state._replace(
    params={**state.params, 'encoder': {**state.params['encoder']}},
    method_state={**state.method_state, 'batch_stats': empty},
  )
  del other.params['encoder']['none']
  with Checkpoints(tmp_path) as checkpoints:
    assert_same(checkpoints.restore(other), other)


def test_read_knows_nothing_of_the_structure(tmp_path):
  state = create()
  with Checkpoints(tmp_path, metadata=METADATA) as checkpoints:
    checkpoints.save(1, state)
    checkpoints.save(2, state._replace(step=jnp.int32(2)))
  saved = checkpoint.read(tmp_path, 'params', 'method_state')
  assert saved.step == 2
  assert saved.metadata == METADATA
  assert set(saved.state) == {'params', 'method_state'}
  expected = {
    'params': state.params,
    'method_state': {
      'batch_stats': {},
      'queue': state.method_state['queue']._asdict(),
      'keys': jax.random.key_data(state.method_state['keys']),
    },
  }
  assert_same(saved.state, expected)
  assert all(type(x) is np.ndarray for x in jax.tree.leaves(saved.state))
  assert set(checkpoint.read(tmp_path).state) == set(TrainState._fields)


def test_read_touches_only_what_it_is_asked_for(tmp_path):
  noise = jax.random.normal(jax.random.key(0), (1000, 1000))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, create()._replace(opt_state=noise))
  (tmp_path / '1' / 'digests.json').unlink()  # as of an earlier version
  files = [path for path in tmp_path.rglob('*') if path.is_file()]
  max(files, key=lambda path: path.stat().st_size).unlink()
  with pytest.raises(Exception, match='reading'):
    checkpoint.read(tmp_path, 'opt_state')
  checkpoint.read(tmp_path, 'params')


def test_reading_what_is_not_there(tmp_path):
  with pytest.raises(CheckpointError, match='gone does not exist; expected'):
    checkpoint.read(tmp_path / 'gone')
  assert not (tmp_path / 'gone').exists()
  with pytest.raises(CheckpointError, match='holds no complete step'):
    checkpoint.read(tmp_path)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, create())
  with pytest.raises(CheckpointError, match="no entry 'encoder'; it has key"):
    checkpoint.read(tmp_path, 'encoder')


def test_metadata_that_is_not_json_fails_at_once(tmp_path):
  with pytest.raises(TypeError, match='not JSON serializable'):
    Checkpoints(tmp_path, metadata={'charset': {1, 2}})


def test_an_unfinished_step_is_ignored_and_removed(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, big(1))
  unfinished = tmp_path / '7.orbax-checkpoint-tmp'
  shutil.copytree(tmp_path / '1', unfinished)
  assert checkpoint.read(tmp_path).step == 1
  assert unfinished.exists()  # it may be another process's save under way
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 1
    checkpoints.save(2, big(2))  # waits for the removal
    assert_same(checkpoints.restore(big(0)), big(2))
  assert sorted(os.listdir(tmp_path)) == ['1', '2']


KILLED = """
import sys
import jax.numpy as jnp
from ssljax.checkpoint import Checkpoints

with Checkpoints(sys.argv[1], metadata={'charset': '01'}) as checkpoints:
  step = (checkpoints.latest_step() or 0) + 1
  while True:
    state = {str(i): jnp.full((100, 1000), step) for i in range(20)}
    checkpoints.save(step, state)
    print(step, flush=True)
    step += 1
"""


def files_of(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8 % len(data)] ^= 1 << bit % 8
  path.write_bytes(data)


@pytest.fixture
def two_steps(tmp_path):
  with Checkpoints(tmp_path, metadata=METADATA) as checkpoints:
    checkpoints.save(1, create())
    checkpoints.save(2, create()._replace(step=jnp.int32(2)))
  return tmp_path


OFFERED = r'Step 1, before it, is whole.*--from_last_good'


def test_a_flipped_bit_in_any_file_is_refused_by_name(two_steps):
  random = np.random.default_rng(0)
  names = [path.name for path in files_of(two_steps / '2')]
  assert {'digests.json', '_METADATA', 'metadata'} < set(names)
  for path in files_of(two_steps / '2'):
    whole = path.read_bytes()
    for _ in range(4):
      flip(path, int(random.integers(8 * len(whole))))
      with (
        pytest.raises(CheckpointError, match=OFFERED) as caught,
        Checkpoints(two_steps) as checkpoints,
      ):
        checkpoints.restore(create())
      # A flip in the list itself may look like one in a file that it names.
      assert str(path) in str(caught.value) or path.name == 'digests.json'
      with pytest.raises(checkpoint.CheckpointDamaged):
        checkpoint.read(two_steps)
      path.write_bytes(whole)
  assert checkpoint.read(two_steps).step == 2


def test_a_missing_file_is_refused_by_name(two_steps):
  (two_steps / '2' / 'state' / 'manifest.ocdbt').unlink()
  with pytest.raises(CheckpointError, match=r'manifest.ocdbt: it is missing'):
    checkpoint.read(two_steps)


def test_from_last_good_goes_on_from_the_newest_whole_step(two_steps):
  flip(two_steps / '2' / 'metadata' / 'metadata', 99)
  assert checkpoint.drop_damaged(two_steps) == [2]
  with Checkpoints(two_steps) as checkpoints:
    assert checkpoints.latest_step() == 1
    assert_same(checkpoints.restore(create()), create())
    checkpoints.save(2, create())
  assert checkpoint.read(two_steps).step == 2


def test_from_last_good_begins_anew_where_no_step_is_whole(two_steps):
  for step in '12':
    flip(two_steps / step / 'metadata' / 'metadata', 99)
  with pytest.raises(
    CheckpointError, match=r'No older one is whole.*beginning'
  ):
    checkpoint.read(two_steps)
  assert checkpoint.drop_damaged(two_steps) == [2, 1]
  with Checkpoints(two_steps) as checkpoints:
    assert checkpoints.restore(create()) is None


def test_checkpoints_of_earlier_versions_have_no_digests(two_steps):
  (two_steps / '1' / 'digests.json').unlink()
  assert checkpoint.read(two_steps).step == 2
  (two_steps / '2' / 'digests.json').unlink()
  assert checkpoint.read(two_steps).step == 2


def test_digests_that_are_gone_are_missed(two_steps):
  """Of a later step than one that has them."""
  (two_steps / '2' / 'digests.json').unlink()
  with pytest.raises(checkpoint.CheckpointDamaged, match='it is missing'):
    checkpoint.read(two_steps)


def foreign(step, change):
  """Changes a step as somebody does who also writes its digests anew."""
  change(step)
  (step / 'digests.json').unlink()
  with contextlib.suppress(durable.Damaged):
    durable.record_folder(step)


def link_out(step):
  path = step / 'state' / 'manifest.ocdbt'
  path.rename(step.parent / 'outside')
  path.symlink_to(step.parent / 'outside')


def pipe(step):
  (step / 'state' / 'manifest.ocdbt').unlink()
  os.mkfifo(step / 'state' / 'manifest.ocdbt')


def truncate(step):
  path = max(files_of(step / 'state'), key=lambda path: path.stat().st_size)
  path.write_bytes(path.read_bytes()[:-100])


def enlarge(step):
  """An array of 4 TB, of which no chunk is there."""
  kernel = {
    'driver': 'zarr',
    'kvstore': {
      'driver': 'ocdbt',
      'base': f'file://{step / "state"}',
      'path': 'params.encoder.kernel/',
    },
    'metadata': {'shape': [10**6, 10**6], 'chunks': [3, 3], 'dtype': '<f4'},
  }
  tensorstore.open(kernel, create=True, delete_existing=True).result()


def pickled(step):
  for name in ('metadata/metadata', 'state/_METADATA'):
    (step / name).write_bytes(pickle.dumps(Bomb()))


class Bomb:
  """Ends the tests if it is unpickled."""

  def __reduce__(self):
    return os._exit, (1,)


@pytest.mark.parametrize(
  'change, message',
  [
    (link_out, 'Found a link at .*manifest.ocdbt; expected a file'),
    (pipe, 'Found a pipe or a device at .*manifest.ocdbt'),
    (truncate, 'cannot be read: .*expected a checkpoint as ssljax saves it'),
    (enlarge, r'arrays take 3,725.3 GB, while its files have 0.0 MB'),
    (pickled, 'cannot be read'),
  ],
)
def test_a_tampered_step_is_refused(two_steps, change, message):
  foreign(two_steps / '2', change)
  with pytest.raises(CheckpointError, match=message):
    checkpoint.read(two_steps)


@pytest.mark.parametrize('name', ['../1/metadata/metadata', '/etc/hostname'])
def test_digests_of_files_elsewhere_are_refused(two_steps, name):
  listing = two_steps / '2' / 'digests.json'
  listing.write_text(json.dumps({name: 64 * '0'}))
  with pytest.raises(CheckpointError, match='no list of files with their dig'):
    checkpoint.read(two_steps)


def test_killed_during_saves_the_newest_complete_step_restores(tmp_path):
  like = {str(i): jax.ShapeDtypeStruct((100, 1000), 'int32') for i in range(20)}
  random = np.random.default_rng(0)
  newest = 0
  for _ in range(3):
    with subprocess.Popen(
      [sys.executable, '-c', KILLED, str(tmp_path)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    ) as process:
      begun = [int(process.stdout.readline()) for _ in range(3)]
      time.sleep(random.uniform(0, 0.2))
      process.send_signal(signal.SIGKILL)
      rest, noise = process.communicate()
    begun += [int(line) for line in rest.split()]
    assert noise == ''
    assert begun[0] == newest + 1  # it went on from what had been complete
    with Checkpoints(tmp_path) as checkpoints:
      newest = checkpoints.latest_step()
      # A save is begun when the one before is complete; the last may be.
      assert newest in (begun[-1] - 1, begun[-1], begun[-1] + 1)
      state = checkpoints.restore(like)
    assert all((leaf == newest).all() for leaf in state.values())
    assert checkpoint.read(tmp_path).metadata == {'charset': '01'}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(newest + 1, state)
  assert all(name.isdigit() for name in os.listdir(tmp_path))


def test_only_orbax_is_quiet(tmp_path, caplog):
  from absl import logging as absl_logging

  logger = absl_logging.get_absl_logger()
  caplog.set_level(logging.INFO, logger=logger.name)
  logger.addHandler(caplog.handler)
  try:
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(1, create())
    checkpoint.read(tmp_path)
    absl_logging.info('from elsewhere')
  finally:
    logger.removeHandler(caplog.handler)
  assert {record.getMessage() for record in caplog.records} == {
    'from elsewhere'
  }
