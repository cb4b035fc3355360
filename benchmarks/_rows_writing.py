"""Runs whose files cannot be written, or whose numbers are not finite."""

import contextlib
import os
import pathlib
import resource
import subprocess
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from _commands import TINY, command, results_of
from _rows import Outcome, row

from ssljax import checkpoint, durable
from ssljax.checkpoint import Checkpoints
from ssljax.errors import UserError


@row(
  'full-disk',
  what='The disk becomes full at one write after the other.',
  goal='named with the path and what is needed; nothing is left behind; the '
  'same command goes on to the same results when there is room',
)
def full_disk(folder: pathlib.Path, smoke: bool) -> Outcome:
  if smoke:
    return small_files(folder)
  data, whole, disk = folder / 'data', folder / 'whole', folder / 'disk'
  command(whole, data, *TINY)
  disk.mkdir()
  sizes = (4, 8, 12, 20, 40, 120, 300, 420, 600, 700, 730, 745, 760)
  passed, notes = 0, []
  for size in sizes:
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', str(disk)]
    if subprocess.run(mount, check=False).returncode:
      return Outcome(0, 0, 'not tried', notes='It needs leave to mount a disk.')
    try:
      run = disk / 'run'
      full = command(run, data, *TINY)
      left = [*disk.rglob('*.tmp'), *disk.rglob('*orbax-checkpoint-tmp*')]
      named = str(disk) in full.stderr and 'goes on from' in full.stderr
      subprocess.run(
        ['mount', '-o', 'remount,size=9000k', str(disk)], check=True
      )
      again = command(run, data, *TINY)
      fine = not again.returncode and results_of(run) == results_of(whole)
      if (full.returncode == 0 or (named and not left)) and fine:
        passed += 1
      else:
        notes.append(f'{size} kB: {left} {full.stderr[-200:]}')
    finally:
      subprocess.run(['umount', str(disk)], check=True)
  total = len(sizes)
  return Outcome(
    total,
    passed,
    f'{passed} of {total} sizes of a disk, from {sizes[0]} to {sizes[-1]} kB',
    notes=' '.join(notes),
  )


@contextlib.contextmanager
def no_larger_than(size: int) -> Iterator[None]:
  """A disk on which no file can grow beyond some bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def small_files(folder: pathlib.Path) -> Outcome:
  """A full disk, as far as a limit of the size of files goes."""
  passed, path = 0, folder / 'a.txt'
  path.write_text('old')
  try:
    with no_larger_than(1000), durable.replacing(path) as file:
      file.write(5000 * 'x')
  except durable.CannotWrite as error:
    passed += str(path) in str(error) and path.read_text() == 'old'
  saved = folder / 'checkpoints'
  state = {'params': jnp.asarray(np.random.default_rng(0).random(100_000))}
  with contextlib.suppress(UserError), Checkpoints(saved) as checkpoints:
    checkpoints.save(1, state)
    checkpoints.finish()
    with no_larger_than(100_000):
      checkpoints.save(2, state)
      checkpoints.finish()
  passed += os.listdir(saved) == ['1'] and checkpoint.read(saved).step == 1
  return Outcome(2, passed, f'{passed} of 2 writes')


@row(
  'failed-save',
  what='An asynchronous save fails.',
  goal='raised by the next save, by a look at the newest step, or at exit',
)
def failed_save(folder: pathlib.Path, smoke: bool) -> Outcome:
  del smoke
  state = {'params': jnp.asarray(np.random.default_rng(0).random(100_000))}
  passed, moments = 0, ('save', 'latest_step', 'exit')
  for moment in moments:
    try:
      with Checkpoints(folder / moment) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.finish()
        with no_larger_than(100_000):
          checkpoints.save(2, state)
          if moment == 'save':
            checkpoints.save(3, state)
          elif moment == 'latest_step':
            checkpoints.latest_step()
          else:
            checkpoints.__exit__(None, None, None)
    except checkpoint.CheckpointError as error:
      passed += 'step 2 could not be saved' in str(error)
  return Outcome(3, passed, f'{passed} of 3 moments')


@row(
  'not-finite',
  what='A loss, a gradient or a parameter becomes infinite or NaN.',
  goal='the step, the arrays and a remedy are named; nothing of it is saved',
)
def not_finite(folder: pathlib.Path, smoke: bool) -> Outcome:
  if smoke:
    from types import SimpleNamespace

    from ssljax.health import check_finite

    state = SimpleNamespace(
      params={'encoder': {'kernel': np.array([np.nan])}}, method_state={}
    )
    try:
      check_finite('a', 9, [{'loss': 1.0}, {'loss': np.nan}], state)
    except UserError as error:
      said = str(error)
      words = ('step 9', 'loss', 'params/encoder/kernel', 'learning_rate')
      return Outcome(1, int(all(word in said for word in words)), 'named')
    return Outcome(1, 0, 'not noticed')
  data, passed, notes = folder / 'data', 0, []
  tries = ('optimizer.learning_rate=1e38', 'optimizer.learning_rate=1e25')
  for place, each in enumerate(tries):
    run = folder / f'run{place}'
    done = command(run, data, *TINY, f'--config.supervised.{each}')
    words = ('not finite at step', 'params/', 'learning_rate or set')
    saved = checkpoint.steps_in(run / 'supervised' / 'checkpoints')
    fine = all(
      np.isfinite(leaf).all()
      for leaf in (
        checkpoint.read(run / 'supervised' / 'checkpoints', 'params')
        .state['params']['head']['Dense_0'].values()
      )
    ) if saved else True  # fmt: skip
    if done.returncode and all(word in done.stderr for word in words) and fine:
      passed += 1
    else:
      notes.append(f'{each}: {done.stderr[-300:]}')
  return Outcome(
    len(tries), passed, f'{passed} of {len(tries)} named', notes=' '.join(notes)
  )
