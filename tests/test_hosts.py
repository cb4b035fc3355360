"""Several processes are one run: real ones, over loopback."""

import threading

import numpy as np
import pytest
import several

from ssljax import hosts, parallel
from ssljax.errors import UserError

NAMES = ('simclr', 'moco', 'swav', 'deepcluster', 'self_training')
STEPS = 6  # an epoch has 4, and a checkpoint is due every 3


def found(folder, name):
  with np.load(folder / f'{name}.npz') as arrays:
    return dict(arrays)


def alone(folder, names, **options):
  """The same run in this process, on one device."""
  return several.run(
    names=names, folder=str(folder), steps=STEPS, mapping='jit', **options
  )


def several_processes(count, folder, names, **options):
  codes, words = several.start(
    count, names=names, folder=str(folder), steps=STEPS, **options
  )
  assert codes == [0] * count, words
  return {name: found(folder, name) for name in names}


def assert_equal(run, expected):
  """Losses from the same step on, and the last params."""
  for name, each in expected.items():
    losses = each['losses'][-len(run[name]['losses']) :]
    np.testing.assert_allclose(run[name]['losses'], losses, atol=1e-5)
    several.write({name: each}, each['folder'])
    wanted = found(each['folder'], name)
    for path in wanted.keys() - {'losses'}:
      np.testing.assert_allclose(
        run[name][path], wanted[path], atol=1e-5, err_msg=f'{name} {path}'
      )


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
  """What one process finds: name -> found, made when first asked for."""
  folder, made = tmp_path_factory.mktemp('one'), {}

  def of(*names):
    for name in names:
      if name not in made:
        made[name] = alone(folder, [name])[name] | {'folder': folder}
    return {name: made[name] for name in names}

  return of


def test_two_processes_equal_one(tmp_path, expected):
  run = several_processes(2, tmp_path, ['simclr'])
  assert len(run['simclr']['losses']) == STEPS
  assert_equal(run, expected('simclr'))


@pytest.mark.slow
@pytest.mark.parametrize(
  ('count', 'options'),
  [
    (2, {}),
    (4, {}),
    (2, {'mapping': 'pmap'}),
    (2, {'steps_per_call': 2, 'log_every': 2}),
    (2, {'resident': True}),
  ],
)
def test_all_kinds_of_methods_equal_one_process(
  count, options, tmp_path, expected
):
  run = several_processes(count, tmp_path, NAMES, **options)
  wanted = expected(*NAMES)
  if 'log_every' in options:  # the losses are means of several steps
    run, wanted = (
      {name: each | {'losses': np.empty(0)} for name, each in found.items()}
      for found in (run, wanted)
    )
  assert_equal(run, wanted)


@pytest.mark.slow
@pytest.mark.parametrize('count', [1, 2])
def test_a_checkpoint_of_four_resumes_on_fewer(count, tmp_path, expected):
  """One process alone is asked to stop, and all stop after the same step."""
  names = ['simclr', 'moco', 'deepcluster']
  run = several_processes(4, tmp_path, names, until=2, asked=2)
  steps = {int(each['step']) for each in run.values()}
  assert steps == {3}  # the answer is of the call before
  if count == 1:
    several.write(alone(tmp_path, names), tmp_path)
    run = {name: found(tmp_path, name) for name in names}
  else:
    run = several_processes(count, tmp_path, names)
  assert all(len(each['losses']) == STEPS - 3 for each in run.values())
  assert_equal(run, expected(*names))


@pytest.mark.slow
def test_no_process_waits_for_one_that_failed(tmp_path):
  codes, words = several.start(
    2,
    names=['simclr'],
    folder=str(tmp_path),
    steps=STEPS,
    failing=1,
    shared=[f'{tmp_path}/data', f'{tmp_path}/data-{{process}}'],
  )
  assert 0 not in codes
  assert 'a process that fails' in words[1]
  for said in words:
    assert f'All 2 processes share {tmp_path}/data:' in said
    assert '1 of 2 processes share' in said and 'the other 1 has its' in said
  assert not list(tmp_path.glob('data*/.*'))


def test_each_process_has_its_rows():
  rows = parallel.rows_of_process(16)
  np.testing.assert_array_equal(rows, np.arange(16))


def test_a_file_that_comes_late_is_waited_for(tmp_path, monkeypatch):
  late = tmp_path / 'late'
  assert not hosts.sees(late)  # process 0 wrote it, or nobody did
  monkeypatch.setattr(hosts, 'first', lambda: False)
  assert not hosts.sees(late, 0.0)
  threading.Timer(0.3, late.touch).start()
  assert hosts.sees(late)


def test_one_process_is_left_alone():
  def asked():
    return True

  assert hosts.agreed(asked) is asked
  tree = {'a': np.ones(2)}
  assert parallel.own(tree) is tree
  assert parallel.everywhere(tree) is tree
  assert parallel.changed_by_first(dict, tree) == tree
  hosts.wait('nobody')
  hosts.check_same('nothing', object())
  with pytest.raises(KeyError), hosts.ending_together():
    raise KeyError
  hosts.start()  # no other process is found


@pytest.mark.parametrize(
  ('arguments', 'expected'),
  [
    (('localhost:1', None, None), 'no --processes and no --process; expected'),
    ((None, 2, 1), 'no --coordinator; expected'),
    (('localhost:1', 2, 2), '--process=2; expected .* from 0 to 1'),
    (('localhost', 2, 0), '--coordinator=localhost .* expected HOST:PORT'),
  ],
)
def test_what_is_missing_is_said(arguments, expected):
  with pytest.raises(UserError, match=expected):
    hosts.start(*arguments)


MPI = {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '1'}


def test_an_mpi_that_does_not_tell_the_way_is_told_it(monkeypatch):
  for name, value in MPI.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UserError, match='version 5; expected --coordinator='):
    hosts.start()
  calls = []
  monkeypatch.setattr(
    hosts.jax.distributed, 'initialize', lambda *given, **_: calls.append(given)
  )
  hosts.start('a:1')
  hosts.start('a:1', 2, 0)
  assert calls == [('a:1', 2, 1, None), ('a:1', 2, 0, None)]


SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'a[1-2]',
  'SLURM_LOCALID': '0',
  'SLURM_NTASKS': '2',
}


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    ({}, False),
    (SLURM, True),
    (SLURM | {'SLURM_STEP_NUM_TASKS': '1'}, False),
    ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '2'}, False),  # a batch script
    ({'OMPI_COMM_WORLD_SIZE': '2'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'a'}, False),
  ],
)
def test_processes_are_found_by_the_environment(environment, expected):
  assert hosts.detected(environment) == expected


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    ({}, None),
    ({'SLURM_STEP_TASKS_PER_NODE': '1', 'SLURM_GPUS_ON_NODE': '2'}, [0, 1]),
    ({'SLURM_STEP_TASKS_PER_NODE': '1(x3)', 'SLURM_GPUS_ON_NODE': '1'}, [0]),
    # A task a GPU takes its own, as JAX does without being told.
    ({'SLURM_STEP_TASKS_PER_NODE': '2(x3)', 'SLURM_GPUS_ON_NODE': '2'}, None),
    ({'SLURM_STEP_TASKS_PER_NODE': '1(x3)'}, None),
  ],
)
def test_the_only_task_of_a_node_takes_all_of_its_gpus(environment, expected):
  assert hosts.gpus(environment) == expected
