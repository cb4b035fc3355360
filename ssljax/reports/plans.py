"""What a run tells of its stages before they run: steps, minutes, disk."""

from collections.abc import Sequence
from typing import NamedTuple

from ssljax.bars import minutes
from ssljax.reports.summary import listed

STAGES = 10  # the most stages that are listed


class Plan(NamedTuple):
  """A stage that is still to run.

  Attributes:
    name: of the stage.
    method: its name.
    steps: in all.
    done: the steps that an earlier run has saved.
    batch_size: examples a step.
    asked: the batch size that the config asks for.
    examples: how many it learns from.
    labels: how many of these have labels that it uses.
    flops: of the steps that are left.
    saved: bytes of its checkpoints.
    state: bytes of its network and optimizer.
  """

  name: str
  method: str
  steps: int
  done: int
  batch_size: int
  asked: int
  examples: int
  labels: int
  flops: float
  saved: int
  state: int


class Machine(NamedTuple):
  """What the machine has.

  Attributes:
    speed: FLOPs a second that a step may reach; None if no time is told.
    free: bytes on the disk of the run folder.
    memory: bytes of the machine; 0 where it is not known.
  """

  speed: float | None
  free: int
  memory: int


def stage_lines(
  plans: Sequence[Plan],
  machine: Machine,
  *,
  finished: Sequence[str] = (),
  decoded: int = 0,
) -> list[str]:
  """The stages that are left, with their time, memory and disk.

  Args:
    plans: the stages.
    machine: that they run on.
    finished: the names of the stages that are done.
    decoded: bytes of decoded images that stay in memory.
  """
  done = f'; done: {listed(finished)}' if finished else ''
  if not plans:
    return [f'Stages: none is left to run{done}']
  lines = [f'Stages to run: {len(plans)}{done}']
  width = max(len(plan.name) for plan in plans[:STAGES])
  lines += [
    f'{plan.name.ljust(width)}  {_stage(plan, machine.speed)}'
    for plan in plans[:STAGES]
  ]
  if len(plans) > STAGES:
    lines.append(f'and {len(plans) - STAGES} more')
  flops = sum(plan.flops for plan in plans)
  if machine.speed:
    lines.append(
      f'in all about {minutes(flops / machine.speed)}, '
      'compiling and tests not counted; within a factor of two or three: '
      f'{flops / 1e12:.2f} TFLOP at {machine.speed / 1e9:.0f} GFLOP a second, '
      'by a convolution that ran just now; the first steps correct it'
    )
  state = max(plan.state for plan in plans)
  of = f' of {_bytes(machine.memory)}' if machine.memory else ''
  lines.append(
    f'memory: {_bytes(decoded)} of images, {_bytes(state)} of network and '
    f'optimizer, and what a step computes with{of}'
  )
  saved = sum(plan.saved for plan in plans)
  enough = '' if saved < machine.free else ': NOT ENOUGH, free some'
  lines.append(
    f'disk: {_bytes(saved)} of checkpoints; {_bytes(machine.free)} are free'
    + enough
  )
  return lines


def _stage(plan: Plan, speed: float | None) -> str:
  """A stage in a line."""
  if not plan.steps:
    return f'{plan.method}: evaluates only'
  done = f' ({plan.done:,} done)' if plan.done else ''
  size = f'{plan.batch_size}'
  if plan.batch_size < plan.asked:
    size += f' (not {plan.asked}, as the examples are fewer)'
  labels = f', {plan.labels:,} labels' if plan.labels else ''
  time = f', about {minutes(plan.flops / speed)}' if speed else ''
  return (
    f'{plan.method}: {plan.steps:,} steps{done} of {size}, '
    f'{plan.examples:,} examples{labels}{time}'
  )


def _bytes(count: float) -> str:
  for unit in ('B', 'KB', 'MB', 'GB'):
    if count < 1000:
      return f'{count:.0f} {unit}'
    count /= 1000
  return f'{count:.1f} TB'
