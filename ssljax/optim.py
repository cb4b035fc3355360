"""Optimizers: a schedule, a rule, and which parts it moves how far."""

from collections.abc import Mapping

import jax
import optax

from ssljax.errors import check_known


def schedule(
  name: str, *, peak: float, steps: int, warmup: int = 0
) -> optax.Schedule:
  """A learning rate by optimizer step.

  Args:
    name: 'constant', or 'cosine' from `peak` down to 0 at `steps`.
    peak: the rate after warm-up.
    steps: of the whole stage.
    warmup: steps of linear growth from 0.
  """
  check_known('schedule', name, ('constant', 'cosine'))
  if name == 'cosine':
    return optax.warmup_cosine_decay_schedule(
      0.0 if warmup else peak, peak, warmup, max(steps, warmup + 1)
    )
  ramp = optax.linear_schedule(0.0 if warmup else peak, peak, warmup or 1)
  return optax.join_schedules([ramp, optax.constant_schedule(peak)], [warmup])


def by_part(choices: Mapping[str, optax.GradientTransformation], default):
  """Applies to each top-level part of `params` its choice, or the default.

  Raises:
    UserError: a part that `params` lacks, when the state is initialised. It
      would be frozen in the config, and trained all the same.
  """

  def labels(tree):
    for part in choices:
      check_known('part', part, tree)
    return {
      name: jax.tree.map(lambda _, name=name: name, part)
      if name in choices
      else jax.tree.map(lambda _: 'other', part)
      for name, part in tree.items()
    }

  return optax.partition({**choices, 'other': default}, labels)


def optimizer(
  name: str = 'adamw',
  *,
  learning_rate: float,
  steps: int,
  decay: str = 'cosine',
  warmup: int = 0,
  weight_decay: float = 0.0,
  momentum: float = 0.0,
  clip: float | None = None,
  freeze: tuple[str, ...] = (),
  rates: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
  """AdamW or SGD over top-level parts of `params`.

  Args:
    name: 'adamw' or 'sgd'.
    learning_rate: the peak of the schedule.
    steps: of the whole stage.
    decay: name of the schedule.
    warmup: its steps of linear growth.
    weight_decay: of AdamW, for arrays of two dimensions and more only.
    momentum: of SGD.
    clip: largest global norm of the gradient.
    freeze: parts whose update is exactly zero; stopping the gradient alone
      would let weight decay move them.
    rates: part -> factor on the learning rate.

  Raises:
    UserError: an unknown name; that of a part once it sees `params`.
  """
  check_known('optimizer', name, ('adamw', 'sgd'))
  rate = schedule(decay, peak=learning_rate, steps=steps, warmup=warmup)
  if name == 'adamw':
    rule = optax.adamw(
      rate,
      weight_decay=weight_decay,
      mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
    )
  else:
    rule = optax.sgd(rate, momentum=momentum or None)
  if clip is not None:
    rule = optax.chain(optax.clip_by_global_norm(clip), rule)
  if rates:
    scales = {part: optax.scale(factor) for part, factor in rates.items()}
    rule = optax.chain(rule, by_part(scales, optax.identity()))
  if freeze:
    # Outermost: frozen parts have no state and no share in the clipped norm.
    rule = by_part({part: optax.set_to_zero() for part in freeze}, rule)
  return rule
