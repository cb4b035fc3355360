"""What a method is, what a run remembers, and one step of training.

A `Method` is an objective, written as pure functions. A `TrainState` is
everything that a run remembers. `train_step` takes one optimizer step on a
`TrainState` with a `Method`.
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


def _keep_state(
  params: Params, method_state: MethodState, step: jax.Array
) -> MethodState:
  """The default `after_step`, which updates nothing."""
  del params, step
  return method_state


def _keep_parts(
  params: Params,
  method_state: MethodState,
  features: Callable[[], Any],
  key: jax.Array,
) -> tuple[Params, MethodState, tuple[str, ...]]:
  """The default `before_epoch`, which renews nothing.

  It never calls `features`, which would pass over all the data.
  """
  del features, key
  return params, method_state, ()


def _no_flops(
  params: Params,
  method_state: MethodState,
  features: Callable[[], float],
  epoch: int,
) -> float:
  """The default `epoch_flops`, of a `before_epoch` that renews nothing."""
  del params, method_state, features, epoch
  return 0.0


class Method(NamedTuple):
  """An objective, as pure functions; only the first three are required.

  Attributes:
    init: `(key, batch) -> params, method_state`. `params` is a dict. Its
      top-level keys (`encoder`, `projector`, `head`, ...) name the parts for
      optimizers, for freezing and for later stages.
    loss: `(params, method_state, batch, key, step) -> scalar, (method_state,
      metrics)`. The mean of the scalar over devices is the loss of the global
      batch.
    encode: `(params, method_state, images, widths=None) -> features` of shape
      `(batch, d)` or `(batch, time, d)`. It runs in inference mode and is
      deterministic. `widths`, int32 `(batch,)`, are the pixels of each image
      before the padding on its right; None means that no image is padded.
      Frames of padding are not seen, and their features are zeros.
    after_step: `(params, method_state, step) -> method_state`, called once
      after each optimizer step (to move a momentum encoder, for example).
    before_epoch: `(params, method_state, features, key) -> params,
      method_state, renewed`. `features` is a function without arguments that
      returns the features of all examples. `renewed` names the parts whose
      optimizer state starts anew.
    epoch_flops: `(params, method_state, features, epoch) -> FLOPs` of
      `before_epoch` at the start of epoch 0, 1, ... `params` and `method_state`
      are shapes. `features` is a function without arguments that returns the
      FLOPs of the features of all examples.
    predict: `(params, method_state, images, widths=None) -> outputs` of the
      trained network for the task (logits or pictures); optional.
    examine: `(params, method_state, batch, key) -> figures, pictures`: how well
      a pretext task is solved on held-out examples, in inference mode;
      optional. Figures are float arrays `(batch,)` by name. Pictures are arrays
      `(batch, h, w, 3)` in [0, 1] by name, in the order in which they are shown
      side by side; the dict may be empty.
    labelled: whether `loss` reads `batch['label']`.
    summed: whether `loss` adds up over examples, none of which looks at
      another. Only then may a batch be taken in parts.
  """

  init: Callable[..., tuple[Params, MethodState]]
  loss: Callable[..., tuple[jax.Array, tuple[MethodState, Metrics]]]
  encode: Callable[..., jax.Array]
  after_step: Callable[..., MethodState] = _keep_state
  before_epoch: Callable[..., tuple[Params, MethodState, tuple[str, ...]]] = (
    _keep_parts
  )
  epoch_flops: Callable[..., float] = _no_flops
  predict: Callable[..., Any] | None = None
  examine: Callable[..., tuple[Metrics, dict[str, jax.Array]]] | None = None
  labelled: bool = False
  summed: bool = False

  @property
  def learns_labels(self) -> bool:
    """Whether it learns to predict labels, by which it is then judged."""
    return self.labelled and self.predict is not None


def inputs(batch: Mapping[str, Any]) -> list[Any]:
  """What `encode` and `predict` take of a batch: images and, if padded, widths.

  Args:
    batch: arrays or shapes by name: 'image' and, if images are padded, 'width'.
  """
  return [batch[key] for key in ('image', 'width') if key in batch]


class TrainState(NamedTuple):
  """Everything that a run remembers; `step` is also its place in the data."""

  step: jax.Array  # int32 scalar: the number of optimizer steps taken
  key: jax.Array  # never changes; each step folds its number into this key
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

  Some methods keep a copy of the network, `method_state['target']`, as a dict
  {'params': ..., 'batch_stats': ...}. The parts that `params` and `batch_stats`
  give replace the parts of this copy too.

  Args:
    key: PRNG key of the stage.
    batch: one batch, which gives the shapes.
    method: the objective.
    optimizer: any optax transformation over `params`.
    params: top-level parts that replace the freshly initialised parts (for
      example an encoder from an earlier stage).
    batch_stats: parts that replace parts of `method_state['batch_stats']`.

  Raises:
    UserError: the arrays of a part in `params` have other names or shapes than
      the arrays of the freshly initialised part.
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
    # The target starts as a copy of the network. It needs arrays of its own,
    # because one buffer cannot be donated twice.
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

  Without this check an encoder of another size would fail much later, deep
  inside the network.

  Args:
    name: the name of the part.
    found: the tree of arrays that an earlier run hands over.
    expected: the freshly initialised tree, or a tree of its shapes.

  Raises:
    UserError: an array is missing, superfluous or of another shape; the message
      names the first such array.
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
        f'Found shape {found.get(path)} of {path} in the {name} that is taken; '
        f'expected {expected.get(path)}. Configure the network and the image '
        'height as where it was trained, for example with '
        '--config.encoder.width=128 --config.data.height=32.'
      )


def begin_epoch(
  state: TrainState,
  features: Callable[[Params, MethodState], Any],
  *,
  method: Method,
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """Calls the method's `before_epoch`, and resets the optimizer where needed.

  Args:
    state: the state before the first step of an epoch.
    features: `(params, method_state) -> features` of all examples. It is called
      only if the method asks for these features.
    method: the objective.
    optimizer: the optimizer, whose state starts anew for the parts that the
      method renews.
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
    # The first name on the path that is the name of a part. Deeper names are
    # the names of layers inside the part, even if they equal a part's name.
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


def split(batch: Batch, parts: int) -> Batch:
  """The rows of a batch as equal parts, along a new leading axis."""
  return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


def added(function: Callable[..., Any], state: Any, parts: Batch) -> Any:
  """The last state and the sum of what `function(state, part)` finds."""

  def step(carried, part):
    state, total = carried
    state, found = function(state, part)
    return (state, jax.tree.map(jnp.add, total, found)), None

  one = jax.tree.map(lambda x: x[0], parts)
  like = jax.eval_shape(function, state, one)[1]
  total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
  (state, total), _ = jax.lax.scan(step, (state, total), parts)
  return state, total


def train_step(
  state: TrainState,
  batch: Batch,
  *,
  method: Method,
  optimizer: optax.GradientTransformation,
  axis_name: str | None = None,
  accumulate: int = 1,
) -> tuple[TrainState, Metrics]:
  """Takes one optimizer step on one batch; the same code for every mapping.

  Gradients are averaged over devices here and nowhere else. A method therefore
  only has to return a loss whose mean over devices is the global loss.

  Args:
    state: the state before the step.
    batch: this device's rows of the batch.
    method: the objective.
    optimizer: the optimizer that `create_state` was called with.
    axis_name: the axis of the devices; None for one device.
    accumulate: parts of equal size that the batch is taken in, one after
      another, which takes less memory; only for methods that are `summed`.
      BatchNorm, and the weights of a weighted mean, are those of each part.

  Returns:
    The state after the step, and scalars by name: 'loss' and the method's
    metrics, averaged over devices, and the norms of gradient and update.
  """
  key = jax.random.fold_in(state.key, state.step)

  def backward(method_state, batch):
    (loss, (method_state, metrics)), grads = jax.value_and_grad(
      method.loss, has_aux=True
    )(state.params, method_state, batch, key, state.step)
    return method_state, (grads, {'loss': loss, **metrics})

  if accumulate == 1:
    method_state, found = backward(state.method_state, batch)
  else:
    parts = split(batch, accumulate)
    method_state, found = added(backward, state.method_state, parts)
    found = jax.tree.map(lambda leaf: leaf / accumulate, found)
  grads, metrics = parallel.mean(found, axis_name)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params: Any = optax.apply_updates(state.params, updates)
  step = state.step + 1
  metrics['gradient_norm'] = optax.tree.norm(grads)
  # The update can be infinite or NaN although the gradient is finite.
  metrics['update_norm'] = optax.tree.norm(updates)
  return TrainState(
    step=step,
    key=state.key,
    params=params,
    method_state=method.after_step(params, method_state, step),
    opt_state=opt_state,
  ), metrics
