"""A whole run: what it leaves, what stops it, and what it goes on from."""

import functools
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import logged
import numpy as np
import pytest
import tiny_ocr
from PIL import Image

import ssljax
from configs import simclr_ocr
from ssljax import core, cost, evals, flags, lock, main, tasks, train
from ssljax import stage as stage_lib
from ssljax.checkpoint import Checkpoints, read
from ssljax.data import datasets
from ssljax.records import write_json
from ssljax.workdir import claim

pytestmark = pytest.mark.slow  # starts processes
ROOT = pathlib.Path(__file__).parent.parent
DRIVER = str(ROOT / 'tests' / 'driver.py')
TINY = f'--config={ROOT}/tests/tiny_ocr.py'
SMOKE = '--config=configs/simclr_ocr.py:smoke'
STAGES = tuple(tiny_ocr.STEPS)

# Runs each list of flags read from stdin as `python -m ssljax.main` would, in a
# fork of a process that has imported all but `main`: an import takes seconds.
FORKS = """
import json, os, runpy, sys, tempfile
sys.path.insert(0, os.getcwd())
from ssljax import tasks, train
found = []
for flags in json.load(sys.stdin):
  with tempfile.TemporaryFile('w+') as file:
    child = os.fork()
    if not child:
      os.dup2(file.fileno(), 1)
      os.dup2(file.fileno(), 2)
      sys.argv = ['ssljax.main', *flags]
      # alter_sys: --help shows the docstring of what runs.
      runpy.run_module('ssljax.main', run_name='__main__', alter_sys=True)
      sys.exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    file.seek(0)
    found.append((code, file.read()))
print(json.dumps(found))
"""


def _start(*command, **options):
  # On one device, as a person's run on CPU.
  flags = [
    flag
    for flag in os.environ['XLA_FLAGS'].split()
    if 'device_count' not in flag
  ]
  environment = os.environ | {'XLA_FLAGS': ' '.join(flags)}
  return subprocess.run(
    [sys.executable, *command],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
    **options,
  )


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def _flags(workdir, data_dir):
  places = f'--workdir={workdir}', f'--data_dir={data_dir}'
  return TINY, *places, '--noreport'


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, data_dir):
  """(workdir, process, record) of a run from start to end."""
  workdir = tmp_path_factory.mktemp('undisturbed') / 'run'
  record = workdir.parent / 'record.json'
  wanted = json.dumps({'record': str(record)})
  flags = *_flags(workdir, data_dir), '--report'
  done = _start(DRIVER, wanted, *flags)
  assert done.returncode == 0, done.stderr
  return workdir, done, json.loads(record.read_text())


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory, data_dir, undisturbed):
  """The same run, stopped four times; its workdir and the four processes.

  After `undisturbed`, whose compiled code it uses.
  """
  workdir = tmp_path_factory.mktemp('interrupted') / 'run'
  stops = (
    ('pretrain', 0, 'SIGTERM'),
    ('pretrain', 5, 'SIGKILL'),
    ('finetune', 5, 'SIGKILL'),
    ('supervised', 5, 'SIGTERM'),
  )
  found = []
  for stage, step, name in stops:
    wanted = json.dumps({'stage': stage, 'step': step, 'signal': name})
    done = _start(DRIVER, wanted, *_flags(workdir, data_dir))
    found.append((done, _saved(workdir)))
  last = _start('-m', 'ssljax.main', *_flags(workdir, data_dir))
  assert last.returncode == 0, last.stderr
  return workdir, found


def _saved(workdir):
  """Stage -> its newest complete checkpoint."""
  return {
    stage: max(
      (
        int(step.name)
        for step in (workdir / stage / 'checkpoints').glob('*')
        if step.name.isdigit()
      ),
      default=None,
    )
    for stage in STAGES
    if (workdir / stage).exists()
  }


def _lines(workdir, stage):
  text = (workdir / stage / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_a_run_leaves_all_that_it_promises(undisturbed):
  workdir, done, _ = undisturbed
  results = json.loads((workdir / 'results.json').read_text())
  pretraining = results.pop('pretraining')
  assert list(pretraining) == ['pretrain']  # of stages without labels
  assert pretraining['pretrain']['step'] == 12
  (rows,) = [each['rows'] for each in results.values()]
  assert list(rows) == ['SimCLR + head', 'SimCLR + finetune', 'supervised']
  for row in rows.values():
    assert row['labels'] == 32
    assert set(row['figures']) >= {'test', 'arcs', 'colors'}
    every = row['figures']['test']
    assert every['count'] == 16
    for name in ('edit_distance_accuracy', 'exact_match'):
      assert every[name]['low'] <= every[name]['value'] <= every[name]['high']
  (differences,) = [each['differences'] for each in results.values()]
  assert list(differences) == ['SimCLR + finetune - supervised']

  config = json.loads((workdir / 'config.json').read_text())
  assert config == json.loads(json.dumps(tiny_ocr.get_config().to_dict()))
  table = (workdir / 'results.md').read_text()
  # The results alone are on stdout, and end in where to find them.
  assert done.stdout.startswith(table)
  assert done.stdout.endswith(
    f'Report: {workdir}/report.html\nTrained run: {workdir}\n'
  )
  assert (workdir / 'report.html').read_text().startswith('<!doctype html>')
  for stage in STAGES:
    lines = _lines(workdir, stage)
    steps = tiny_ocr.STEPS[stage]
    assert [line['step'] for line in lines] == list(range(1, steps + 1))
    assert all(np.isfinite(line['loss']) for line in lines)
    told = {
      (event.step, value.tag)
      for event in logged.events(workdir / stage)
      for value in event.summary.value
    }
    assert {(line['step'], name) for line in lines for name in line} - told == {
      (line['step'], 'step') for line in lines
    }
    assert (steps, 'end/steps') in told
    assert ((steps, 'end/test/exact_match') in told) == (stage != 'pretrain')
    saved = read(workdir / stage / 'checkpoints')
    assert saved.step == saved.state['step'] == steps
    assert saved.metadata['config'] == config
    assert saved.metadata['stage'] == stage


def test_pretraining_tells_how_it_goes(undisturbed):
  line = _lines(undisturbed[0], 'pretrain')[-1]
  assert {'loss', 'retrieval', 'retrieval_chance', 'gradient_norm'} <= set(line)


def test_parts_are_taken_and_frozen_ones_stay(undisturbed):
  workdir, _, _ = undisturbed
  encoders = {
    stage: read(workdir / stage / 'checkpoints', 'params').state['params'][
      'encoder'
    ]
    for stage in ('pretrain', 'head', 'finetune')
  }

  def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))

  assert equal(encoders['pretrain'], encoders['head'])
  assert not equal(encoders['head'], encoders['finetune'])


def test_figures_are_those_of_the_images_of_their_split(undisturbed, data_dir):
  """What chooses is not read off the test images."""
  workdir, _, _ = undisturbed
  # After two steps every image is read, wrongly, in a way of its own.
  reader = ssljax.load(workdir, stage='head')
  found = json.loads((workdir / 'head' / 'stage.json').read_text())
  data = tiny_ocr.get_config().data.to_dict()
  dataset = datasets.open_dataset(data, data_dir=str(data_dir))
  values = set()
  for name, split in (
    ('fit', 'train'), ('validation', 'validation'), ('test', 'test')
  ):  # fmt: skip
    source = dataset.open(split)
    examples = source.gather(range(len(source)))
    texts = [text for text, _ in reader.recognize(examples['image'])]
    labels = [str(text) for text in examples['text']]
    expected = {
      'edit_distance_accuracy': evals.edit_distance_accuracy(texts, labels),
      'exact_match': evals.exact_match(texts, labels),
      'character_error_rate': evals.character_error_rate(texts, labels),
    }
    assert found[name] == pytest.approx(expected), name
    values.add(round(found[name]['edit_distance_accuracy'], 3))
  assert len(values) == 3


def test_one_compilation_a_stage_and_a_donated_state(undisturbed):
  _, _, record = undisturbed
  assert list(record) == list(STAGES)
  for name, seen in record.items():
    assert seen['traces'] == seen['compilations'] == 1, name
    assert len(seen['donated']) == tiny_ocr.STEPS[name]
    # After a save, here every second step, Orbax may still read the memory of
    # the state on CPU, and the runtime then refuses to give it away.
    assert all(seen['donated'][1::2]), name


def test_a_finished_run_returns_at_once(undisturbed, data_dir, monkeypatch):
  workdir, done, _ = undisturbed

  def train_nothing(*args, **options):
    raise AssertionError('a finished stage ran again')

  monkeypatch.setattr(train, 'fit', train_nothing)
  # Nor is its data opened, which may have to be rendered anew.
  monkeypatch.setattr(datasets.Rendered, '_open', train_nothing)
  monkeypatch.setattr(cost, 'loss_flops', train_nothing)
  before = {
    file: file.stat().st_mtime_ns
    for stage in STAGES
    for file in (workdir / stage).rglob('*')
  }
  table = main.run(tiny_ocr.get_config(), workdir, str(data_dir), lambda: False)
  assert done.stdout.startswith(table)
  assert before == {file: file.stat().st_mtime_ns for file in before}


def test_killed_and_resumed_is_bit_equal(undisturbed, interrupted):
  """SIGKILL in pretraining and in finetuning, SIGTERM in compilation and in
  supervised training: nothing of it is seen in the end."""
  (undisturbed, _, _), (interrupted, found) = undisturbed, interrupted
  killed = [done.returncode for done, _ in found[1:3]]
  assert killed == [-9, -9]
  # In the middle of an epoch and past the newest checkpoint, so that steps
  # were lost and run again.
  assert found[1][1]['pretrain'] in (2, 4)
  assert found[2][1]['pretrain'] == tiny_ocr.STEPS['pretrain']
  assert found[2][1]['finetune'] in (2, 4)
  for stage in STAGES:
    a = read(undisturbed / stage / 'checkpoints')
    b = read(interrupted / stage / 'checkpoints')
    assert a.step == b.step
    assert set(a.state) == {
      'step',
      'key',
      'params',
      'method_state',
      'opt_state',
    }
    jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
    # And what it tells: each step once, with the same figures.
    for one, other in zip(
      _lines(undisturbed, stage), _lines(interrupted, stage), strict=True
    ):
      assert one | {'seconds': 0} == other | {'seconds': 0}
    for file in ('stage.json', 'predictions.csv'):
      if (undisturbed / stage / file).exists():
        one, other = (run / stage / file for run in (undisturbed, interrupted))
        assert one.read_text() == other.read_text()
  one, other = (run / 'results.json' for run in (undisturbed, interrupted))
  assert one.read_text() == other.read_text()


def test_a_head_takes_its_statistics_along(undisturbed):
  """It learns them on the frozen encoder, and finetuning keeps them."""
  workdir = undisturbed[0]
  learned, kept = (
    read(workdir / stage / 'checkpoints', 'method_state').state['method_state'][
      'batch_stats'
    ]['head']
    for stage in ('head', 'finetune')
  )
  jax.tree.map(np.testing.assert_array_equal, learned, kept)
  (norm,) = learned.values()
  assert norm['mean'].all() and (norm['var'] != 1).all()


@pytest.mark.parametrize(
  ('place', 'stage', 'step'), [(0, 'pretrain', 1), (3, 'supervised', 5)]
)
def test_a_signal_saves_and_says_so(interrupted, place, stage, step):
  """In the middle of compilation, and between two checkpoints."""
  done, saved = interrupted[1][place]
  assert done.returncode == 75
  assert 'Stopping: saving the state' in done.stderr
  assert done.stderr.endswith(
    'Stopped, and saved; the same command goes on from here.\n'
  )
  assert 'Traceback' not in done.stderr
  assert saved[stage] == step


def test_a_loss_that_is_not_finite_stops(tmp_path, data_dir):
  done = _start(
    '-m',
    'ssljax.main',
    *_flags(tmp_path / 'run', data_dir),
    "--config.recipe=('supervised',)",
    '--config.supervised.optimizer.learning_rate=1e30',
    '--config.supervised.optimizer.decay=constant',
    '--config.supervised.optimizer.warmup_share=0.25',
    '--config.checkpoint_every=1',
  )
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  message = done.stderr.splitlines()[-1]
  assert "Stage 'supervised': found" in message
  assert ' not finite at step' in message
  assert '--config.supervised.optimizer.learning_rate' in message
  saved = read(tmp_path / 'run' / 'supervised' / 'checkpoints')
  assert saved.step >= 1
  assert re.search(rf'at step {saved.step + 1}\b', message)
  for leaf in jax.tree.leaves(saved.state):
    assert np.isfinite(leaf).all()


# Flags and what the message must hold: found, expected, remedy.
MISTAKES = {
  'stage of an override': (
    (SMOKE, '--config.pretrian.epochs=3'),
    ("'pretrian'", "Did you mean 'pretrain'?"),
  ),
  'key of an override': (
    (SMOKE, '--config.pretrain.epoch=3'),
    ("config.pretrain has no 'epoch'", "Did you mean 'epochs'?"),
  ),
  'key of a value': ((SMOKE, '--config.seed.x=3'), ("config.seed has no 'x'",)),
  'scale': (
    ('--config=configs/simclr_ocr.py:labtop',),
    ("Found 'labtop'", 'smoke, laptop, article', "Did you mean 'laptop'?"),
  ),
  'flag': ((SMOKE, '--workdri=x'), ("'workdri'", 'Did you mean: workdir')),
  'no config': ((), ('Found no --config', '--config=configs/simclr_ocr.py')),
  'no such config': (
    ('--config', 'nowhere.py:smoke'),
    ("no file 'nowhere.py'", '--config=configs/simclr_ocr.py'),
  ),
  'wrong type': (
    (SMOKE, '--config.pretrain.epochs=abc'),
    ('--config.pretrain.epochs=abc', 'int', 'expected a value such as 0'),
  ),
  'no flag': ((SMOKE, 'pretrain'), ("Found 'pretrain'", 'flags only')),
  'stage of the recipe': (
    (TINY, "--config.recipe=('pretrain','fintune')"),
    ("stage 'fintune'", "Did you mean 'finetune'?"),
  ),
  'no stage': (
    (TINY, "--config.recipe=('data',)"),
    ("stage 'data'", 'expected one of finetune, head, pretrain, supervised'),
  ),
  'method': (
    (TINY, '--config.pretrain.method.name=simclear'),
    ("method 'simclear'", "Did you mean 'simclr'?"),
  ),
  'layout': (
    (TINY, "--config.data.layouts=('arcs','colours')"),
    ("layout 'colours'", 'colors'),
  ),
  'charset': (
    (TINY, '--config.data.charset=digit'),
    ("charset 'digit'", 'one of digits', "Did you mean 'digits'?"),
  ),
  'too few examples': (
    (
      TINY,
      "--config.recipe=('supervised',)",
      '--config.supervised.data.count=33',
    ),
    ('Found 32 examples', 'expected at least 33', 'Ask for fewer'),
  ),
  'no step': (
    (TINY, '--config.pretrain.epochs=-1'),
    ('-1 epochs of 64 examples', 'set epochs or steps'),
  ),
  'negative steps': (
    (TINY, '--config.pretrain.steps=-1'),
    ('Found -1 steps', 'expected 0 or more'),
  ),
  'frames': (
    (
      TINY,
      "--config.recipe=('supervised',)",
      '--config.encoder.strides=((2,4),(2,4))',
    ),
    ('Found label', 'frames', '96 pixels wide gives 6', '--config.data.width'),
  ),
  'length of a label': (
    (TINY, "--config.recipe=('supervised',)", '--config.data.max_length=5'),
    ('has 6 characters, expected at most 5', 'allow longer ones'),
  ),
}


@pytest.fixture(scope='module')
def mistakes(tmp_path_factory, data_dir, undisturbed):
  """What `main` says to each of MISTAKES, --help and other workdirs."""
  folder = tmp_path_factory.mktemp('mistakes')
  strange = folder / 'strange'
  strange.mkdir()
  (strange / 'thesis.tex').write_text('')
  flags = {
    name: (*given, f'--workdir={folder}/{place}', f'--data_dir={data_dir}')
    for place, (name, (given, _)) in enumerate(MISTAKES.items())
  }
  flags['other run'] = (
    *_flags(undisturbed[0], data_dir),
    '--config.pretrain.steps=13',
  )
  flags['strange folder'] = _flags(strange, data_dir)
  flags['help'] = ('--help',)
  flags['debug'] = (*flags['strange folder'], '--debug')
  done = _start('-c', FORKS, input=json.dumps(list(flags.values())))
  assert done.returncode == 0, done.stderr
  return dict(zip(flags, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_told_without_a_traceback(mistakes, name):
  code, output = mistakes[name]
  assert code == 1
  assert 'Traceback' not in output
  for part in MISTAKES[name][1]:
    assert part in output


def test_a_workdir_of_another_config_is_refused(mistakes, undisturbed):
  code, output = mistakes['other run']
  assert code == 1
  assert 'Traceback' not in output
  assert f'{undisturbed[0]} belongs to a run of another config' in output
  assert 'config.pretrain.steps: 12 there, 13 here' in output
  assert 'Choose another --workdir' in output
  code, output = mistakes['strange folder']
  assert code == 1
  assert 'Traceback' not in output
  assert 'Found files but no config.json' in output


def test_debug_tells_where_a_mistake_was_found(mistakes):
  code, output = mistakes['debug']
  assert code == 1
  assert 'Traceback' in output and 'in check_claim' in output
  assert output.rstrip().endswith('Choose another --workdir.')


def test_help_explains_itself(mistakes):
  code, output = mistakes['help']
  assert code == 0
  assert 'Traceback' not in output
  for part in (
    '--config',
    '--workdir',
    '--data_dir',
    '--config.pretrain.epochs=3',
    'configs/simclr_ocr.py:smoke',
    'goes on from where it was',
  ):
    assert part in output


def test_a_torn_first_write_does_not_bar_the_folder(tmp_path):
  """Killed while config.json was being written: only its temporary is there."""
  (tmp_path / 'config.json.123.tmp').write_text('{"scale')
  claim(tmp_path, tiny_ocr.get_config().to_dict())
  assert json.loads((tmp_path / 'config.json').read_text())['seed'] == 0


def test_a_bug_keeps_its_traceback(tmp_path):
  """Only what a person can put right is told in a line."""
  program = (
    'import sys; sys.path.insert(0, "")\n'
    'from ssljax.data import text_images\n'
    'def prepare(**options): raise ValueError("a bug")\n'
    'text_images.prepare = prepare\n'
    'import runpy; runpy.run_module("ssljax.main", run_name="__main__")'
  )
  done = _start('-c', program, *_flags(tmp_path / 'run', tmp_path))
  assert done.returncode == 1
  assert 'Traceback' in done.stderr
  assert done.stderr.rstrip().endswith('ValueError: a bug')


def test_the_config_argument_in_every_spelling():
  assert flags.config_argument(['main']) is None
  assert flags.config_argument(['main', '--config=a.py:b']) == 'a.py:b'
  assert flags.config_argument(['main', '--config', 'a.py']) == 'a.py'


def test_a_config_finds_its_library_from_any_folder(tmp_path, monkeypatch):
  """The path ends at the first colon, whatever stands behind it."""
  (tmp_path / 'configs').mkdir()
  file = tmp_path / 'configs' / 'a.py'
  file.write_text('')
  monkeypatch.setattr(flags.flags, 'FLAGS', lambda argv: argv)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  for argument in ('', ':smoke', ':smoke,data=/some/where/else'):
    flags.parse_flags(['main', f'--config={file}{argument}'])
    assert sys.path.pop() == str(tmp_path)


def test_a_home_folder_is_expanded(monkeypatch):
  monkeypatch.setenv('HOME', '/home/a')
  given = ['main', '--workdir=~/b', '-data_dir', '~', '--config=~/c.py:x=~/d']
  given += ['--config.rows=~/e', '~/f', '--dry_run', '~/g']
  assert flags.expanded(given) == [
    'main',
    '--workdir=/home/a/b',
    '-data_dir',
    '/home/a',
    '--config=/home/a/c.py:x=~/d',
    *given[5:],
  ]


@pytest.mark.parametrize('name', ['simclr_ocr', 'simclr_images'])
def test_a_home_folder_is_expanded_in_a_config(name, monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'own').mkdir()
  (tmp_path / 'own' / 'labels.csv').write_text('file,text\n')
  get = importlib.import_module(f'configs.{name}').get_config
  config = get('smoke,data=~/own,take=~/run')
  assert config.data.directory == f'{tmp_path}/own'
  assert f'{tmp_path}/run' in str(config) and '~' not in str(config)
  if name == 'simclr_ocr':
    assert 'finetune' in config.recipe  # its labels were found


COMMAND = 'python -m ssljax.main'


def test_the_command_that_keeps_the_encoder(tmp_path, monkeypatch):
  monkeypatch.setattr(flags, 'accepted', lambda source: 'take=' in source)
  run, recipe = tmp_path / 'run', f'{ROOT}/configs/simclr_ocr.py'
  argv = ['main', f'--config={recipe}:smoke,data=own', '--workdir', str(run)]
  told = flags.go_on(argv, run, True).splitlines()
  assert told[1].strip() == (
    f'{COMMAND} --config={recipe}:smoke,data=own,take={run} --workdir={run}-2'
  )
  assert told[3].strip() == (
    f'{COMMAND} --config={recipe}:smoke,data=own --workdir={run}-2'
  )
  (tmp_path / 'run-2').mkdir()
  (_, again) = flags.go_on(argv, run, False).splitlines()  # nothing to keep
  assert again.strip() == told[3].strip().replace('run-2', 'run-3')


def test_a_config_that_takes_nothing_begins_anew(tmp_path, monkeypatch):
  monkeypatch.setattr(flags, 'accepted', lambda source: False)
  argv = ['main', '--config', 'configs/labels_ocr.py']
  told = flags.go_on(argv, tmp_path / 'run', True)
  assert 'take=' not in told and told.startswith('To begin anew')


@pytest.fixture
def changed(tmp_path):
  """Flags of a run that has pretrained, and whose labels have changed since."""
  own, run = tmp_path / 'own', tmp_path / 'my run'
  own.mkdir()
  for place in range(20):
    Image.new('L', (60, 30), 10 * place).save(own / f'{place:02}.png')
  rows = [f'{place:02}.png,4{place % 8}' for place in range(12)]
  (own / 'labels.csv').write_text('\n'.join(['file,text', *rows[:8]]))
  config = simclr_ocr.get_config(f'smoke,data={own}')
  data = datasets.open_dataset(config.data.to_dict(), data_dir='unused')
  config.data.update(data.resolved)
  claim(run, config.to_dict(), data.survey().facts())
  config.mapping = 'jit'
  task = tasks.make(config)
  first = stage_lib.resolve(config, folder=run, task=task, dataset=data).stages[
    0
  ]
  create = functools.partial(
    core.create_state, method=first.method, optimizer=first.optimizer
  )
  state = jax.jit(create)(jax.random.key(0), first.batch())
  with Checkpoints(first.folder / 'checkpoints') as checkpoints:
    checkpoints.save(4, state)
  write_json(first.folder / 'stage.json', {'flops': 1.0})
  (own / 'labels.csv').write_text('\n'.join(['file,text', *rows]))
  return f'--config=configs/simclr_ocr.py:smoke,data={own}/', run


def test_labels_that_are_added_later(changed):
  """What has changed is told, and the command that is told goes on."""
  source, run = changed
  again = [source, f'--workdir={run}']
  done = _start('-m', 'ssljax.main', *again)
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  assert 'labels: 8 there, 12 here' in done.stderr
  assert 'images:' not in done.stderr.split('DataChanged')[1]
  (command, _) = (
    line for line in done.stderr.splitlines() if line.startswith(f'  {COMMAND}')
  )
  _, *words = shlex.split(command)
  assert not pathlib.Path(f'{run}-2').exists()
  done = _start(*words, '--dry_run')
  assert done.returncode == 0, done.stderr
  assert 'Labels: 12 of 20 images' in done.stdout
  stages = done.stdout.split('Stages to run: ')[1]
  assert 'head ' in stages and 'simclr' not in stages


def test_recipes_of_the_package_go_by_their_names(tmp_path, monkeypatch):
  """Anywhere; a file of the user goes before them."""
  monkeypatch.chdir(tmp_path)
  own = str(ROOT / 'ssljax' / 'configs' / 'simclr_ocr.py')
  for name in ('simclr_ocr', 'ssljax/simclr_ocr', 'configs/simclr_ocr.py'):
    assert flags.recipe(name) == own
    given = ['main', f'--config={name}:smoke', '--config', name]
    assert flags.expanded(given)[1:] == [
      f'--config={own}:smoke',
      '--config',
      own,
    ]
  for name in ('other/simclr_ocr.py', 'simclr', '/simclr_ocr.py'):
    assert flags.recipe(name) == name
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'simclr_ocr.py').touch()
  assert flags.recipe('configs/simclr_ocr.py') == 'configs/simclr_ocr.py'
  with pytest.raises(SystemExit, match=r"no file 'simclr_ocrs'.*simclr_ocr"):
    flags.parse_flags(['main', '--config=simclr_ocrs'])


def test_a_dry_run_from_another_folder(tmp_path):
  """It says what would run, and leaves nothing that bars the run."""
  own = tmp_path / 'own'
  own.mkdir()
  for place in range(20):
    Image.new('L', (60, 30), 10 * place).save(own / f'{place:02}.png')
  (own / 'labels.csv').write_text('file,text\n00.png,1\n01.png,2\n02.png,1\n')
  # The package alone, as where it is installed: configs are not beside it.
  (tmp_path / 'site').mkdir()
  (tmp_path / 'site' / 'ssljax').symlink_to(ROOT / 'ssljax')
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'ssljax.main', '--dry_run', '--workdir=~/a'),
      '--config=simclr_ocr:smoke,data=~/own',
    ],
    cwd=tmp_path / 'site',
    env=os.environ
    | {
      'HOME': str(tmp_path),
      'PYTHONPATH': str(tmp_path / 'site'),
      'XLA_FLAGS': '',
    },
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith(f'Images of {own}: 20 found, 20 used')
  assert '1 test image: too few to say' in done.stdout
  assert 'simclr: 4 steps of 19 (not 48' in done.stdout
  assert 'Nothing has been run' in done.stdout
  run = tmp_path / 'a'
  names = {'summary.txt', 'pictures.png'}
  assert {path.name for path in run.iterdir()} == names
  assert (run / 'summary.txt').read_text().strip() in done.stdout
  claim(run, {'seed': 0})


def test_a_run_folder_in_use_is_refused_at_once(tmp_path):
  with lock.held(tmp_path / 'run'):
    done = _start('-m', 'ssljax.main', *_flags(tmp_path / 'run', tmp_path))
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert last.startswith(f'InUse: Found {tmp_path}/run in use by process ')
  assert f' {os.getpid()} on ' in last
  assert 'Traceback' not in done.stderr
