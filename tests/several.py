"""One of several processes that make a run: python tests/several.py JSON.

The keys of the JSON are the arguments of `run`, and those of `hosts.start`.
The network has one layer, because compiling is most of what a process costs.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES, BATCH, SIDE = 32, 8, 4


def start(processes, **options):
  """Runs this file in so many processes; returns their statuses and words."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  environment = os.environ | {
    'XLA_FLAGS': '--xla_force_host_platform_device_count=1 '
    '--xla_cpu_multi_thread_eigen=false',
    'OMP_NUM_THREADS': '1',
    'PYTHONPATH': str(ROOT),
    'http_proxy': 'http://127.0.0.1:9',  # not there, and not to be asked
  }
  started = []
  for process in range(processes):
    options |= {'process': process, 'processes': processes}
    options['coordinator'] = f'localhost:{port}'
    started.append(
      subprocess.Popen(
        [sys.executable, __file__, json.dumps(options)],
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


class Encoder(nn.Module):
  """One layer and BatchNorm, over the devices of `axis_name`."""

  axis_name: str | None = None

  @nn.compact
  def __call__(self, images, *, train=False, mask=None):
    from ssljax.models.heads import Mlp

    del mask
    mlp = Mlp((8, 8), axis_name=self.axis_name)
    return mlp(images.reshape(len(images), -1), train=train)


def views(count):
  """Noise of its own for each example."""

  def seen(key, images, index, widths=None):
    del widths
    images = images / 127.5 - 1

    def one(key):
      keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
      noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))
      return images + 0.1 * noise(keys), jnp.zeros(len(images))

    return tuple(map(one, jax.random.split(key, count)))

  return seen


def method(name, axis_name):
  from ssljax import losses
  from ssljax.methods.deepcluster import deepcluster
  from ssljax.methods.moco import moco
  from ssljax.methods.self_training import self_training
  from ssljax.methods.simclr import simclr
  from ssljax.methods.swav import swav
  from ssljax.models.heads import Classifier, Mlp
  from ssljax.models.instances import identity

  encoder = Encoder(axis_name)
  projector = Mlp((8, 8), axis_name=axis_name)
  pair = {'views': views(2), 'instances': identity(), 'axis_name': axis_name}
  single = pair | {'views': views(1)}
  if name == 'simclr':
    return simclr(encoder, projector, **pair)
  if name == 'moco':
    # A hidden norm of queries and keys would be another one for each device.
    projector = Mlp((8, 8), hidden_norm=False)
    return moco(encoder, projector, queue=2 * BATCH, momentum=0.9, **pair)
  if name == 'swav':
    return swav(encoder, projector, prototypes=6, queue_steps=2, **pair)
  if name == 'deepcluster':
    return deepcluster(encoder, clusters=4, examples=EXAMPLES, **single)
  del single['instances']
  head, criterion = Classifier(4), losses.cross_entropy
  return self_training(encoder, head, criterion=criterion, **single)


class Source:
  """Pictures of noise around a mean of their own, and a class each."""

  def __init__(self):
    rng = np.random.default_rng(0)
    shape = EXAMPLES, SIDE, SIDE, 3
    means = np.linspace(80, 170, EXAMPLES)[:, None, None, None]
    index = np.arange(EXAMPLES, dtype=np.int32)
    self.columns = {
      'image': rng.normal(means, 30, shape).clip(0, 255).astype(np.uint8),
      'index': index,
      'label': index % 4,
      'labelled': index < EXAMPLES // 2,
    }

  def __len__(self):
    return EXAMPLES

  def gather(self, positions):
    return {name: each[positions] for name, each in self.columns.items()}


def stage(name, folder, steps, mapping, **options):
  axis_name = None if mapping == 'jit' else 'devices'
  described = {
    'name': name,
    'folder': pathlib.Path(folder) / name,
    'source': Source(),
    'mixture': None,
    'arrays': dict,
    'method': method(name, axis_name),
    'optimizer': optax.sgd(5e-4),
    'steps': steps,
    'batch_size': BATCH,
    'epoch': EXAMPLES // BATCH,
    'seed': 1,
    'mapping': mapping,
    'axis_name': axis_name,
    'steps_per_call': 1,
    'resident': False,
    'log_every': 1,
    'checkpoint_every': 3,
    'accumulate': 1,
  }
  return types.SimpleNamespace(**(described | options))


def run(
  *,
  names,
  folder,
  steps,
  mapping='shard_map',
  until=None,
  asked=None,
  **options,
):
  """Trains each method, from its checkpoint on, and returns what came of it.

  Args:
    names: of methods.
    folder: with a folder for each method.
    steps: of the stage.
    mapping: of the stage.
    until: the step after which the run is stopped.
    asked: the process that is asked to stop; by default each of them.
    **options: of the stage.

  Returns:
    name -> {'losses': of each step so far, 'params' and 'step' at the end}.
  """
  from ssljax import core, hosts, parallel, train
  from ssljax.checkpoint import Checkpoints

  found = {}
  for name in names:
    made = stage(name, folder, steps, mapping, **options)
    parts = {'method': made.method, 'optimizer': made.optimizer}
    batch = made.source.gather(np.arange(BATCH))
    create = jax.jit(
      lambda key, batch=batch, parts=parts: core.create_state(
        key, batch, **parts
      )
    )
    key, losses, calls = jax.random.key(0), [], []

    def stop(calls=calls):
      calls.append(None)
      wanted = asked is None or asked == jax.process_index()
      return wanted and until is not None and len(calls) == until

    log = types.SimpleNamespace(
      scalars=lambda step, values, losses=losses: losses.append(values['loss']),
      note=print,
      kept=list,
      keep=lambda step, window: None,
      advance=lambda step, later: None,
      picture=None,
    )
    quiet = types.SimpleNamespace(read=lambda step, values=None: [], later=None)
    with Checkpoints(made.folder / 'checkpoints') as checkpoints:
      state = checkpoints.restore(
        parallel.shapes_everywhere(jax.eval_shape(create, key))
      )
      state = create(key) if state is None else state
      try:
        state = train.fit(state, made, checkpoints, log, quiet, quiet, stop)
        state = parallel.own(state)
        params = jax.device_get(state.params)
        found[name] = {'params': params, 'step': int(state.step)}
      except train.Stopped:
        found[name] = {'params': {}, 'step': checkpoints.latest_step()}
    found[name]['losses'] = losses
    hosts.wait('several')
  return found


def write(found, folder):
  for name, each in found.items():
    leaves = jax.tree_util.tree_leaves_with_path(each['params'])
    arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    np.savez(
      pathlib.Path(folder) / f'{name}.npz',
      losses=each['losses'],
      step=each['step'],
      **arrays,
    )


def main():
  given = json.loads(sys.argv[1])
  jax.config.update('jax_threefry_partitionable', True)
  from ssljax import hosts

  own = {key: given.pop(key) for key in ('coordinator', 'processes', 'process')}
  hosts.start(**own)
  failing, shared = given.pop('failing', None), given.pop('shared', ())
  with hosts.ending_together():
    for pattern in shared:
      print(hosts.sharing(pattern.format(**own)), flush=True)
    if failing == own['process']:
      raise RuntimeError('a process that fails')
    found = run(**given)
    if hosts.first():
      write(found, given['folder'])


if __name__ == '__main__':
  main()
