"""Optimizers: a schedule, a rule, and which parts it moves how far."""

from collections.abc import Mapping

import jax
import optax

from ssljax.errors import UserError, suggest


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
  if name == 'cosine':
    return optax.warmup_cosine_decay_schedule(
      0.0 if warmup else peak, peak, warmup, max(steps, warmup + 1)
    )
  if name == 'constant':
    ramp = optax.linear_schedule(0.0 if warmup else peak, peak, warmup or 1)
    return optax.join_schedules([ramp, optax.constant_schedule(peak)], [warmup])
  raise UserError(
    f"Found schedule {name!r}; expected 'constant' or 'cosine'."
    + suggest(name, ('constant', 'cosine'))
  )


def by_part(tree):
  """Labels every leaf of `params` with its top-level name."""
  return {
    name: jax.tree.map(lambda _, name=name: name, part)
    for name, part in tree.items()
  }


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
  rate = schedule(decay, peak=learning_rate, steps=steps, warmup=warmup)
  if name == 'adamw':
    rule = optax.adamw(
      rate,
      weight_decay=weight_decay,
      mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
    )
  elif name == 'sgd':
    rule = optax.sgd(rate, momentum=momentum or None)
  else:
    raise UserError(
      f"Found optimizer {name!r}; expected 'adamw' or 'sgd'."
      + suggest(name, ('adamw', 'sgd'))
    )
  if clip is not None:
    rule = optax.chain(optax.clip_by_global_norm(clip), rule)
  factors = dict(rates or {}) | {part: 0.0 for part in freeze}
  if not factors:
    return rule

  def label(tree):
    for part in factors:
      if part not in tree:  # Frozen in the config, and trained all the same.
        raise UserError(
          f'Found {part!r} among the parts to freeze or to rate; expected some '
          f'of {", ".join(tree)}.' + suggest(part, tree)
        )
    return jax.tree.map(
      lambda part: part if part in factors else 'other', by_part(tree)
    )

  scales = {part: optax.scale(factor) for part, factor in factors.items()}
  moved = optax.chain(
    rule, optax.partition({**scales, 'other': optax.identity()}, label)
  )
  if not freeze:
    return moved

  # Frozen parts get no optimizer state and no share in the clipped norm.
  def frozen(tree):
    return jax.tree.map(
      lambda part: 'frozen' if part in freeze else 'moved', by_part(tree)
    )

  return optax.partition(
    {'moved': moved, 'frozen': optax.set_to_zero()}, frozen
  )
