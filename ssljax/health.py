"""Alarms for representations that go wrong while the loss looks well.

A figure, a parameter or a statistic that is not finite stops a stage at once,
before it is saved.

Each alarm watches one figure of the log. It is raised if the figure has been
below its threshold for `PATIENCE` steps on end after the warm-up and has not
risen meanwhile. A run that is recovering, or that has only begun, thus raises
no alarm.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ssljax.errors import UserError

PATIENCE = 100  # optimizer steps
_SHOWN = 3  # the most arrays that an error names


class Sign(NamedTuple):
  """One figure of the log, and when and how an alarm is raised about it.

  Attributes:
    figure: the name of the figure in the log.
    threshold: a value below it is bad.
    gain: the relative growth of the figure, within `PATIENCE` steps or more,
      that counts as recovery.
    meaning: what a bad value shows.
    cause: what usually causes a bad value.
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
    # Features that enter a projector with BatchNorm may keep their spread long
    # after the projections have collapsed.
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
    'variety',
    0.05,
    0.5,
    'the teacher reads nearly all unlabelled images alike',
    'usually a start that reads nothing yet, such as a reader on its plateau '
    'of blanks; finetune for longer before self-training',
  ),
  Sign(
    'trust',
    0.5,
    0.1,
    'the teacher is sure of itself and wrong about the labelled images',
    'usually too few labelled examples in a batch (data.labelled), too high a '
    'learning rate, or labels that are wrong',
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
  """Reads the lines of a stage's log in order and raises alarms.

  The alarms depend on the lines alone. A resumed run therefore raises no alarm
  twice if it first passes the earlier lines to the monitor.

  Args:
    warmup: the number of steps at the start that are ignored.

  Attributes:
    raised: the messages of all alarms so far, by the name of the figure.
  """

  def __init__(self, *, warmup: int = 0):
    self._warmup = warmup
    self._since: dict[str, tuple[int, float]] = {}
    self.raised: dict[str, str] = {}

  def read(self, step: int, values: Mapping[str, float]) -> list[str]:
    """Takes one line of the log and returns the alarms that it raises.

    Args:
      step: the step of the line.
      values: the figures of the line by name.

    Returns:
      The messages of the new alarms; each figure raises at most one alarm.
    """
    values = dict(values)
    if 'loss_at_chance' in values:
      # The distance below chance is taken as a share of chance, so that one
      # threshold serves every number of candidates. A loss that is above
      # chance counts as 0, because it has learned nothing yet.
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
      # A figure that is almost 0 grows by a large factor at any change, so
      # the growth is taken relative to a tenth of the threshold at least.
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


def check_finite(
  name: str,
  step: int,
  window: Sequence[Mapping[str, Any]],
  state: Any,
  *,
  saving: bool = True,
) -> None:
  """Stops before a state that can no longer learn is saved.

  Args:
    name: of the stage.
    step: the last step of the window.
    window: the figures of each call since the last line of the log: of one step
      or, as arrays, of several.
    state: after the step; its `params`, and the `batch_stats` of its
      `method_state`, are looked at.
    saving: whether the state is about to be saved. Otherwise its arrays are
      looked at only if a figure is not finite.

  Raises:
    UserError: something is not finite. The error names the first step with such
      a figure, and the arrays that are not finite after `step`.
  """
  window = jax.device_get(window)
  columns = {
    figure: np.isfinite(np.hstack([each[figure] for each in window]))
    for figure in (window[0] if window else ())
  }
  bad = [figure for figure, finite in columns.items() if not finite.all()]
  leaves = _not_finite(state) if bad or saving else []
  if not bad and not leaves:
    return
  if bad:
    # A column has each step of the window, the last of which is `step`.
    first = min(int(np.argmin(columns[figure])) for figure in bad)
    step += 1 + first - len(columns[bad[0]])
    bad = [figure for figure in bad if not columns[figure][first]]
  found = ', '.join([*bad, *leaves[:_SHOWN]])
  if len(leaves) > _SHOWN:
    found += f' and {len(leaves) - _SHOWN} more arrays'
  # A norm becomes infinite while all values are still finite.
  largest = '' if leaves else _largest(state)
  raise UserError(
    f'Stage {name!r}: found {found} not finite at step {step}{largest}; the '
    'last checkpoint, from before, is kept. Lower '
    f'--config.{name}.optimizer.learning_rate or set '
    f'--config.{name}.optimizer.clip, in another --workdir.'
  )


def _largest(state: Any) -> str:
  """Names the array with the largest value."""
  sizes = {
    name: float(np.abs(np.asarray(leaf, np.float64)).max())
    for name, leaf in _named({'params': state.params})
    if np.size(leaf)
  }
  if not sizes:
    return ''
  name = max(sizes, key=lambda each: sizes[each])
  return f', where the largest value, {sizes[name]:.1e}, is in {name}'


def _not_finite(state: Any) -> list[str]:
  """The names of the arrays that are not finite."""
  watched = {
    'params': state.params,
    'batch_stats': state.method_state.get('batch_stats', {}),
  }
  return [
    name
    for name, leaf in _named(watched)
    if not np.isfinite(np.asarray(leaf, np.float32)).all()
  ]


def _named(tree: Any) -> list[tuple[str, Any]]:
  """The arrays of a tree, each with its name."""
  return [
    (jax.tree_util.keystr(path, simple=True, separator='/'), leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  ]
