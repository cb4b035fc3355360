"""What a run has told TensorBoard, and a tracker that is not the real one."""

import importlib.machinery
import struct
import sys
import types

from tensorboardX.proto.event_pb2 import Event


def events(directory):
  """What TensorBoard would read of a stage's folder, file by file."""
  found = []
  for path in sorted((directory / 'tensorboard').iterdir()):
    data = path.read_bytes()
    while data:
      (size,) = struct.unpack('<Q', data[:8])
      found.append(Event.FromString(data[12 : 12 + size]))
      data = data[12 + size + 4 :]
  return found


def fake_wandb(monkeypatch):
  """Puts a module in the place of wandb; returns what its runs are told.

  Returns:
    A list of the starts of runs, each with `options` of `init`, `lines` that
    were logged and `status`, None before the run is finished.
  """
  starts = []

  def init(**options):
    run = types.SimpleNamespace(
      id=options['id'], options=options, lines=[], steps={}, status=None
    )

    def finish(*, exit_code):
      run.status = exit_code

    run.log = run.lines.append
    run.define_metric = lambda name, step_metric: run.steps.update(
      {name: step_metric}
    )
    run.finish = finish
    starts.append(run)
    return run

  module = types.ModuleType('wandb')
  module.__spec__ = importlib.machinery.ModuleSpec('wandb', None, origin='here')
  module.init, module.Image = init, lambda pixels: pixels
  module.Settings = lambda **options: options
  monkeypatch.setitem(sys.modules, 'wandb', module)
  for name in ('MODE', 'PROJECT', 'NAME', 'DIR', 'RUN_ID'):
    monkeypatch.delenv(f'WANDB_{name}', raising=False)
  monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
  return starts
