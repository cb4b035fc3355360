"""The launch scripts: what they would run, and how they end."""

import os
import pathlib
import shlex
import signal
import subprocess
import time

import pytest

LAUNCH = pathlib.Path(__file__).parent.parent / 'launch'
SCRIPTS = sorted(path.name for path in LAUNCH.iterdir() if path.suffix)
FLAGS = ['--config=a.py:smoke,data=my dir', '--config.seed=2']
MAIN = ['python', '-m', 'ssljax.main', *FLAGS]


def _launch(script, *arguments, **environment):
  return subprocess.run(
    ['bash', LAUNCH / script, *arguments],
    env=os.environ | environment,
    capture_output=True,
    text=True,
  )


def _dry(script, *arguments, **environment):
  """The commands that a script would run, as lists of words."""
  run = _launch(script, '--dry-run', *arguments, **environment)
  assert run.returncode == 0, run.stderr
  return [shlex.split(line, comments=True) for line in run.stdout.splitlines()]


@pytest.mark.parametrize('script', SCRIPTS)
def test_shellcheck_has_nothing_to_say(script):
  found = subprocess.run(
    ['shellcheck', LAUNCH / script], capture_output=True, text=True
  )
  assert found.returncode == 0, found.stdout


@pytest.mark.parametrize('script', SCRIPTS)
def test_no_flags_are_refused_in_a_line(script):
  run = _launch(script)
  assert run.returncode == 2
  assert run.stderr.startswith('Found ') and run.stderr.count('\n') == 1


def test_local_starts_a_process_each():
  first, second = _dry('local.sh', '2', *FLAGS, PORT='77', LOGS='my logs')
  group = ['--coordinator=localhost:77', '--processes=2']
  assert first == [*MAIN, *group, '--process=0']
  to_log = ['>', 'my logs/process-1.log', '2>&1']
  assert second == [*MAIN, *group, '--process=1', *to_log]
  first, second = _dry('local.sh', '2', *FLAGS, GPU_EACH='1')
  assert first[:2] == ['env', 'CUDA_VISIBLE_DEVICES=0']
  assert second[:2] == ['env', 'CUDA_VISIBLE_DEVICES=1']


@pytest.fixture
def processes(tmp_path):
  """Settings of local.sh whose processes only do what FAIL and TICKS say."""
  program = tmp_path / 'program'
  program.write_text(
    """#!/usr/bin/env bash
trap 'echo stopped; exit 75' TERM
echo "process ${*: -1}"
if [[ "${*: -1}" == "--process=$FAIL" ]]; then exit 3; fi
for ((i = 0; i < TICKS; i++)); do sleep 0.1; done
"""
  )
  program.chmod(0o755)
  logs = str(tmp_path / 'logs')
  return {'PYTHON': str(program), 'LOGS': logs, 'FAIL': '', 'TICKS': '0'}


def test_local_ends_well_when_all_processes_do(processes, tmp_path):
  run = _launch('local.sh', '3', '--x', **processes)
  assert (run.returncode, run.stdout) == (0, 'process --process=0\n')
  for i in (1, 2):
    log = tmp_path / 'logs' / f'process-{i}.log'
    assert log.read_text() == f'process --process={i}\n'


def test_local_stops_all_when_one_fails(processes):
  begin = time.monotonic()
  run = _launch('local.sh', '3', '--x', **processes | {
    'FAIL': '1', 'TICKS': '600'
  })  # fmt: skip
  assert run.returncode == 3
  assert time.monotonic() - begin < 30  # instead of a minute


def test_local_passes_a_signal_on(processes, tmp_path):
  run = subprocess.Popen(
    ['bash', LAUNCH / 'local.sh', '2', '--x'],
    env=os.environ | processes | {'TICKS': '600'},
    stdout=subprocess.PIPE,
    text=True,
  )
  log = tmp_path / 'logs' / 'process-1.log'
  while not log.exists() or not log.read_text():
    time.sleep(0.05)
  assert run.stdout.readline() == 'process --process=0\n'
  run.send_signal(signal.SIGTERM)
  assert run.communicate()[0] == 'stopped\n'
  assert run.returncode == 75
  assert log.read_text().endswith('stopped\n')


def test_slurm_runs_and_returns_to_the_queue():
  run, again = _dry('slurm.sbatch', *FLAGS, SLURM_JOB_ID='12')
  assert run == ['srun', '--kill-on-bad-exit=1', *MAIN]
  assert again == ['scontrol', 'requeue', '12']


@pytest.mark.parametrize(
  ('status', 'queued'),
  [(0, False), (1, False), (137, False), (75, True), (143, True)],
)
def test_slurm_goes_on_after_a_signal_alone(status, queued, tmp_path):
  """An error would otherwise come back for ever."""
  for name, line in (('srun', f'exit {status}'), ('scontrol', 'echo "$@"')):
    program = tmp_path / name
    program.write_text(f'#!/usr/bin/env bash\n{line}\n')
    program.chmod(0o755)
  path = f'{tmp_path}:{os.environ["PATH"]}'
  run = _launch('slurm.sbatch', *FLAGS, PATH=path, SLURM_JOB_ID='12')
  assert run.returncode == status
  assert run.stdout == ('requeue 12\n' if queued else '')


TPU = ['gcloud', 'compute', 'tpus', 'tpu-vm']
WHERE = ['vm', '--zone=z']
SETTINGS = {'VM': 'vm', 'ZONE': 'z', 'TYPE': 'v5litepod-8', 'IMAGE': 'image'}


def test_tpu_vm_from_nothing_to_results():
  make, pack, send, install, run, folder, copy, remove = _dry(
    'tpu_vm.sh', *FLAGS, BUCKET='gs://b', RUN='r', OUT='out', **SETTINGS
  )
  kind = ['--accelerator-type=v5litepod-8', '--version=image', '--spot']
  assert make == [*TPU, 'create', *WHERE, *kind]
  archive = 'ssljax.tar.gz'
  assert pack == [
    *('git', 'archive', '--format=tar.gz', f'--output={archive}', 'HEAD')
  ]
  everywhere = ['--zone=z', '--worker=all']
  assert send == [*TPU, 'scp', archive, f'vm:{archive}', *everywhere]
  ssh = [*TPU, 'ssh', *WHERE, '--worker=all']
  assert install[:-1] == run[:-1] == ssh
  for part in ("-e 'ssljax[tpu]'", 'gcsfuse --implicit-dirs b runs'):
    assert part in install[-1]
  # What the shell of the VM makes of it.
  there = run[-1].removeprefix('--command=cd ssljax && ')
  python, *words = shlex.split(there)
  assert python == '../env/bin/python'
  assert words == [*MAIN[1:], '--workdir=../runs/r']
  assert folder == ['mkdir', '-p', 'out']
  assert copy == ['gcloud', 'storage', 'cp', '--recursive', 'gs://b/r', 'out']
  assert remove == [*TPU, 'delete', *WHERE, '--quiet']


def test_tpu_vm_may_be_kept_and_not_be_a_cheap_one():
  commands = _dry('tpu_vm.sh', *FLAGS, KEEP='1', SPOT='', **SETTINGS)
  assert '--spot' not in commands[0]
  assert not any('delete' in command for command in commands)


@pytest.fixture
def cloud(tmp_path):
  """A `gcloud` that notes what it is asked, and a VM that can be pre-empted.

  `states` has a line for each time that the state of the VM is asked for, and
  `statuses` a line for each training.
  """
  program = tmp_path / 'gcloud'
  program.write_text(
    f"""#!/usr/bin/env bash
next() {{ head -n 1 "$1"; sed -i 1d "$1"; }}
cd {shlex.quote(str(tmp_path))}
case "$*" in
  *describe*) next states ;;
  *ssljax.main*) echo train >>done; exit "$(next statuses)" ;;
  *) echo "$4" >>done ;;
esac
"""
  )
  program.chmod(0o755)

  def launch(states, statuses, **environment):
    (tmp_path / 'states').write_text('\n'.join(states))
    (tmp_path / 'statuses').write_text('\n'.join(statuses))
    path = f'{tmp_path}:{os.environ["PATH"]}'
    settings = {'BUCKET': 'gs://b', 'OUT': str(tmp_path / 'out'), 'PATH': path}
    settings['PAUSE'] = '0'
    run = _launch('tpu_vm.sh', *FLAGS, **settings, **SETTINGS, **environment)
    return run, (tmp_path / 'done').read_text().split()

  return launch


def test_a_tpu_vm_that_is_there_is_taken(cloud):
  run, done = cloud(['READY'], ['0'])
  assert run.returncode == 0, run.stderr
  assert 'create' not in done
  assert done == ['scp', 'ssh', 'train', 'gs://b/run', 'delete']


def test_a_pre_empted_tpu_vm_is_made_again_and_the_run_goes_on(cloud):
  run, done = cloud(['', 'PREEMPTED', 'PREEMPTED', 'READY'], ['1', '0'])
  assert run.returncode == 0, run.stderr
  assert done.count('create') == done.count('train') == 2
  assert done.count('delete') == 2  # what was left of the first, and the second
  run, done = cloud(['', 'PREEMPTED'], ['1'], TRIES='1')
  assert run.returncode == 75
  assert 'the same command goes on' in run.stderr


def test_a_tpu_vm_that_is_about_to_go_is_waited_for(cloud):
  """The run ends with 75 where its host is told to stop."""
  run, done = cloud(['', 'PREEMPTED', 'READY'], ['75', '0'])
  assert run.returncode == 0, run.stderr
  assert done.count('create') == done.count('train') == 2


def test_a_connection_that_is_lost_is_made_again(cloud):
  run, done = cloud(['', 'READY', 'READY'], ['255', '0'])
  assert run.returncode == 0, run.stderr
  assert done.count('create') == 1 and done.count('train') == 2
  assert 'Lost vm' in run.stderr


def test_a_run_that_fails_on_a_tpu_vm_is_not_repeated(cloud):
  run, done = cloud(['', 'READY'], ['2'])
  assert run.returncode == 2
  assert done.count('train') == 1 and 'delete' not in done


def test_no_bucket_is_refused():
  run = _launch('tpu_vm.sh', *FLAGS, BUCKET='')
  assert run.returncode == 2
  assert 'expected gs://NAME' in run.stderr
