"""Each benchmark runs from start to end, on little data of its own making."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # starts processes that train
ROOT = pathlib.Path(__file__).parent.parent
# What begins with an underscore is what benchmarks share.
BENCHMARKS = sorted((ROOT / 'benchmarks').glob('[!_]*.py'))
# A line of what each prints; of one that is not named here, a figure.
PRINTED = {
  'captcha_folder': r'^8 images: exact match \d\.\d{3} \[.*edit-distance',
  'clean_then_read': r'^\| cleaned by pretrain *\| *-?\d+\.\d{3} \|',
  'domain_classifier': r'^\| the images through pretrain \| [01]\.\d{3} \[',
  'laptop_step': r'^head: step [\d.]+ ms, views [\d.]+ ms, ratio [\d.]+$',
  'rendering': r'^average +\d+ images/s$',
}


@pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_runs(path, tmp_path):
  # On one device, as a person's run on CPU.
  flags = [
    flag
    for flag in os.environ['XLA_FLAGS'].split()
    if 'device_count' not in flag
  ]
  # The folders that it may write to. A proxy that does not exist, because
  # nothing may be downloaded.
  environment = os.environ | {
    'XLA_FLAGS': ' '.join(flags),
    'HOME': str(tmp_path),
    'TMPDIR': str(tmp_path),
    'SSLJAX_DATA_DIR': str(tmp_path / 'data'),
    'https_proxy': 'http://127.0.0.1:9',
    'http_proxy': 'http://127.0.0.1:9',
  }
  done = subprocess.run(
    [sys.executable, str(path), '--smoke'],
    cwd=tmp_path,  # works wherever the command is typed
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  expected = re.compile(PRINTED.get(path.stem, r'\d'), re.MULTILINE)
  assert expected.search(done.stdout), done.stdout
  assert f'{path.name} --smoke' in path.read_text()  # its docstring says so


def test_the_lines_are_those_of_benchmarks_that_exist():
  assert set(PRINTED) <= {path.stem for path in BENCHMARKS}
