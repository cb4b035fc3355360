"""Optimizers: a schedule, an update rule, and how far it moves each part."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import PyTree

from ssljax.errors import UserError, check_known


def schedule(
  name: str, *, peak: float, steps: int, warmup: int = 0
) -> optax.Schedule:
  """A learning rate for each optimizer step.

  Args:
    name: 'constant', or 'cosine', which falls from `peak` to 0 at `steps`.
    peak: the rate after the warm-up.
    steps: optimizer steps of the whole stage.
    warmup: steps in which the rate grows linearly from 0 to `peak`.
  """
  check_known('schedule', name, ('constant', 'cosine'))
  if name == 'cosine':
    return optax.warmup_cosine_decay_schedule(
      0.0 if warmup else peak, peak, warmup, max(steps, warmup + 1)
    )
  ramp = optax.linear_schedule(0.0 if warmup else peak, peak, warmup or 1)
  return optax.join_schedules([ramp, optax.constant_schedule(peak)], [warmup])


def by_part(
  choices: Mapping[str, optax.GradientTransformation],
  default: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Applies its own transformation to each top-level part of `params`.

  Args:
    choices: part -> its transformation.
    default: the transformation of all other parts.

  Raises:
    UserError: `params` lacks a part of `choices`; raised when the state is
      initialised. Otherwise a part with a misspelt name would be trained
      although the config freezes it.
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
  decay_vectors: bool = False,
  momentum: float = 0.0,
  clip: float | None = None,
  freeze: tuple[str, ...] = (),
  rates: Mapping[str, float] | None = None,
  constant: tuple[str, ...] = (),
  hold: Mapping[str, int] | None = None,
  b1: float = 0.9,
  players: Mapping[str, Mapping[str, Any]] | None = None,
  every: int = 1,
) -> optax.GradientTransformation:
  """AdamW, Adam, SGD or LARS over the top-level parts of `params`.

  Args:
    name: 'adamw', 'adam', 'sgd' or 'lars' (arXiv 1708.03888, trust coefficient
      1e-3).
    learning_rate: the peak of the schedule.
    steps: optimizer steps of the whole stage.
    decay: the name of the schedule.
    warmup: the schedule's steps of linear growth.
    weight_decay: decoupled for AdamW; added to the gradient for the others.
    decay_vectors: whether biases and the parameters of norms decay too, as in
      the recipes of torch. Otherwise only arrays of two or more dimensions
      decay. LARS leaves vectors out of its adaptation in any case.
    momentum: the momentum of SGD and LARS.
    clip: the largest global norm of the gradient.
    freeze: parts whose update is exactly zero. Stopping their gradient alone
      would let weight decay move them.
    rates: part -> factor on its learning rate.
    constant: parts whose rate stays at its peak after the warm-up (SimSiam's
      predictor).
    hold: part -> the number of first steps in which it does not move (SwAV's
      prototypes).
    b1: Adam's decay of the first moment; adversarial training uses 0.5.
    players: part -> options of an optimizer of its own (for critics).
    every: parts that are not players move only in every `every`-th step, so
      that a critic takes several steps for each step of the generator.

  Raises:
    UserError: an unknown name of an optimizer or schedule; `every` below 1; a
      player that `rates`, `constant` or `hold` name too; or, once the optimizer
      sees `params`, an unknown part.
  """
  check_known('optimizer', name, ('adamw', 'adam', 'sgd', 'lars'))
  if every < 1:
    raise UserError(
      f'Found every={every} for the optimizer; expected 1 or more.'
    )
  for option in (rates, constant, hold):
    for part in set(option or ()) & set(players or ()):
      raise UserError(
        f'Found {part!r} among the players and in another option of the '
        'optimizer; expected it in one place. A player has options of its own.'
      )
  # Every count of steps below counts only the steps in which these parts move.
  total, steps, warmup = steps, -(-steps // every), -(-warmup // every)

  def rule(decay):
    rate = schedule(decay, peak=learning_rate, steps=steps, warmup=warmup)
    mask = None if decay_vectors else _matrices
    if name == 'adamw':
      return optax.adamw(rate, b1, weight_decay=weight_decay, mask=mask)
    if name in ('adam', 'sgd'):
      sgd = optax.sgd(rate, momentum=momentum or None)
      return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.adam(rate, b1) if name == 'adam' else sgd,
      )
    # By default optax applies weight decay and adaptation to all parameters.
    # Its trust ratio is 1 where a norm is zero.
    return optax.lars(
      rate,
      weight_decay=weight_decay,
      weight_decay_mask=mask or True,
      trust_coefficient=1e-3,
      trust_ratio_mask=_matrices,
      momentum=momentum,
    )

  chosen = rule(decay)
  if constant:
    chosen = by_part({part: rule('constant') for part in constant}, chosen)
  if clip is not None:
    chosen = optax.chain(optax.clip_by_global_norm(clip), chosen)
  if rates:
    scales = {part: optax.scale(factor) for part, factor in rates.items()}
    chosen = optax.chain(chosen, by_part(scales, optax.identity()))
  if hold:
    waits = {
      part: optax.scale_by_schedule(
        lambda count, until=-(-until // every): jnp.greater_equal(count, until)
      )
      for part, until in hold.items()
    }
    chosen = optax.chain(chosen, by_part(waits, optax.identity()))
  if every > 1:

    def moves(step: ArrayLike, **_: Any) -> jax.Array:
      return jnp.mod(step, every) == every - 1

    chosen = optax.conditionally_mask(chosen, moves)
  if players:
    others = {
      part: optimizer(**options, steps=total)
      for part, options in players.items()
    }
    chosen = by_part(others, chosen)
  if freeze:
    # Applied outermost, so that frozen parts have no optimizer state and do not
    # count in the clipped norm.
    chosen = by_part({part: optax.set_to_zero() for part in freeze}, chosen)
  return chosen


def _matrices(tree: PyTree) -> PyTree:
  """True for arrays of two or more dimensions."""
  return jax.tree.map(lambda x: x.ndim > 1, tree)
