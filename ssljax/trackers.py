"""Trackers: what a run logs goes to Weights & Biases or to MLflow as well.

A run of ssljax is one run there, and the name of a figure begins with that of
its stage, as `pretrain/loss`. A list of runs thus has one row for a run, with
all its figures; a run for each stage would scatter them.

Unless an environment variable says otherwise, all stays in the folder of the
run, and no network is used.
"""

import contextlib
import importlib
import importlib.util
import os
import pathlib
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from ssljax import hosts
from ssljax.errors import UserError, check_known
from ssljax.records import read_json, write_json

KNOWN = 'trackers.json'  # in the run folder: the id of its run in each tracker
Values = Mapping[str, float]


class Tracker(Protocol):
  """What is told the scalars and the pictures of a run, stage by stage."""

  def scalars(self, stage: str, step: int, values: Values) -> None: ...

  def picture(self, name: str, step: int, pixels: np.ndarray) -> None:
    """Is told a picture, uint8 (height, width, 3), named 'STAGE/NAME'."""

  def close(self, done: bool) -> None:
    """Is told whether the run has ended or only stopped."""


class Wandb:
  """Weights & Biases; offline, unless `WANDB_MODE` says otherwise."""

  def __init__(self, folder: pathlib.Path, described: Any, known: str | None):
    mode = os.environ.get('WANDB_MODE', 'offline')
    if mode == 'offline':  # where it still looks for a network, to report bugs
      os.environ.setdefault('WANDB_ERROR_REPORTING', 'false')
    wandb = importlib.import_module('wandb')
    self._image, self._stages = wandb.Image, set()
    self._run = wandb.init(
      mode=mode,
      project=os.environ.get('WANDB_PROJECT', 'ssljax'),
      name=os.environ.get('WANDB_NAME', folder.name),
      dir=os.environ.get('WANDB_DIR', str(folder)),
      id=known or os.environ.get('WANDB_RUN_ID', uuid.uuid4().hex[:8]),
      resume='allow',
      config=described,
      settings=wandb.Settings(silent=True, console='off'),
    )
    self.id = self._run.id

  def scalars(self, stage: str, step: int, values: Values) -> None:
    if stage not in self._stages:  # each counts its steps from 0
      self._stages.add(stage)
      self._run.define_metric(f'{stage}/*', step_metric=f'{stage}/step')
    named = {f'{stage}/{name}': value for name, value in values.items()}
    self._run.log({**named, f'{stage}/step': step})

  def picture(self, name: str, step: int, pixels: np.ndarray) -> None:
    stage = name.partition('/')[0]
    self._run.log({name: self._image(pixels), f'{stage}/step': step})

  def close(self, done: bool) -> None:
    self._run.finish(exit_code=0 if done else 1)


class Mlflow:
  """MLflow; in a database, unless `MLFLOW_TRACKING_URI` names another place.

  MLflow deprecates its store of files.
  """

  def __init__(self, folder: pathlib.Path, described: Any, known: str | None):
    os.environ.setdefault('MLFLOW_DISABLE_TELEMETRY', 'true')
    os.environ.setdefault('MLFLOW_LOGGING_LEVEL', 'WARNING')
    mlflow = importlib.import_module('mlflow')
    self._metric = importlib.import_module('mlflow.entities').Metric
    place, files = os.environ.get('MLFLOW_TRACKING_URI'), None
    if not place:
      own = folder.absolute() / 'mlflow'
      own.mkdir(exist_ok=True)
      place, files = f'sqlite:///{own}/mlflow.db', (own / 'files').as_uri()
    self._client = mlflow.MlflowClient(place)
    self.id = known or os.environ.get('MLFLOW_RUN_ID')
    if self.id is None:
      name = os.environ.get('MLFLOW_EXPERIMENT_NAME', 'ssljax')
      found = self._client.get_experiment_by_name(name)
      experiment = (
        found.experiment_id
        if found
        else self._client.create_experiment(name, files)
      )
      run = self._client.create_run(experiment, run_name=folder.name)
      self.id = run.info.run_id
      self._client.log_dict(self.id, described, 'config.json')
    self._client.update_run(self.id, status='RUNNING')

  def scalars(self, stage: str, step: int, values: Values) -> None:
    now = int(1000 * time.time())
    metrics = [
      # It takes no name such as 'linear, 1%'.
      self._metric(
        re.sub(r'[^\w\-. :/]', '_', f'{stage}/{name}'), value, now, step
      )
      for name, value in values.items()
    ]
    self._client.log_batch(self.id, metrics=metrics)

  def picture(self, name: str, step: int, pixels: np.ndarray) -> None:
    self._client.log_image(self.id, pixels, key=name, step=step)

  def close(self, done: bool) -> None:
    self._client.set_terminated(self.id, 'FINISHED' if done else 'KILLED')


TRACKERS: dict[str, Callable[..., Any]] = {'wandb': Wandb, 'mlflow': Mlflow}


class Behind:
  """A tracker that is told by a thread, so that a run never waits for it.

  When it fails, this is said once, and the run goes on without it.
  """

  def __init__(self, name: str, tracker: Tracker):
    self._name, self._tracker = name, tracker
    self._failed, self._thread = False, ThreadPoolExecutor(1)

  def scalars(self, stage: str, step: int, values: Values) -> None:
    self._thread.submit(self._tell, 'scalars', stage, step, values)

  def picture(self, name: str, step: int, pixels: np.ndarray) -> None:
    self._thread.submit(self._tell, 'picture', name, step, pixels)

  def close(self, done: bool) -> None:
    """Waits until all is told."""
    self._thread.submit(self._tell, 'close', done)
    self._thread.shutdown()

  def _tell(self, what: str, *arguments: Any) -> None:
    if self._failed:
      return
    try:
      getattr(self._tracker, what)(*arguments)
    except Exception as error:  # whatever it is
      self._failed = True
      tqdm.write(
        f'Warning: Found {self._name} failing: {error!r}. The run goes on '
        'without it; metrics.jsonl and TensorBoard have everything.',
        file=sys.stderr,
      )


def asked(given: Iterable[str]) -> list[str]:
  """The trackers that `--log` names, once each.

  Args:
    given: names, or several of them with commas between them.

  Raises:
    UserError: a tracker that is not known, or is not installed.
  """
  names = [name for each in given for name in each.split(',')]
  for name in names:
    check_known('tracker', name, TRACKERS)
    found = importlib.util.find_spec(name)
    # A folder of that name, as wandb makes one, is found as well.
    if hosts.first() and (found is None or found.origin is None):
      raise UserError(
        f'Found no package {name}; expected it because of --log={name}. '
        f"Install it: pip install 'ssljax[{name}]'"
      )
  return list(dict.fromkeys(names))


@contextlib.contextmanager
def opened(
  names: Sequence[str],
  folder: pathlib.Path,
  described: Any,
  replay: Callable[[Tracker], None],
) -> Iterator[list[Tracker]]:
  """Trackers of a run, which go on where an earlier start of it has ended.

  Args:
    names: of the trackers.
    folder: of the run.
    described: the config of the run, which they show.
    replay: tells a tracker what the run has logged so far.

  Raises:
    UserError: one of them does not start.
  """
  found, done = [], False
  path = folder / KNOWN
  known = read_json(path) if path.exists() else {}
  try:
    for name in names if hosts.first() else ():
      try:
        tracker = TRACKERS[name](folder, described, known.get(name))
      except Exception as error:
        raise UserError(
          f'Found {name} not starting: {error!r}; expected a tracker that '
          'takes what the run logs. Look at its environment variables, or '
          f'leave out --log={name}.'
        ) from error
      found.append(Behind(name, tracker))
      hosts.say(f'The log goes to {name} as well, as run {tracker.id}.')
      if name not in known:
        replay(found[-1])
        known[name] = tracker.id
        write_json(path, known)
    yield found
    done = True
  finally:
    for each in found:
      each.close(done)
