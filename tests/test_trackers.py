"""What trackers are told: all that the run logs, once, whatever happens."""

import importlib.util
import json

import jax
import logged
import numpy as np
import pytest

from ssljax import log, trackers
from ssljax.errors import UserError
from ssljax.log import Log
from ssljax.records import write_json

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
CONFIG = {'pretrain': {'steps': 30}}


def _start(run, steps, *, start=0, names=('wandb',), pictures=()):
  """One start of a run of one stage, which logs some of its steps."""

  def replay(tracker):
    log.replay(run, ['pretrain'], tracker)

  with (
    trackers.opened(names, run, CONFIG, replay) as tracking,
    Log(
      run / 'pretrain',
      name='pretrain',
      total=30,
      start=start,
      trackers=tracking,
    ) as one,
  ):
    for step in steps:
      one.scalars(step, {'loss': step / 7, 'bad': np.nan})
      if step in pictures:
        one.picture(step, PIXELS)


def _lines(run):
  text = (run / 'pretrain' / 'metrics.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  return [
    {f'pretrain/{k}': v for k, v in line.items() if v is not None}
    for line in lines
  ]


def test_all_that_is_logged_is_told(tmp_path, monkeypatch):
  (tmp_path / 'run').mkdir()
  starts = logged.fake_wandb(monkeypatch)
  _start(tmp_path / 'run', [10, 20], pictures=[20])
  (run,) = starts
  *lines, picture = run.lines
  assert lines == _lines(tmp_path / 'run')
  assert picture.pop('pretrain/step') == 20
  assert picture['pretrain/task'].shape == (16, 16, 3)  # as the file
  assert run.steps == {'pretrain/*': 'pretrain/step'}
  options = run.options
  assert (options['mode'], options['name']) == ('offline', 'run')
  assert options['dir'] == str(tmp_path / 'run')
  assert options['config'] == CONFIG
  assert run.status == 0


def test_the_environment_says_otherwise(tmp_path, monkeypatch):
  starts = logged.fake_wandb(monkeypatch)
  monkeypatch.setenv('WANDB_MODE', 'online')
  monkeypatch.setenv('WANDB_PROJECT', 'mine')
  _start(tmp_path, [])
  assert starts[0].options['mode'] == 'online'
  assert starts[0].options['project'] == 'mine'


def test_a_resumed_run_goes_on_in_the_same_one(tmp_path, monkeypatch):
  """Steps that run again after a kill are told once."""
  starts = logged.fake_wandb(monkeypatch)
  _start(tmp_path, [5, 10, 15], pictures=[10])
  _start(tmp_path, [15, 20], start=10)
  _start(tmp_path, [5, 10, 15, 20], pictures=[10, 20])  # from its beginning
  assert len({run.id for run in starts}) == 1
  assert {run.options['resume'] for run in starts} == {'allow'}
  told = [line for run in starts for line in run.lines]
  assert [
    (line['pretrain/step'], 'pretrain/task' in line) for line in told
  ] == [(5, 0), (10, 0), (10, 1), (15, 0), (20, 0), (20, 1)]


def test_a_tracker_that_comes_later_is_told_what_was_before(
  tmp_path, monkeypatch
):
  starts = logged.fake_wandb(monkeypatch)
  _start(tmp_path, [5, 10, 15], names=(), pictures=[10])
  write_json(
    tmp_path / 'pretrain' / 'stage.json',
    {'steps': 15, 'test': {'exact_match': 0.5, 'by_seed': [1, 2]}, 'from': 'x'},
  )
  _start(tmp_path, [15, 20], start=10)
  told = [
    (line['pretrain/step'], sorted(line.keys() - {'pretrain/step'})[-1])
    for line in starts[0].lines
  ]
  assert told == [
    *((step, 'pretrain/seconds') for step in (5, 10, 15)),
    (10, 'pretrain/task'),
    (15, 'pretrain/end/test/exact_match'),
    (20, 'pretrain/seconds'),
  ]


@pytest.mark.parametrize('when', [0, 2])
def test_a_tracker_that_fails_is_told_of_once(
  tmp_path, monkeypatch, capfd, when
):
  starts = logged.fake_wandb(monkeypatch)
  _start(tmp_path, [])

  def broken(line):
    if len(starts[1].lines) == when:
      raise ConnectionError('gone')
    starts[1].lines.append(line)

  init = trackers.Wandb.__init__

  def made(self, *arguments):
    init(self, *arguments)
    self._run.log = broken

  monkeypatch.setattr(trackers.Wandb, '__init__', made)
  _start(tmp_path, [10, 20, 30])
  assert len(starts[1].lines) == when
  said = capfd.readouterr().err
  assert said.count('Found wandb failing: ConnectionError') == 1
  assert len(_lines(tmp_path)) == 3


def test_a_tracker_that_does_not_start_stops_the_run(tmp_path, monkeypatch):
  starts = logged.fake_wandb(monkeypatch)
  module = importlib.import_module('wandb')
  monkeypatch.setattr(module, 'init', lambda **options: 1 / 0)
  with pytest.raises(
    UserError, match=r'wandb not starting: ZeroDivision.*--log'
  ):
    _start(tmp_path, [10])
  assert not starts and not (tmp_path / 'pretrain').exists()


def test_a_run_that_stops_is_told_as_stopped(tmp_path, monkeypatch):
  starts = logged.fake_wandb(monkeypatch)
  with (
    pytest.raises(KeyboardInterrupt),
    trackers.opened(['wandb'], tmp_path, {}, lambda tracker: None),
  ):
    raise KeyboardInterrupt
  assert starts[0].status == 1


def test_names(tmp_path, monkeypatch):
  logged.fake_wandb(monkeypatch)
  assert trackers.asked([]) == []
  assert trackers.asked(['wandb', 'wandb,wandb']) == ['wandb']
  with pytest.raises(UserError, match=r"'wandbb'.*wandb, mlflow.*'wandb'\?"):
    trackers.asked(['wandb', 'wandbb'])
  monkeypatch.delitem(importlib.sys.modules, 'wandb')
  # Not even a folder that wandb has left where the command is typed.
  monkeypatch.setattr(importlib.sys, 'path', [str(tmp_path)])
  (tmp_path / 'wandb').mkdir()
  importlib.invalidate_caches()
  for name in trackers.TRACKERS:
    with pytest.raises(UserError, match=rf"pip install 'ssljax\[{name}\]'"):
      trackers.asked([name])
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  assert trackers.asked(['mlflow']) == ['mlflow']  # only process 0 needs it


def test_other_processes_tell_nothing(tmp_path, monkeypatch):
  starts = logged.fake_wandb(monkeypatch)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  _start(tmp_path / 'run', [10])
  assert not starts and not (tmp_path / 'run').exists()


def test_wandb_itself(tmp_path, monkeypatch):
  """Offline, in the folder of the run."""
  pytest.importorskip('wandb')
  for name in ('MODE', 'DIR', 'RUN_ID'):
    monkeypatch.delenv(f'WANDB_{name}', raising=False)
  monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
  _start(tmp_path, [10, 20], pictures=[20])
  known = json.loads((tmp_path / 'trackers.json').read_text())['wandb']
  (found,) = (tmp_path / 'wandb').glob(f'offline-run-*-{known}')
  told = (found / f'run-{known}.wandb').read_bytes()
  for name in (b'loss', b'seconds', b'step', b'task'):
    assert b'pretrain/' + name in told
  (picture,) = found.glob('files/media/images/pretrain/*.png')
  assert picture.read_bytes().startswith(b'\x89PNG')


@pytest.mark.filterwarnings('default')  # what it deprecates is its own
def test_mlflow_itself(tmp_path, monkeypatch):
  """In a database in the folder of the run."""
  mlflow = pytest.importorskip('mlflow')
  for name in ('TRACKING_URI', 'RUN_ID', 'EXPERIMENT_NAME'):
    monkeypatch.delenv(f'MLFLOW_{name}', raising=False)
  _start(tmp_path, [10, 20], pictures=[20], names=('mlflow',))
  _start(tmp_path, [20, 30], start=10, names=('mlflow',))
  client = mlflow.MlflowClient(f'sqlite:///{tmp_path}/mlflow/mlflow.db')
  (experiment,) = client.search_experiments(filter_string="name = 'ssljax'")
  (run,) = client.search_runs([experiment.experiment_id])
  assert run.info.status == 'FINISHED'
  history = client.get_metric_history(run.info.run_id, 'pretrain/loss')
  assert [(each.step, each.value) for each in history] == [
    (step, step / 7) for step in (10, 20, 30)
  ]
  names = {each.path for each in client.list_artifacts(run.info.run_id)}
  assert names == {'config.json', 'images'}
  assert list((tmp_path / 'mlflow').rglob('*pretrain*task*.png'))
