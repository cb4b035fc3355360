"""A method is an objective: pure functions around explicit state.

Everything that learns in this project is one `Method` value, and everything
that a run remembers is one `TrainState`. `train_step` joins the two.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ssljax import parallel
from ssljax.errors import UserError

Params = Mapping[str, Any]
MethodState = Mapping[str, Any]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


def _keep_state(params, method_state, step):
  """The default `after_step`: nothing to update."""
  del params, step
  return method_state


def _keep_parts(params, method_state, features, key):
  """The default `before_epoch`: nothing renewed, `features` never called."""
  del features, key
  return params, method_state, ()


class Method(NamedTuple):
  """An objective, as pure functions; `init`, `loss` and `encode` are enough.

  Attributes:
    init: `(key, batch) -> params, method_state`. `params` is a dict whose
      top-level names (`encoder`, `projector`, `head`, ...) are the names that
      optimizers, freezing and later stages use.
    loss: `(params, method_state, batch, key, step) -> scalar, (method_state,
      metrics)`. Its mean over devices is the loss of the global batch.
    encode: `(params, method_state, images) -> features`, of shape `(batch, d)`
      or `(batch, time, d)`; deterministic, inference mode.
    after_step: `(params, method_state, step) -> method_state`, once per
      optimizer step (momentum encoders).
    before_epoch: `(params, method_state, features, key) -> params,
      method_state, renewed`, where `features` is a thunk and `renewed` names
      the parts whose optimizer state starts anew.
    predict: `(params, method_state, images) -> what the task shows`; optional.
    examine: `(params, method_state, batch, key) -> figures, pictures` of a
      pretext task on held-out examples, in inference mode; optional. Figures
      are float `(batch,)` by name; pictures `(batch, h, w, 3)` in [0, 1] by
      name, in the order in which they stand side by side, or none.
    labelled: whether `loss` reads `batch['label']`.
  """

  init: Callable[..., tuple[Params, MethodState]]
  loss: Callable[..., tuple[jax.Array, tuple[MethodState, Metrics]]]
  encode: Callable[..., jax.Array]
  after_step: Callable[..., MethodState] = _keep_state
  before_epoch: Callable[..., tuple[Params, MethodState, tuple[str, ...]]] = (
    _keep_parts
  )
  predict: Callable[..., Any] | None = None
  examine: Callable[..., tuple[Metrics, dict[str, jax.Array]]] | None = None
  labelled: bool = False


class TrainState(NamedTuple):
  """The whole run; the position in the data is the step."""

  step: jax.Array  # int32 scalar: optimizer steps taken
  key: jax.Array  # never changes: step keys are folded from it
  params: Params
  method_state: MethodState
  opt_state: optax.OptState


def create_state(
  key: jax.Array,
  batch: Batch,
  *,
  method: Method,
  optimizer: optax.GradientTransformation,
  params: Params | None = None,
  batch_stats: MethodState | None = None,
) -> TrainState:
  """Initialises a run; call it under `jit`, so that no buffers are shared.

  Args:
    key: PRNG key of the stage.
    batch: one batch, for its shapes.
    method: the objective.
    optimizer: any optax transformation over `params`.
    params: top-level parts that replace fresh ones (an encoder taken from an
      earlier stage).
    batch_stats: the same for `method_state['batch_stats']`. Both also replace
      the parts of `method_state['target']`, where a method keeps a copy of
      the network: {'params': ..., 'batch_stats': ...}.

  Raises:
    UserError: a part whose arrays are not those of the fresh one.
  """
  init_key, run_key = jax.random.split(key)
  fresh, state = method.init(init_key, batch)
  for name, part in (params or {}).items():
    check_part(name, part, fresh[name])
  taken = {'params': params or {}, 'batch_stats': batch_stats or {}}
  fresh = {**fresh, **taken['params']}
  statistics = {**state['batch_stats'], **taken['batch_stats']}
  state = {**state, 'batch_stats': statistics}
  if 'target' in state:
    # A momentum copy starts where the network does, and as arrays of its own:
    # one buffer cannot be donated twice.
    state['target'] = {
      kind: {
        name: jax.tree.map(jnp.copy, taken[kind].get(name, part))
        for name, part in parts.items()
      }
      for kind, parts in state['target'].items()
    }
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=run_key,
    params=fresh,
    method_state=state,
    opt_state=optimizer.init(fresh),
  )


def check_part(name: str, found: Any, expected: Any) -> None:
  """Refuses a part whose arrays have other shapes than the fresh part's.

  Args:
    name: of the part.
    found: its tree of arrays, where it is taken from.
    expected: the fresh tree, or its shapes.

  Raises:
    UserError: naming the first array that differs. An encoder of another size
      would otherwise fail much later, deep inside the network.
  """
  found, expected = (
    {
      jax.tree_util.keystr(path, simple=True, separator='/'): jnp.shape(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (found, expected)
  )
  for path in {**expected, **found}:
    if found.get(path) != expected.get(path):
      raise UserError(
        f'Found {path} of the {name} that is taken with shape '
        f'{found.get(path)}; expected {expected.get(path)}. Use the network '
        'and the image height of the run that it comes from, as '
        '--config.encoder.width=128 --config.data.height=32.'
      )


def begin_epoch(
  state: TrainState,
  features: Callable[[Params, MethodState], Any],
  *,
  method: Method,
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """Lets the method renew what it renews between two epochs.

  Args:
    state: at the first step of an epoch.
    features: called by the methods that need the features of all examples.
    method: the objective.
    optimizer: starts anew for the parts that the method names as renewed.
  """
  params, method_state, renewed = method.before_epoch(
    state.params,
    state.method_state,
    lambda: features(state.params, state.method_state),
    jax.random.fold_in(state.key, state.step),
  )
  if not renewed:
    return state._replace(params=params, method_state=method_state)

  def part(path):
    # The first name that is a part's: deeper ones are a part's own layers.
    names = (getattr(entry, 'key', None) for entry in path)
    return next((name for name in names if name in params), None)

  opt_state = jax.tree_util.tree_map_with_path(
    lambda path, old, new: new if part(path) in renewed else old,
    state.opt_state,
    optimizer.init(params),
  )
  return state._replace(
    params=params, method_state=method_state, opt_state=opt_state
  )


def train_step(
  state: TrainState,
  batch: Batch,
  *,
  method: Method,
  optimizer: optax.GradientTransformation,
  axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
  """One optimizer step on one batch; the same under every mapping.

  Gradients are averaged over devices here and nowhere else, so a method need
  only return a loss whose mean over devices is the global one.
  """
  key = jax.random.fold_in(state.key, state.step)
  (loss, (method_state, metrics)), grads = jax.value_and_grad(
    method.loss, has_aux=True
  )(state.params, state.method_state, batch, key, state.step)
  grads, metrics = parallel.mean((grads, {'loss': loss, **metrics}), axis_name)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  step = state.step + 1
  metrics['gradient_norm'] = optax.tree.norm(grads)
  # A finite gradient can still make an update that is not.
  metrics['update_norm'] = optax.tree.norm(updates)
  return TrainState(
    step=step,
    key=state.key,
    params=params,
    method_state=method.after_step(params, method_state, step),
    opt_state=opt_state,
  ), metrics
