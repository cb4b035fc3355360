"""What a run survives: flipped bits, full disks, and files made to do harm."""

import contextlib
import json
import os
import pathlib
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from _reliability import Outcome, row
from PIL import Image

from ssljax import checkpoint, damage, durable, workdir
from ssljax.checkpoint import Checkpoints
from ssljax.data import cache, text_images
from ssljax.errors import UserError
from ssljax.records import read_json

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
      *(f'--workdir={run}', f'--data_dir={data}'),
    ],
    cwd=ROOT,
    env=os.environ | settings,
    capture_output=True,
    text=True,
    check=False,
  )


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


def results_of(run: pathlib.Path) -> Any:
  return (run / 'results.json').read_text(), [
    {**json.loads(line), 'seconds': 0}
    for line in (run / 'supervised' / 'metrics.jsonl').read_text().splitlines()
  ]


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


def peak() -> float:
  """The most MB of memory that this process has had since `reset`."""
  for line in pathlib.Path('/proc/self/status').read_text().splitlines():
    if line.startswith('VmHWM'):
      return int(line.split()[1]) / 1024
  return 0.0


READING = """
import pathlib, sys
sys.path[:0] = [{root!r}, {benchmarks!r}]
import _rows_damage
_rows_damage.{call}
"""


def apart(call: str) -> float:
  """What a call in a process of its own prints: its memory in MB."""
  text = READING.format(
    root=str(ROOT), benchmarks=str(ROOT / 'benchmarks'), call=call
  )
  done = subprocess.run(
    [sys.executable, '-c', text], capture_output=True, text=True, check=False
  )
  if done.returncode:
    raise RuntimeError(done.stderr)
  return float(done.stdout.split()[-1])


def reset() -> float:
  pathlib.Path('/proc/self/clear_refs').write_text('5')
  return peak()


def one_picture(path: str) -> None:
  """Prints how many MB it takes to read a picture, or to refuse it."""
  from ssljax.data import images

  before = reset()
  with contextlib.suppress(images.BadImage):
    images.read_image(path)
  print(peak() - before)


def photographs(kind: str, path: str, count: int, run: str) -> None:
  """Prints how many MB reading photographs from a generator takes."""
  from ssljax.data import images, inputs

  def given() -> Iterator[Any]:
    for _ in range(count):
      yield {
        'paths': lambda: path,
        'bytes': lambda: pathlib.Path(path).read_bytes(),
        'pictures': lambda: Image.open(path),
        'arrays': lambda: np.asarray(Image.open(path)),
      }[kind]()

  if run:
    import ssljax

    reader = ssljax.load(run)
    reader.recognize([path])
    before = reset()
    reader.recognize(given())
  else:
    before = reset()
    for _ in inputs.prepared(
      inputs.each(given()),
      lambda each: images.fit(inputs.picture(each), 32, 96),
    ):
      pass
  print(peak() - before)


@row(
  'large-picture',
  what='A picture of 16 bits and 89 million pixels is read.',
  goal='at most 400 MB more, or refused by a limit of our own',
)
def large_picture(folder: pathlib.Path, smoke: bool) -> Outcome:
  side = 2000 if smoke else 9459
  values = np.arange(side * side, dtype=np.uint32).astype(np.uint16)
  picture = Image.fromarray(values.reshape(side, side))
  most = 0.0
  for name in ('a.png', 'a.tif'):
    options = {'compress_level': 1} if name == 'a.png' else {}
    picture.save(folder / name, **options)
    most = max(most, apart(f'one_picture({str(folder / name)!r})'))
  return Outcome(
    2,
    2 if most <= 400 else 0,
    f'{most:.0f} MB more',
    notes='Both files, a PNG and a TIFF, are refused by the limit of 768 MB '
    'for decoding, before they are decoded.' * (not smoke),
  )


@row(
  'photographs',
  what='A trained reader reads 40 photographs of 12 million pixels that a '
  'generator gives, as paths, bytes, pictures and arrays.',
  goal='at most 300 MB above the model',
)
def many_photographs(folder: pathlib.Path, smoke: bool) -> Outcome:
  side = (1000, 800) if smoke else (4000, 3000)
  noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
  turned = Image.Exif()
  turned[0x0112] = 6
  path, run = folder / 'a.jpg', ''
  # What takes the most: a progressive JPEG that has to be turned.
  Image.fromarray(noise).resize(side).save(
    path, quality=90, progressive=True, exif=turned
  )
  if not smoke:
    run = str(folder / 'run')
    done = command(pathlib.Path(run), folder / 'data', *TINY)
    if done.returncode:
      raise RuntimeError(done.stderr)
  count = 4 if smoke else 40
  kinds = ('bytes',) if smoke else ('paths', 'bytes', 'pictures', 'arrays')
  found = {
    kind: apart(f'photographs({kind!r}, {str(path)!r}, {count}, {run!r})')
    for kind in kinds
  }
  return Outcome(
    len(found),
    sum(each <= 300 for each in found.values()),
    ', '.join(f'{each:.0f} MB ({kind})' for kind, each in found.items()),
  )
