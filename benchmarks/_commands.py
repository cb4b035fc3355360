"""The command and its results, as the rows of reliability.py run them."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
# A stage of eight steps, with checkpoints at 2, 4, 6 and 8.
TINY = (
  '--config=tests/tiny_ocr.py',
  "--config.recipe=('supervised',)",
  '--config.mapping=jit',
)
SMOKE = ('--config=configs/simclr_ocr.py:smoke',)


def command(
  run: pathlib.Path, data: pathlib.Path, *flags: str
) -> subprocess.CompletedProcess:
  """Runs `python -m ssljax.main FLAGS` to its end."""
  settings = {
    'PYTHONPATH': str(ROOT),
    'JAX_DISABLE_MOST_OPTIMIZATIONS': 'true',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return subprocess.run(
    [
      *(sys.executable, '-m', 'ssljax.main', *flags),
      *(f'--workdir={run}', f'--data_dir={data}', '--noreport'),
    ],
    cwd=ROOT,
    env=os.environ | settings,
    capture_output=True,
    text=True,
    check=False,
  )


def results_of(run: pathlib.Path) -> Any:
  return (run / 'results.json').read_text(), [
    {**json.loads(line), 'seconds': 0}
    for line in (run / 'supervised' / 'metrics.jsonl').read_text().splitlines()
  ]


def peak() -> float:
  """The most MB of memory that this process has had since `reset`."""
  for line in pathlib.Path('/proc/self/status').read_text().splitlines():
    if line.startswith('VmHWM'):
      return int(line.split()[1]) / 1024
  return 0.0


def reset() -> float:
  pathlib.Path('/proc/self/clear_refs').write_text('5')
  return peak()
