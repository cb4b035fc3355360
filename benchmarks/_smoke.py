"""What benchmarks share: a run that is made by the command."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
DRAWING = 'pretrain'  # the stage of `run_that_draws`
COUNT = 16  # images of each of its splits


def run(config: str, workdir: pathlib.Path, data_dir: pathlib.Path, *flags):
  """Runs `python -m ssljax.main` with a config of `configs/`.

  What the command prints goes to stderr, because stdout is the benchmark's.
  """
  subprocess.run(
    [
      *(
        sys.executable,
        '-m',
        'ssljax.main',
        f'--config={ROOT}/configs/{config}',
      ),
      *(f'--workdir={workdir}', f'--data_dir={data_dir}', *flags),
      '--noreport',
    ],
    cwd=ROOT,
    stdout=sys.stderr,
    check=True,
  )


def run_that_draws(workdir: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Trains an autoencoder, which cleans lines of text, for two steps."""
  splits = ('unlabeled', 'train', 'validation', 'test')
  run(
    'pretext_ocr.py:smoke,task=autoencoder',
    workdir,
    data_dir,
    f"--config.recipe=('{DRAWING}',)",
    f'--config.{DRAWING}.steps=2',
    f'--config.{DRAWING}.batch_size=8',
    *(f'--config.data.counts.{split}={COUNT}' for split in splits),
  )
