"""A probe that watches pretraining: a linear classifier beside a method."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ssljax import losses, optim
from ssljax.core import Method

PART = 'probe'


def with_probe(
  method: Method, *, classes: int, axis_name: str | None = None
) -> Method:
  """Trains a linear classifier on the features, of which they learn nothing.

  The probe reads what `encode` makes of the plain images, in inference mode,
  which costs one more forward pass a step. Its loss is added to the method's
  behind a stopped gradient, and its optimizer is its own (`probe_optimizer`),
  so the method's parts move as they would without it. 'probe_accuracy' is that
  of the training images as they come: it shows the course of a run, and is no
  result.

  Args:
    method: what is watched; its batches have 'label', int32 `(batch,)`, -1
      where there is none.
    classes: their number.
    axis_name: the devices that share the mean.
  """
  head = nn.Dense(classes)

  def inner(params):
    return {name: part for name, part in params.items() if name != PART}

  def features(params, method_state, images):
    found = method.encode(inner(params), method_state, images)
    found = found.mean(axis=1) if found.ndim == 3 else found
    # Unit rows: one learning rate then serves features of any size.
    return jax.lax.stop_gradient(losses.normalize(found))

  def init(key, batch):
    params, method_state = method.init(key, batch)
    rows = features(params, method_state, batch['image'])
    # A key that the method has not used.
    probe_key = jax.random.fold_in(key, 0x70726F62)
    return {**params, PART: head.init(probe_key, rows)['params']}, method_state

  def loss(params, method_state, batch, key, step):
    value, (state, metrics) = method.loss(
      inner(params), method_state, batch, key, step
    )
    labels = batch['label']
    rows = features(params, method_state, batch['image'])
    logits = head.apply({'params': params[PART]}, rows)
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
    predict=method.predict
    and (lambda params, *rest: method.predict(inner(params), *rest)),
    examine=method.examine
    and (lambda params, *rest: method.examine(inner(params), *rest)),
  )


def _before_epoch(method, inner):
  def before_epoch(params, *rest):
    renewed, method_state, names = method.before_epoch(inner(params), *rest)
    return {**params, **renewed}, method_state, names

  return before_epoch


def probe_optimizer(
  optimizer: optax.GradientTransformation, *, learning_rate: float = 1e-2
) -> optax.GradientTransformation:
  """`optimizer` for all parts but the probe, which has Adam of its own.

  Partitioned outermost, so that a clipped global norm has no share of it.
  """
  return optim.by_part({PART: optax.adam(learning_rate)}, optimizer)
