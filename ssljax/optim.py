"""Optimizers: a schedule, a rule, and which parts it moves how far."""

from collections.abc import Mapping

import jax
import optax

from ssljax.errors import UserError, check_known


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
  decay_vectors: bool = False,
  momentum: float = 0.0,
  clip: float | None = None,
  freeze: tuple[str, ...] = (),
  rates: Mapping[str, float] | None = None,
  constant: tuple[str, ...] = (),
  hold: Mapping[str, int] | None = None,
  b1: float = 0.9,
  players: Mapping[str, Mapping] | None = None,
  every: int = 1,
) -> optax.GradientTransformation:
  """AdamW, Adam, SGD or LARS over top-level parts of `params`.

  Args:
    name: 'adamw', 'adam', 'sgd' or 'lars' (arXiv 1708.03888, trust coefficient
      1e-3).
    learning_rate: the peak of the schedule.
    steps: of the whole stage.
    decay: name of the schedule.
    warmup: its steps of linear growth.
    weight_decay: AdamW's, decoupled; the others', added to the gradient.
    decay_vectors: biases and the parameters of norms decay too, as in the
      recipes of torch; else only arrays of two dimensions and more do. LARS
      leaves vectors out of its adaptation in any case.
    momentum: of SGD and LARS.
    clip: largest global norm of the gradient.
    freeze: parts whose update is exactly zero; stopping the gradient alone
      would let weight decay move them.
    rates: part -> factor on the learning rate.
    constant: parts whose rate stays at its peak after the warm-up (SimSiam's
      predictor).
    hold: part -> steps at the start for which it stays as it is (SwAV's
      prototypes).
    b1: Adam's decay of the first moment; adversarial training takes 0.5.
    players: part -> options of an optimizer of its own (critics').
    every: the parts that are no players move in every so many steps only, so
      that a critic takes several for one of the generator.

  Raises:
    UserError: an unknown name; that of a part once it sees `params`; a player
      that `rates`, `constant` or `hold` name too.
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
  # What counts steps counts those in which these parts move.
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
    # optax's masks are for all parameters unless told otherwise, and its ratio
    # is 1 where a norm is zero.
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
        lambda count, until=-(-until // every): count >= until
      )
      for part, until in hold.items()
    }
    chosen = optax.chain(chosen, by_part(waits, optax.identity()))
  if every > 1:
    chosen = optax.conditionally_mask(
      chosen, lambda step: step % every == every - 1
    )
  if players:
    others = {
      part: optimizer(**options, steps=total)
      for part, options in players.items()
    }
    chosen = by_part(others, chosen)
  if freeze:
    # Outermost: frozen parts have no state and no share in the clipped norm.
    chosen = by_part({part: optax.set_to_zero() for part in freeze}, chosen)
  return chosen


def _matrices(tree):
  """True for arrays of two dimensions and more."""
  return jax.tree.map(lambda x: x.ndim > 1, tree)
