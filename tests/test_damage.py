"""What is damaged in a run is named, and computed again where it can be."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from ssljax import checkpoint, damage, durable, workdir
from ssljax.checkpoint import CheckpointDamaged, Checkpoints
from ssljax.durable import Damaged

CONFIG = {'recipe': ('one',), 'one': {'take': {}}, 'seed': 0}
RESULTS = ('predictions.csv', 'stage.json')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A finished run of one stage."""
  folder = tmp_path_factory.mktemp('run')
  workdir.claim(folder, CONFIG)
  stage = folder / 'one'
  with Checkpoints(stage / 'checkpoints') as checkpoints:
    for step in (1, 2):
      checkpoints.save(step, {'params': jnp.full(3, step)})
  (stage / 'metrics.jsonl').write_text('{"step": 2, "seconds": 1}\n')
  (stage / 'predictions.csv').write_text('file,label\na.png,01\n')
  damage.finish(stage, {'test': 1.0})
  return folder


@pytest.fixture
def run(made, tmp_path):
  import shutil

  return shutil.copytree(made, tmp_path / 'run')


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def test_a_whole_run_is_left_alone(run):
  assert damage.mend(run, CONFIG) == []
  assert workdir.is_finished(run / 'one')


@pytest.mark.parametrize('name', RESULTS)
@pytest.mark.parametrize('missing', [False, True])
def test_results_are_evaluated_again(run, name, missing):
  path = run / 'one' / name
  if missing:
    path.unlink()
  else:
    flip(path, 50)
  if name == 'stage.json' and missing:
    assert damage.mend(run, CONFIG) == []  # a stage that has not finished
  else:
    (note,) = damage.mend(run, CONFIG, dry=True)
    assert str(path) in note and 'evaluated again' in note
    assert workdir.is_finished(run / 'one')
    damage.mend(run, CONFIG)
  assert not workdir.is_finished(run / 'one')
  assert checkpoint.read(run / 'one' / 'checkpoints').step == 2


def test_results_without_a_checkpoint_are_refused(run):
  import shutil

  flip(run / 'one' / 'predictions.csv', 3)
  shutil.rmtree(run / 'one' / 'checkpoints')
  with pytest.raises(Damaged, match=r'predictions\.csv.*no checkpoint'):
    damage.mend(run, CONFIG)
  assert workdir.is_finished(run / 'one')


def test_a_damaged_log_is_refused(run):
  flip(run / 'one' / 'metrics.jsonl', 9)
  with pytest.raises(Damaged, match=r'metrics\.jsonl damaged.*remove the fol'):
    damage.mend(run, CONFIG)


def test_a_stage_of_an_earlier_version_lacks_no_readings(run):
  (run / 'one' / durable.LISTING).unlink()
  assert damage.mend(run, CONFIG) == []
  (run / 'one' / 'predictions.csv').unlink()
  (note,) = damage.mend(run, CONFIG)
  assert 'predictions.csv: it is missing' in note


def test_a_damaged_checkpoint_waits_for_leave(run):
  flip(run / 'one' / 'checkpoints' / '2' / 'state' / 'manifest.ocdbt', 9)
  with pytest.raises(CheckpointDamaged, match=r'Step 1, .*--from_last_good'):
    damage.mend(run, CONFIG)
  assert workdir.is_finished(run / 'one')
  (note,) = damage.mend(run, CONFIG, from_last_good=True)
  assert 'manifest.ocdbt' in note and 'Step 1, before it, is whole' in note
  # It is trained again from step 1, and evaluated again.
  assert not workdir.is_finished(run / 'one')
  assert checkpoint.read(run / 'one' / 'checkpoints').step == 1


def test_a_damaged_older_checkpoint_is_named(run):
  flip(run / 'one' / 'checkpoints' / '1' / 'state' / 'manifest.ocdbt', 9)
  (note,) = damage.mend(run, CONFIG)
  assert '1/state/manifest.ocdbt' in note and 'not needed' in note
  assert workdir.is_finished(run / 'one')


def test_the_config_is_written_again_from_the_same_command(run):
  path = run / 'config.json'
  whole = path.read_text()
  for bit in range(0, 8 * len(whole), 37):
    flip(path, bit)
    (note,) = damage.mend(run, CONFIG)
    assert str(path) in note
    assert path.read_text() == whole
  flip(path, 30)
  with pytest.raises(Damaged, match=r'config\.json damaged'):
    damage.mend(run, {**CONFIG, 'seed': 1})


def test_every_bit_of_every_list_of_digests_is_noticed(run):
  """Whatever it hits: a name, a digest or the JSON itself."""
  random = np.random.default_rng(0)
  path = run / 'one' / durable.LISTING
  whole = path.read_bytes()
  for bit in random.integers(8 * len(whole), size=40):
    flip(path, bit)
    assert json.loads(whole)  # what was there is fine
    try:
      assert damage.mend(run, CONFIG, dry=True)
    except Damaged as error:
      assert 'metrics.jsonl' in str(error)
    path.write_bytes(whole)
