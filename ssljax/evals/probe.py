"""An online linear probe: a classifier that is trained beside a method."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ssljax import losses, optim
from ssljax.core import Method, MethodState, Params

PART = 'probe'


def with_probe(
  method: Method, *, classes: int, axis_name: str | None = None
) -> Method:
  """Adds to a method a linear classifier that is trained on its features.

  The probe takes the features that `encode` computes from the images without
  augmentation, in inference mode; this costs one more forward pass per step.
  The probe does not change the training of the method: its loss is added to
  the method's, but its gradient stops at the features, and it has an optimizer
  of its own (`probe_optimizer`).

  The metric 'probe_accuracy' is the accuracy on the training batches. It shows
  the progress of a run and is not a result.

  Args:
    method: the method. Its batches must have 'label', int32 `(batch,)`, which
      is -1 for images without a label.
    classes: the number of classes.
    axis_name: the mapped axis of the devices over which means are taken.
  """
  head = nn.Dense(classes)

  predict, examine = method.predict, method.examine

  def inner(params):
    return {name: part for name, part in params.items() if name != PART}

  def features(params, method_state, images):
    found = method.encode(inner(params), method_state, images)
    found = found.mean(axis=1) if found.ndim == 3 else found
    # Rows of unit length let one learning rate serve features of any size.
    return jax.lax.stop_gradient(losses.normalize(found))

  def init(key, batch):
    params, method_state = method.init(key, batch)
    rows = features(params, method_state, batch['image'])
    # This key differs from the keys that the method uses.
    probe_key = jax.random.fold_in(key, 0x70726F62)
    return {**params, PART: head.init(probe_key, rows)['params']}, method_state

  def loss(params, method_state, batch, key, step):
    value, (state, metrics) = method.loss(
      inner(params), method_state, batch, key, step
    )
    labels = batch['label']
    rows = features(params, method_state, batch['image'])
    logits = jnp.asarray(head.apply({'params': params[PART]}, rows))
    shown = (labels >= 0).astype(jnp.float32)
    values, hits = losses.classification(logits, jnp.maximum(labels, 0))
    own = losses.weighted_mean(values, shown, axis_name)
    metrics = metrics | {
      'method_loss': value,
      'probe_accuracy': losses.weighted_mean(hits, shown, axis_name),
    }
    return value + own, (state, metrics)

  return method._replace(
    init=init,
    loss=loss,
    encode=lambda params, *rest: method.encode(inner(params), *rest),
    after_step=lambda params, *rest: method.after_step(inner(params), *rest),
    before_epoch=_before_epoch(method, inner),
    predict=predict and (lambda params, *rest: predict(inner(params), *rest)),
    examine=examine and (lambda params, *rest: examine(inner(params), *rest)),
  )


def _before_epoch(
  method: Method, inner: Callable[[Params], Params]
) -> Callable[..., tuple[Params, MethodState, tuple[str, ...]]]:
  def before_epoch(params, *rest):
    renewed, method_state, names = method.before_epoch(inner(params), *rest)
    return {**params, **renewed}, method_state, names

  return before_epoch


def probe_optimizer(
  optimizer: optax.GradientTransformation, *, learning_rate: float = 1e-2
) -> optax.GradientTransformation:
  """Moves the probe by Adam and all other parts by `optimizer`.

  Args:
    optimizer: the method's optimizer. It never sees the gradient of the probe,
      so a clipped global norm does not depend on it.
    learning_rate: the learning rate of the probe.
  """
  return optim.by_part({PART: optax.adam(learning_rate)}, optimizer)
