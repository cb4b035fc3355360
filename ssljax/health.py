"""Alarms: what goes wrong in a representation while its loss looks well.

Each alarm watches one figure of the log. It is raised where the figure has
been on the wrong side of its threshold for `PATIENCE` steps on end after the
warm-up, and has not been getting better meanwhile: a run that is recovering,
or that has only begun, is not ill.
"""

from collections.abc import Mapping
from typing import NamedTuple

PATIENCE = 100  # optimizer steps


class Sign(NamedTuple):
  """What one alarm watches.

  Attributes:
    figure: its name in the log.
    threshold: the figure is bad below it.
    gain: a relative growth over the time of patience that counts as recovery.
    meaning: what it shows.
    cause: what usually brings it about.
  """

  figure: str
  threshold: float
  gain: float
  meaning: str
  cause: str


_NO_ASYMMETRY = (
  'usually a missing predictor or stop_gradient, a target that moves with the '
  'online network (momentum 0), or too high a learning rate'
)
SIGNS = (
  Sign(
    'std_across_images',
    0.05,
    0.1,
    'the features of all images are the same at each position',
    _NO_ASYMMETRY + '; position is what the views share',
  ),
  Sign(
    'std', 0.05, 0.1, 'the features of all images are the same', _NO_ASYMMETRY
  ),
  Sign(
    # Behind BatchNorm the features may keep their spread for long after.
    'projection_std',
    0.1,
    0.1,
    'the projections of all images are the same',
    _NO_ASYMMETRY + ', or no BatchNorm in projector and predictor',
  ),
  Sign(
    'effective_rank',
    1.3,
    0.05,
    'the features vary along one direction only',
    _NO_ASYMMETRY,
  ),
  Sign(
    'clusters',
    1.5,
    0.1,
    'nearly all examples are in one cluster',
    'usually features that are all the same, clusters that nothing keeps even, '
    'or a single one',
  ),
  Sign(
    'loss_below_chance',
    0.02,
    0.5,
    'the loss stays at chance: not learning',
    'usually no BatchNorm in the projector of a small encoder, a learning rate '
    'too low or too high, or views that share nothing',
  ),
)


class Monitor:
  """Reads the lines of a stage's log, one after another.

  What it says depends on the lines alone, so a resumed run that feeds it the
  lines of before raises no alarm twice.

  Args:
    warmup: steps at the start that count for nothing.
  """

  def __init__(self, *, warmup: int = 0):
    self._warmup = warmup
    self._since: dict[str, tuple[int, float]] = {}
    self.raised: dict[str, str] = {}

  def read(self, step: int, values: Mapping[str, float]) -> list[str]:
    """Takes in one line of the log; returns the alarms that it raises."""
    values = dict(values)
    if 'loss_at_chance' in values:
      # As a share, so that one threshold serves every number of candidates. A
      # loss that comes down to chance from above has learned nothing yet.
      chance = max(values['loss_at_chance'], 1e-6)
      loss = values.get('method_loss', values['loss'])
      values['loss_below_chance'] = max(0.0, 1 - loss / chance)
    messages = []
    for sign in SIGNS:
      value = values.get(sign.figure)
      if value is None or step <= self._warmup:
        continue
      if value >= sign.threshold:
        self._since.pop(sign.figure, None)
        continue
      first, before = self._since.setdefault(sign.figure, (step, value))
      if step - first < PATIENCE:
        continue
      # Of next to nothing any growth would be large.
      if value > before + sign.gain * max(before, sign.threshold / 10):
        self._since[sign.figure] = (step, value)  # rising: wait once more
        continue
      if sign.figure not in self.raised:
        self.raised[sign.figure] = (
          f'Step {step}: {sign.meaning} ({sign.figure} {value:.3g}, below '
          f'{sign.threshold} for {step - first} steps and not rising); '
          f'{sign.cause}.'
        )
        messages.append(self.raised[sign.figure])
    return messages
