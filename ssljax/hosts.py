"""Several processes as one run: how they start, agree, wait and end together.

JAX runs the same program in every process. All processes take part in every
step and every save; process 0 alone evaluates and writes results. With one
process nothing here has an effect.
"""

import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssljax.errors import UserError

# Seconds without a sign of life after which the others give a process up.
HEARTBEAT = 30
_DAY = 24 * 3600
_RANK = 'OMPI_COMM_WORLD_RANK'
_waits = itertools.count()


def start(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Joins the processes of the run; call it before JAX is used.

  Without arguments JAX finds the other processes on a TPU pod and under SLURM
  and Open MPI 4. On one machine alone nothing happens.

  Args:
    coordinator: 'HOST:PORT' of process 0.
    processes: their number; Open MPI tells it.
    process: which of them this is, from 0; Open MPI tells it.

  Raises:
    UserError: only some of the arguments, or arguments that make no sense.
  """
  if coordinator is not None and _RANK in os.environ:
    if processes is None:
      processes = int(os.environ['OMPI_COMM_WORLD_SIZE'])
    if process is None:
      process = int(os.environ[_RANK])
  if coordinator is None or processes is None or process is None:
    given = {'coordinator': coordinator, 'processes': processes}
    given['process'] = process
    missing = [f'--{name}' for name, value in given.items() if value is None]
    if len(missing) < len(given):
      raise UserError(
        f'Found no {" and no ".join(missing)}; expected '
        '--coordinator=HOST:PORT, --processes and --process together, or none '
        'of them. Give all three, as launch/local.sh does.'
      )
    if not detected(os.environ):
      return
    if _RANK in os.environ and 'OMPI_MCA_orte_hnp_uri' not in os.environ:
      raise UserError(
        'Found processes of an Open MPI that does not say where process 0 is, '
        'as version 5; expected --coordinator=HOST:PORT. Give it the name of '
        'the host of process 0 and a free port.'
      )
  elif not 0 <= process < processes or ':' not in coordinator:
    raise UserError(
      f'Found --coordinator={coordinator} --processes={processes} '
      f'--process={process}; expected HOST:PORT, and a process from 0 to '
      f'{processes - 1}. Number the processes from 0.'
    )
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  without_proxy(coordinator)
  before = signal.getsignal(signal.SIGTERM)
  jax.distributed.initialize(
    coordinator,
    processes,
    process,
    gpus(os.environ),
    heartbeat_timeout_seconds=HEARTBEAT,
    shutdown_timeout_seconds=2 * HEARTBEAT,
  )
  # JAX's own handler, for a service that Orbax asks for, swallows the signal.
  signal.signal(signal.SIGTERM, before)


def without_proxy(coordinator: str | None) -> None:
  """Has gRPC go to process 0 itself, where the environment names a proxy."""
  if coordinator is not None:
    # The first of these that is set is the one that gRPC reads.
    names = ('no_grpc_proxy', 'no_proxy')
    others = [os.environ[name] for name in names if os.environ.get(name)][:1]
    host = coordinator.rpartition(':')[0]
    os.environ.update(no_grpc_proxy=','.join([*others, host]))


def gpus(environment: Any) -> list[int] | None:
  """All GPUs of the node, for the only task of a SLURM job there.

  JAX would take the one of the task's number there. None leaves it to JAX.
  """
  tasks = environment.get('SLURM_STEP_TASKS_PER_NODE', '')
  count = environment.get('SLURM_GPUS_ON_NODE', '')
  if re.fullmatch(r'1(\(x\d+\))?', tasks) and count.isdecimal():
    return list(range(int(count)))
  return None


def detected(environment: Any) -> bool:
  """Whether this process was started as one of several.

  A SLURM job of one task, and a machine without TPUs, need no other process; a
  shell inside a job has no task of its own.
  """
  slurm = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_LOCALID')
  if all(name in environment for name in slurm):
    tasks = environment.get('SLURM_STEP_NUM_TASKS')
    return int(tasks or environment.get('SLURM_NTASKS') or 1) > 1
  if int(environment.get('OMPI_COMM_WORLD_SIZE') or 1) > 1:
    return True
  if ',' in environment.get('TPU_WORKER_HOSTNAMES', ''):
    return True
  # A TPU VM, whose metadata tell JAX of the pod; a pod may be one machine.
  chips = ('/dev/accel0', '/dev/vfio/0')
  google = pathlib.Path('/sys/class/dmi/id/product_name')
  with contextlib.suppress(OSError):
    named = 'Google' in google.read_text()
    installed = importlib.util.find_spec('libtpu') is not None
    return named and any(map(os.path.exists, chips)) and installed
  return False


def sees(path: pathlib.Path, seconds: float = HEARTBEAT) -> bool:
  """Whether a file of process 0 is here; a network file system tells late."""
  until = time.monotonic() + seconds
  while not path.is_file():
    if first() or time.monotonic() > until:
      return False
    time.sleep(0.2)
  return True


def count() -> int:
  """The number of processes."""
  return jax.process_count()


def first() -> bool:
  """Whether this is the process that evaluates and writes."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """Prints a line to stderr, from process 0 alone."""
  if first():
    print(text, file=sys.stderr)


def wait(what: str) -> None:
  """Returns once all processes are here, however long one of them takes.

  The processes wait at JAX's coordinator. A wait by a collective of the
  devices would end with an error after half a minute on CPU.
  """
  if count() == 1:
    return
  name = f'ssljax-{what}-{next(_waits)}'
  failed: list[BaseException] = []

  def sync():
    try:
      ocp.multihost.sync_global_processes(
        name, timeout=_DAY, processes=set(range(count()))
      )
    except BaseException as error:
      failed.append(error)

  # In a thread, because Python handles no signal while C++ waits.
  waiting = threading.Thread(target=sync, daemon=True)
  waiting.start()
  while waiting.is_alive():
    waiting.join(0.2)
  if failed:
    raise failed[0]


def check_same(what: str, value: Any) -> None:
  """Refuses processes that would not take the same steps.

  They would otherwise wait for each other for ever.

  Args:
    what: the value is, for the message.
    value: that JSON can express.
  """
  if count() == 1:
    return
  wait(what)
  text = json.dumps(value, sort_keys=True, default=str)
  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
  found = np.asarray(multihost_utils.process_allgather(digest))
  others = [
    place for place, each in enumerate(found) if (each != found[0]).any()
  ]
  if others:
    raise UserError(
      f'Found {what} of process {", ".join(map(str, others))} other than those '
      f'of process 0; here they are {text[:300]}. Expected one command, one '
      'version and the same data for all processes, and a run folder that all '
      'of them see. Start them again so.'
    )


def of_first(value: float) -> float:
  """The number that process 0 has, for all processes."""
  if count() == 1:
    return float(value)
  found = multihost_utils.broadcast_one_to_all(np.float32(value))
  return float(np.asarray(found))


def sharing(folder: str | os.PathLike[str]) -> str:
  """A line that says which processes use one folder together; '' for one.

  Process 0 writes a file for a moment, and each process looks for it.

  Args:
    folder: of prepared data, by the path that every process uses.
  """
  if count() == 1:
    return ''
  folder = pathlib.Path(folder)
  # Process 0 may come late, because it waits for the lock of the run folder,
  # and the first collective of gloo waits for half a minute only.
  wait('sharing')
  nonce = np.frombuffer(os.urandom(4), np.int32)
  name = int(multihost_utils.broadcast_one_to_all(nonce)[0])
  token = folder / f'.process-0-{name}'
  if first():
    with contextlib.suppress(OSError):
      folder.mkdir(parents=True, exist_ok=True)
      token.touch()
  wait('token')
  found = np.asarray(multihost_utils.process_allgather(token.exists()))
  wait('token-found')
  if first():
    with contextlib.suppress(OSError):
      token.unlink()
  own = count() - int(found.sum())
  if not own:
    return (
      f'All {count()} processes share {folder}: images are rendered there '
      'once. Each process checks and decodes what it reads.'
    )
  return (
    f'{count() - own} of {count()} processes share {folder} with process 0, '
    f'and each of the other {own} has its own: images are rendered once in '
    'each folder. Each process checks and decodes what it reads.'
  )


def agreed(asked: Callable[[], bool]) -> Callable[[], bool]:
  """`asked` of any process, told to all of them at the same call.

  Every process must call the function equally often. The answer is of the call
  before, so that a step need not wait for its own: devices stay busy.
  """
  if count() == 1:
    return asked
  mesh = Mesh(jax.devices(), ('all',))
  split = NamedSharding(mesh, PartitionSpec('all'))
  any_of = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
  pending: list[jax.Array] = []

  def stop() -> bool:
    flags = np.full(jax.local_device_count(), int(asked()), np.int32)
    pending.append(any_of(jax.make_array_from_process_local_data(split, flags)))
    return len(pending) > 1 and bool(pending.pop(0))

  return stop


@contextlib.contextmanager
def ending_together(*orderly: type[BaseException]) -> Iterator[None]:
  """Ends this process at once after an error, so that the others end too.

  Python would otherwise wait at its end for the other processes, while these
  wait for this one.

  Args:
    *orderly: exceptions that all processes raise together.
  """
  try:
    yield
  except orderly:
    raise
  except BaseException as error:
    if count() == 1:
      raise
    name = f'Process {jax.process_index()} of {count()}'
    if isinstance(error, UserError):
      print(f'{name}: {type(error).__name__}: {error}', file=sys.stderr)
    else:
      traceback.print_exception(error)
      print(f'{name} ended by {type(error).__name__}.', file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
