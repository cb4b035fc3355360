"""One of several processes that make a run: python tests/several.py JSON.

The keys of the JSON are the arguments of `run`; `coordinator`, `processes` and
`process` are those of `hosts.start`. Process 0 writes the losses and the final
params of each recipe to `FOLDER/NAME/found.npz`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
BATCH = 8


def start(processes, **options):
  """Runs this file in so many processes; returns their statuses and words."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  environment = os.environ | {
    'XLA_FLAGS': '--xla_force_host_platform_device_count=1 '
    '--xla_cpu_multi_thread_eigen=false '
    '--xla_cpu_use_fusion_emitters=false',
    'OMP_NUM_THREADS': '1',
    'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
  }
  started = []
  for process in range(processes):
    options |= {'process': process, 'processes': processes}
    options['coordinator'] = f'localhost:{port}'
    command = [sys.executable, __file__, json.dumps(options)]
    started.append(
      subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  try:
    words = [each.communicate(timeout=900)[0] for each in started]
  finally:
    for each in started:
      each.kill()
  return [each.returncode for each in started], words


def recipe(name, steps, mapping):
  import tiny_ocr

  from configs import deepcluster_ocr, moco_ocr, simclr_ocr, swav_ocr

  made = {
    'simclr': lambda: simclr_ocr.get_config('smoke'),
    'moco': lambda: moco_ocr.get_config('smoke'),
    'swav': lambda: swav_ocr.get_config('smoke'),
    'deepcluster': lambda: deepcluster_ocr.get_config('smoke,version=1'),
    'self_training': lambda: simclr_ocr.get_config('smoke'),
  }[name]()
  config = tiny_ocr.get_config()
  config.data.layouts = ('arcs',)
  config.pretrain = (
    made.self_train if name == 'self_training' else made.pretrain
  )
  config.projector, config.predictor = made.projector, made.predictor
  config.projector.width = 16
  stage = config.pretrain
  stage.take, stage.steps, stage.epochs = {}, steps, 0
  stage.batch_size = BATCH
  if name == 'self_training':
    stage.data.update(count=16, labelled=4)
  if 'strokes' in stage.views:
    stage.views.strokes = 0
  for option, value in (('queue_steps', 2), ('clusters', 6)):
    if option in stage.method:
      stage.method[option] = value
  # Adam would divide by gradients that are near 0, and so magnify a rounding.
  stage.optimizer = {'name': 'sgd', 'learning_rate': 0.05}
  config.mapping, config.checkpoint_every, config.log_every = mapping, 4, 1
  config.recipe, config.rows, config.differences = ('pretrain',), (), ()
  for other in ('head', 'finetune', 'supervised'):
    del config[other]
  return config


def run(*, names, folder, data_dir, steps, mapping='shard_map', stop=None):
  """Runs recipes up to `steps`, or stops after the step `stop`."""
  import jax

  from ssljax import hosts, main, train
  from ssljax.checkpoint import read
  from ssljax.records import read_lines

  for name in names:
    asked = []

    def asks(asked=asked):
      asked.append(None)
      # The first question is before the stage.
      return stop is not None and len(asked) > stop

    here = pathlib.Path(folder) / name
    config = recipe(name, steps, mapping)
    try:
      main.run(config, here, data_dir, asks)
    except train.Stopped:
      continue
    if not hosts.first():
      continue
    saved = read(here / 'pretrain' / 'checkpoints')
    lines = read_lines(here / 'pretrain' / 'metrics.jsonl')
    leaves = jax.tree_util.tree_leaves_with_path(saved.state['params'])
    arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    losses = [line['loss'] for line in lines]
    np.savez(here / 'found.npz', losses=losses, **arrays)


if __name__ == '__main__':
  given = json.loads(sys.argv[1])
  import jax

  jax.config.update('jax_threefry_partitionable', True)
  from ssljax import hosts

  hosts.start(*(given.pop(k) for k in ('coordinator', 'processes', 'process')))
  with hosts.ending_together():
    run(**given)
