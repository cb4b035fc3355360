"""The scripts of `launch/`: what they would run, and how local.sh ends.

No script is run here for real but local.sh, whose Python is replaced by a
script.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

LAUNCH = pathlib.Path(__file__).parent.parent / 'launch'
SCRIPTS = sorted([*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')])
# Stands for Python: a process that fails, or that works until it is stopped.
FAKE = """#!/usr/bin/env bash
trap 'echo stopped $process; exit 75' TERM
for flag in "$@"; do
  case $flag in --process=*) process=${flag#*=} ;; esac
done
if [[ $process == "$FAILING" ]]; then exit 3; fi
echo ready
for ((i = 0; i < PATIENCE; i++)); do sleep 0.05; done
"""


def dry(script, *arguments, **settings):
  found = subprocess.run(
    ['bash', str(LAUNCH / script), '--dry-run', *arguments],
    env={'PATH': os.environ['PATH'], **settings},
    capture_output=True,
    text=True,
    check=True,
  )
  assert not found.stderr
  return [line.rstrip() for line in found.stdout.splitlines()]


def test_the_scripts_are_clean():
  assert len(SCRIPTS) == 3
  beside = pathlib.Path(sys.executable).parent
  tool = shutil.which('shellcheck', path=f'{beside}:{os.environ["PATH"]}')
  assert tool, "found no shellcheck; expected it: pip install -e '.[test]'"
  found = subprocess.run([tool, *SCRIPTS], capture_output=True, text=True)
  assert not found.returncode, found.stdout


def test_local():
  assert dry('local.sh', '2', '--config=a.py:b c', DEVICES='4') == [
    'env XLA_FLAGS=--xla_force_host_platform_device_count=4 '
    f'python -m ssljax.main --config=a.py:b\\ c --coordinator=localhost:9876 '
    f'--processes=2 --process={process} &'
    for process in range(2)
  ] + ['wait']


def test_slurm():
  assert dry('slurm.sbatch', '--config=a.py', SLURM_JOB_ID='7') == [
    'srun --kill-on-bad-exit=1 python -m ssljax.main --config=a.py',
    'scontrol requeue 7 # after SIGTERM, once all is saved',
  ]
  lines = (LAUNCH / 'slurm.sbatch').read_text().splitlines()
  assert {'#SBATCH --requeue', '#SBATCH --signal=B:TERM@120'} <= set(lines)


def test_tpu():
  vm, zone = 'gcloud compute tpus tpu-vm', '--zone=here'
  ssh = f'{vm} ssh a --worker=all --command='
  found = dry(
    *('tpu_vm.sh', 'run', '--config=a.py:b'),
    **{'NAME': 'a', 'ZONE': 'here', 'WORKDIR': '/w', 'BUCKET': 'gs://b/c'},
  )
  assert found == [
    f'{vm} describe a --format=value\\(state\\) {zone}',
    f'{vm} create a --accelerator-type=v4-8 --version=tpu-ubuntu2204-base '
    f'--spot {zone}',
    f'{ssh}rm\\ -rf\\ ssljax\\ \\&\\&\\ mkdir\\ -p\\ ssljax {zone}',
    f'{vm} scp --recurse ./pyproject.toml ./README.md ./LICENSE ./ssljax '
    f'./configs a:ssljax/ --worker=all {zone}',
    f'{ssh}python3\\ -m\\ venv\\ venv\\ \\&\\&\\ venv/bin/pip\\ install\\ -q\\ '
    f"-e\\ \\'ssljax\\[tpu\\]\\' {zone}",
    f"{ssh}mkdir\\ -p\\ \\'/w\\'\\ \\&\\&\\ \\(mountpoint\\ -q\\ \\'/w\\'\\ "
    "\\|\\|\\ gcsfuse\\ --implicit-dirs\\ --only-dir=c\\ \\'b\\'\\ "
    f"\\'/w\\'\\) {zone}",
    f'{ssh}cd\\ ssljax\\ \\&\\&\\ ../venv/bin/python\\ -m\\ ssljax.main\\ '
    f"--config=a.py:b\\ --workdir=\\'/w\\' {zone}",
    'mkdir -p runs/a',
    f'{vm} scp --recurse a:/w/\\* runs/a/ --worker=0 {zone}',
    f'{vm} delete a --quiet {zone}',
  ]
  assert dry('tpu_vm.sh', 'delete', NAME='a', ZONE='here') == found[-1:]


@pytest.mark.parametrize(
  ('script', 'arguments', 'expected'),
  [
    ('local.sh', ['--config=a'], 'the number of processes'),
    ('tpu_vm.sh', ['run'], 'those of ssljax.main'),
    ('tpu_vm.sh', ['walk'], 'expected run or delete'),
    ('slurm.sbatch', [], 'those of ssljax.main'),
  ],
)
def test_what_is_missing_is_said(script, arguments, expected):
  command = ['bash', str(LAUNCH / script), '--dry-run', *arguments]
  found = subprocess.run(command, capture_output=True, text=True)
  assert found.returncode == 2
  assert expected in found.stderr


def start_local(tmp_path, **settings):
  fake = tmp_path / 'python'
  fake.write_text(FAKE)
  fake.chmod(0o755)
  return subprocess.Popen(
    ['bash', str(LAUNCH / 'local.sh'), '3', '--config=a'],
    env={'PATH': os.environ['PATH'], 'PYTHON': str(fake), **settings},
    stdout=subprocess.PIPE,
    text=True,
  )


def test_local_ends_with_its_processes(tmp_path):
  started = start_local(tmp_path, FAILING='none', PATIENCE='2')
  words, _ = started.communicate(timeout=60)
  assert (started.returncode, words.split()) == (0, ['ready'] * 3)


def test_local_stops_the_others_when_one_fails(tmp_path):
  started = start_local(tmp_path, FAILING='1', PATIENCE='2000')
  words, _ = started.communicate(timeout=60)
  assert started.returncode == 3
  stopped = sorted(line for line in words.splitlines() if 'stopped' in line)
  assert stopped == ['stopped 0', 'stopped 2']


def test_local_passes_a_signal_on_once(tmp_path):
  started = start_local(tmp_path, FAILING='none', PATIENCE='2000')
  for _ in range(3):
    assert started.stdout.readline() == 'ready\n'
  started.send_signal(signal.SIGINT)
  words, _ = started.communicate(timeout=60)
  assert started.returncode == 75
  assert sorted(words.splitlines()) == [f'stopped {each}' for each in range(3)]
