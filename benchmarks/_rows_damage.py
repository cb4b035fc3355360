"""Files of a run that were damaged, or were made to do harm."""

import contextlib
import os
import pathlib
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from _commands import SMOKE, TINY, command, peak, results_of
from _rows import Outcome, row

from ssljax import checkpoint, damage, durable, workdir
from ssljax.checkpoint import Checkpoints
from ssljax.data import cache, text_images
from ssljax.errors import UserError
from ssljax.records import read_json


def made(folder: pathlib.Path, data: pathlib.Path, smoke: bool) -> pathlib.Path:
  """A finished run, or with `smoke` what looks like one, and rendered data."""
  run = folder / 'run'
  if not smoke:
    done = command(run, data, *SMOKE)
    if done.returncode:
      raise RuntimeError(done.stderr)
    return run
  workdir.claim(run, {'recipe': ['one'], 'one': {'take': {}}, 'seed': 0})
  stage = run / 'one'
  with Checkpoints(stage / 'checkpoints') as checkpoints:
    for step in (1, 2):
      checkpoints.save(step, {'params': jnp.full(1000, step, jnp.float32)})
  (stage / 'metrics.jsonl').write_text('{"step": 2, "seconds": 1}\n')
  (stage / 'predictions.csv').write_text('file,label\na.png,01\n')
  damage.finish(stage, {'test': {'exact_match': 1.0}})
  text_images.prepare(
    data_dir=str(data), counts={'train': 4}, processes=1, progress=False
  )
  return run


@contextlib.contextmanager
def changed(path: pathlib.Path) -> Iterator[None]:
  """Puts a file back as it was."""
  whole = path.read_bytes()
  try:
    yield
  finally:
    path.unlink(missing_ok=True)
    path.write_bytes(whole)


def flip(path: pathlib.Path, bit: int) -> None:
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def told(path: pathlib.Path, look: Callable[[], Any]) -> bool:
  """Whether a look at a folder names a file of it, or the list of digests."""
  try:
    said = str(look())
  except UserError as error:
    said = str(error)
  return str(path) in said


@row(
  'flipped-bits',
  what='One bit flips in a file of a checkpoint, of prepared data or of the '
  'results, at a random place.',
  goal='200 of 200 are named; an older checkpoint is offered',
)
def flipped_bits(folder: pathlib.Path, smoke: bool) -> Outcome:
  data = folder / 'data'
  run = made(folder, data, smoke)
  wanted = read_json(run / 'config.json')
  listed = [
    each.parent / name
    for top in (run, data)
    for each in top.rglob(durable.LISTING)
    for name in (durable.LISTING, *(durable.listing(each.parent) or {}))
  ]
  array = data / 'array.npy'
  kind: dict[str, Any] = {'shape': (100,), 'dtype': np.float64}
  cache.kept(array, lambda: np.arange(100.0), **kind)
  listed += [array]
  rng = np.random.default_rng(0)
  tries = 30 if smoke else 200
  missed: list[str] = []

  def look(path: pathlib.Path) -> Any:
    if path == array:
      made_again = cache.kept(array, lambda: np.arange(100.0), **kind)
      return path if isinstance(made_again, np.ndarray) else ''
    for listing in data.rglob(durable.LISTING):
      if path.is_relative_to(listing.parent):
        return text_images.check(listing.parent)
    return damage.mend(run, wanted, dry=True)

  seconds = []
  for _ in range(tries):
    path = listed[rng.integers(len(listed))]
    bit = int(rng.integers(8 * path.stat().st_size))
    with changed(path):
      flip(path, bit)
      start = time.perf_counter()
      # A flip in a list may look like one in a file that the list names.
      place = path.parent if path.name == durable.LISTING else path
      if not told(place, lambda path=path: look(path)):
        missed.append(f'{path.relative_to(folder)} bit {bit}')
      seconds.append(time.perf_counter() - start)
  return Outcome(
    tries,
    tries - len(missed),
    f'{tries - len(missed)} of {tries} named, over {len(listed)} files',
    notes='; '.join(missed)
    or 'TensorBoard events and PNG files have checksums of their own, and are '
    'not read again. A kept array is named in a warning and made again.',
  )


@row(
  'last-good',
  what='The newest checkpoint of a stage is damaged.',
  goal='refused with the older one offered; --from_last_good goes on from it, '
  'to the same results',
)
def last_good(folder: pathlib.Path, smoke: bool) -> Outcome:
  data, run, whole = folder / 'data', folder / 'run', folder / 'whole'
  if smoke:
    run = made(folder, data, smoke)
    wanted, stage = read_json(run / 'config.json'), run / 'one'
    flip(stage / 'checkpoints' / '2' / 'state' / 'manifest.ocdbt', 9)
    offered = told(pathlib.Path('--from_last_good'), lambda: damage.mend(
      run, wanted))  # fmt: skip
    damage.mend(run, wanted, from_last_good=True)
    used = checkpoint.read(stage / 'checkpoints').step == 1
    return Outcome(2, offered + used, 'offered and used')
  command(whole, data, *TINY)
  command(run, data, *TINY)
  for name in ('state/manifest.ocdbt', 'metadata/metadata'):
    path = run / 'supervised' / 'checkpoints' / '8' / name
    flip(path, 99)
    refused = command(run, data, *TINY)
    offered = 'Step 6, before it, is whole' in refused.stderr
    again = command(run, data, *TINY, '--from_last_good')
    same = results_of(run) == results_of(whole)
    if not (refused.returncode and offered and not again.returncode and same):
      return Outcome(2, 0, 'not gone on from', notes=again.stderr[-300:])
  return Outcome(2, 2, 'gone on from step 6, results.json equal')


@row(
  'damaged-results',
  what='A result file of a finished stage is damaged or missing.',
  goal='named, and computed again where it can be',
)
def damaged_results(folder: pathlib.Path, smoke: bool) -> Outcome:
  data = folder / 'data'
  if smoke:
    run = made(folder, data, smoke)
    wanted, passed = read_json(run / 'config.json'), 0
    files = [run / 'one' / 'predictions.csv', run / 'one' / 'stage.json']
    for path in (*files, run / 'one' / 'metrics.jsonl', run / 'config.json'):
      with changed(path):
        flip(path, 50)
        passed += told(path, lambda: damage.mend(run, wanted, dry=True))
    return Outcome(4, passed, f'{passed} of 4 named')
  run, passed, notes = folder / 'run', 0, []
  command(run, data, *TINY)
  before = results_of(run)
  stage = run / 'supervised'
  names = (stage / 'predictions.csv', stage / 'stage.json')
  names += (run / 'results.json', run / 'results.md', run / 'config.json')
  tries = [(path, missing) for path in names for missing in (False, True)]
  tries.remove((run / 'config.json', True))  # a folder of no run
  for path, missing in tries:
    if missing:
      path.unlink()
    else:
      flip(path, 50)
    done = command(run, data, *TINY)
    # Without its stage.json a stage is one that has not finished.
    named = str(path) in done.stderr or (missing and path.name == 'stage.json')
    if named and not done.returncode and results_of(run) == before:
      passed += 1
    else:
      notes.append(f'{path.name}, missing: {missing}: {done.stderr[-200:]}')
  log = stage / 'metrics.jsonl'
  flip(log, 50)
  done = command(run, data, *TINY)
  passed += bool(done.returncode and str(log) in done.stderr)
  total = len(tries) + 1
  return Outcome(
    total,
    passed,
    f'{passed} of {total} named; all but the log computed again',
    notes=' '.join(notes)
    or 'The log of a stage is named and refused, because only training the '
    'stage again makes it.',
  )


class Bomb:
  """Writes a file if it is unpickled."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def tampering(mark: pathlib.Path) -> dict[str, Callable[[pathlib.Path], None]]:
  """What somebody may do to the folder of a run, by its name."""
  bomb = pickle.dumps(Bomb(mark))

  def step(run: pathlib.Path) -> pathlib.Path:
    return run / 'one' / 'checkpoints' / '2'

  def put(name: str, data: bytes) -> Callable[[pathlib.Path], None]:
    return lambda run: _put(step(run) / name, data)

  def link(run: pathlib.Path) -> None:
    path = step(run) / 'state' / 'manifest.ocdbt'
    path.rename(run.parent / 'outside')
    path.symlink_to(run.parent / 'outside')

  def pipe(run: pathlib.Path) -> None:
    (step(run) / 'state' / 'manifest.ocdbt').unlink()
    os.mkfifo(step(run) / 'state' / 'manifest.ocdbt')

  def truncated(run: pathlib.Path) -> None:
    for path in (step(run) / 'state').rglob('d/*'):
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

  def holes(name: str) -> Callable[[pathlib.Path], None]:
    def grow(run: pathlib.Path) -> None:
      with (run / name).open('r+b') as file:
        file.truncate(2**40)

    return grow

  def absurd(run: pathlib.Path) -> None:
    import tensorstore

    there = {'driver': 'ocdbt', 'base': f'file://{step(run) / "state"}'}
    array = {
      'driver': 'zarr',
      'kvstore': {**there, 'path': 'params/'},
      'metadata': {'shape': [10**12], 'chunks': [10], 'dtype': '<f4'},
    }
    tensorstore.open(array, create=True, delete_existing=True).result()

  def config(text: str) -> Callable[[pathlib.Path], None]:
    return lambda run: _put(run / 'config.json', text.encode())

  return {
    'a link': link,
    'a pipe': pipe,
    'truncated arrays': truncated,
    'an array of 4 TB': absurd,
    'a pickled state': put('state/_METADATA', bomb),
    'a pickled config': put('metadata/metadata', bomb),
    'metadata of 1 TB': holes('one/checkpoints/2/metadata/metadata'),
    'a config of 1 TB': holes('config.json'),
    'a config of another program': config('{"model_type": "bert"}'),
    'a list as config': config('[1]'),
    'a stage that leads out': config(
      '{"data": 1, "recipe": ["../../x"], "../../x": {"method": {"name": "a"}}}'
    ),
    'digests that lead out': put('digests.json', b'{"../../../x": "0"}'),
  }


def _put(path: pathlib.Path, data: bytes) -> None:
  path.write_bytes(data)


@row(
  'tampered',
  what='A run is tampered with, and its digests written anew: links, pipes, '
  'pickles, truncated arrays, absurd sizes, paths that lead out, configs of '
  'other programs.',
  goal='all refused with a reason before memory is taken; no pickle is loaded',
)
def tampered(folder: pathlib.Path, smoke: bool) -> Outcome:
  del smoke
  mark = folder / 'mark'
  whole = made(folder, folder / 'data', True)
  passed, notes, most = 0, [], 0.0
  kinds = tampering(mark)
  for place, (name, change) in enumerate(kinds.items()):
    run = shutil.copytree(whole, folder / f'run{place}')
    change(run)
    for top in (run, run / 'one' / 'checkpoints' / '2'):
      if name != 'digests that lead out' and 'TB' not in name:
        (top / durable.LISTING).unlink()
        with contextlib.suppress(UserError):
          if top != run:
            durable.record_folder(top)
    before = peak()
    try:
      workdir.recipe_of(run)
      checkpoint.read(run / 'one' / 'checkpoints')
      notes.append(f'{name} was read')
    except UserError:
      passed += 1
    except Exception as error:
      notes.append(f'{name}: {error!r:.200}')
    most = max(most, peak() - before)
  if mark.exists():
    return Outcome(len(kinds), 0, 'a pickle was loaded')
  return Outcome(
    len(kinds),
    passed,
    f'{passed} of {len(kinds)} refused, at most {most:.0f} MB more memory',
    met=passed == len(kinds) and most < 100,
    notes='; '.join(notes),
  )
