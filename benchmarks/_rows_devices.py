"""What was run where: the rows of docs/devices.md."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence

from _commands import ROOT
from _rows import Outcome, row
from _rows_stops import TINY, lines

EXTRAS = ('cuda', 'tpu')


def ran(
  *command: str, settings: Mapping[str, str] | None = None, cwd=ROOT
) -> subprocess.CompletedProcess:
  return subprocess.run(
    command,
    cwd=cwd,
    env=os.environ | {'PYTHONPATH': str(cwd)} | (settings or {}),
    capture_output=True,
    text=True,
    check=False,
  )


def tested(path: str, only: str) -> Outcome:
  """The tests of a file, or those whose names contain `only`."""
  found = ran(
    *(sys.executable, '-m', 'pytest', '-q', '--numprocesses=0', path),
    *(['-k', only] if only else []),
  )
  told = found.stdout.splitlines()
  counts = {word: int(n) for n, word in re.findall(r'(\d+) (\w+)', told[-1])}
  passed = counts.get('passed', 0)
  failed = counts.get('failed', 0) + counts.get('error', 0)
  return Outcome(
    passed + failed,
    passed,
    f'`{path}`',
    notes=' '.join(line for line in told if line.startswith('FAILED')),
  )


@row(
  'processes',
  page='devices',
  what='SimCLR, MoCo, SwAV, DeepCluster and self-training, 6 steps each, in 2 '
  'and 4 processes, by shard_map and pmap, on shared data, several steps a '
  'call; a checkpoint of 4 processes goes on with 1 and 2; one process is '
  'asked to stop, or fails',
  goal='losses and parameters of one process with the same global batch to '
  '1e-5; all stop after the same step; all end with an error',
)
def processes(folder: pathlib.Path, smoke: bool) -> Outcome:
  return tested('tests/test_hosts.py', 'two_processes_equal' if smoke else '')


@row(
  'mappings',
  page='devices',
  what='jit, pmap and shard_map on 1 to 8 devices of one process',
  goal='the same step, compiled once; what does not divide is refused',
)
def mappings(folder: pathlib.Path, smoke: bool) -> Outcome:
  return tested('tests/test_parallel.py', 'misspelt' if smoke else '')


@row(
  'launch',
  page='devices',
  what='shellcheck and dry runs of the scripts of `launch/`; signals, failures '
  'and pre-emptions with stand-ins for Python, SLURM and gcloud',
  goal='the expected commands, in their order',
)
def launch(folder: pathlib.Path, smoke: bool) -> Outcome:
  return tested('tests/test_launch.py', 'refused' if smoke else '')


@row(
  'local',
  page='devices',
  what='`launch/local.sh 2`, the whole smoke recipe, beside the same in one '
  'process',
  goal='all stages end; each loss of the log within 0.1 %',
)
def local(folder: pathlib.Path, smoke: bool) -> Outcome:
  config = f'{TINY}:simclr' if smoke else 'configs/simclr_ocr.py:smoke'
  flags = [f'--config={config}', '--config.mapping=shard_map']
  flags += [f'--data_dir={folder}/data', '--noreport']
  ways = {
    'one': [sys.executable, '-m', 'ssljax.main'],
    'two': ['bash', 'launch/local.sh', '2'],
  }
  for name, way in ways.items():
    settings = {
      'PYTHON': sys.executable,
      'LOGS': f'{folder}/logs',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=1',
    }
    done = ran(*way, *flags, f'--workdir={folder}/{name}', settings=settings)
    if done.returncode:
      logs = [log.read_text() for log in folder.glob('logs/*')]
      raise RuntimeError('\n'.join([name, done.stderr, *logs]))
  recipe = json.loads((folder / 'one' / 'config.json').read_text())['recipe']
  far, passed, logged = 0.0, 0, 0
  for stage in recipe:
    one, two = (lines(folder / name / stage) for name in ways)
    passed += [a['step'] for a in one] == [b['step'] for b in two]
    for a, b in zip(one, two, strict=False):
      far = max(far, abs(a['loss'] / b['loss'] - 1))
    logged += len(one)
  return Outcome(
    len(recipe),
    passed,
    f'the losses of {logged} lines within {100 * far:.3f} %',
    met=passed == len(recipe) and far <= 1e-3,
  )


def installed(
  python: str, folder: pathlib.Path, smoke: bool
) -> tuple[bool, str]:
  """Whether the command runs from a copy of the project, and its versions."""
  flags = ['--dry_run'] if smoke else []
  found = ran(
    *(python, '-m', 'ssljax.main', '--config=configs/simclr_ocr.py:smoke'),
    *(f'--workdir={folder}/run', f'--data_dir={folder}/data', *flags),
    cwd=folder,
    settings={'JAX_PLATFORMS': '', 'XLA_FLAGS': ''},
  )
  listed = ran(python, '-m', 'pip', 'list', '--format=json')
  versions = {
    each['name']: each['version'] for each in json.loads(listed.stdout)
  }
  named = ('jax', 'jax-cuda12-plugin', 'libtpu')
  told = ', '.join(f'{n} {versions[n]}' for n in named if n in versions)
  return found.returncode == 0, told or found.stderr[-200:]


def copied(folder: pathlib.Path) -> pathlib.Path:
  """What launch/Dockerfile copies of the checkout, and nothing else."""
  for line in (ROOT / 'launch' / 'Dockerfile').read_text().splitlines():
    if line.startswith('COPY '):
      *names, to = shlex.split(line)[1:]
      for name in names:
        if (ROOT / name).is_dir():
          shutil.copytree(ROOT / name, folder / to)
        else:
          shutil.copy(ROOT / name, folder / to)
  return folder


def environment(folder: pathlib.Path, what: str) -> str:
  """The Python of an empty environment, into which `what` was installed."""
  venv.create(folder / 'env', with_pip=True)
  python = str(folder / 'env' / 'bin' / 'python')
  done = ran(python, '-m', 'pip', 'install', '-q', '-e', what, cwd=folder)
  if done.returncode:
    raise RuntimeError(done.stderr[-2000:])
  return python


@row(
  'extras',
  page='devices',
  what='The extras `cuda` and `tpu`, each installed into an empty environment '
  'of a machine without either, and the smoke recipe there',
  goal='it installs, and JAX takes the CPU',
)
def extras(folder: pathlib.Path, smoke: bool) -> Outcome:
  found = []
  for extra in EXTRAS:
    place = folder / extra
    place.mkdir()
    copied(place)
    python = sys.executable if smoke else environment(place, f'.[{extra}]')
    found.append(installed(python, place, smoke))
    shutil.rmtree(place)  # of 2 to 6 GB
    if smoke:
      break
  return summed(found)


@row(
  'image',
  page='devices',
  what='The steps of `launch/Dockerfile` without docker: what it copies of the '
  'checkout, installed into an empty environment, and the smoke recipe there',
  goal='it installs and runs',
)
def image(folder: pathlib.Path, smoke: bool) -> Outcome:
  copied(folder)
  python = sys.executable if smoke else environment(folder, '.')
  return summed([installed(python, folder, smoke)])


def summed(found: Sequence[tuple[bool, str]]) -> Outcome:
  told = '; '.join(versions for _, versions in found)
  return Outcome(len(found), sum(good for good, _ in found), told)
