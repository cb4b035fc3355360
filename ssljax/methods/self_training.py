"""Self-training: the network learns from its own readings of unlabelled images.

The readings are those of a mean teacher (arXiv 1703.01780), an average of the
network over its last steps. A reading is a pseudo-label (Lee, 2013), weighted
by the teacher's confidence. No threshold keeps readings out, because it would
keep out the kinds of image that no label shows, and the network would never
learn them. Distribution alignment keeps the network from forgetting the classes
that it reads too rarely; see `_alignment`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import losses, parallel
from ssljax.augment.images import Views
from ssljax.augment.pixels import plain
from ssljax.core import Method
from ssljax.methods import _alignment
from ssljax.methods._inference import encoding
from ssljax.methods._labels import Learner, seen

# Added to both sides of 'trust': a teacher that is less sure than this is
# nearly trusted, because its labels weigh next to nothing.
UNSURE = 0.05


def self_training(
  encoder: nn.Module,
  head: nn.Module,
  *,
  criterion: losses.Criterion,
  views: Views | None = None,
  momentum: float = 0.99,
  align: bool = True,
  shares: Sequence[float] | np.ndarray = (),
  axis_name: str | None = None,
) -> Method:
  """Labelled and unlabelled examples in one batch, and one loss: mean w·l.

  `batch['labelled']`, bool `(batch,)`, says which labels may be used. A
  labelled example has the weight 1. An unlabelled example has the label that
  the teacher gives to its plain image, and the teacher's confidence as weight.
  The student sees a view of every image. The mean is over all examples of the
  batch, so an uncertain teacher leaves the labelled examples in charge.

  The teacher also reads the labelled images. Its readings of them are only
  counted ('agreement'), but every device then does the same work, however the
  labelled examples are spread over devices.

  State: 'target', the teacher, starts as a copy of the network and has batch
  statistics of its own, which are averaged like its params.

  Metrics, each over the examples of all devices: 'confidence' is the mean
  weight of the unlabelled examples. 'agreement' is the share of the labelled
  examples that the teacher reads right. 'trust' is agreement over confidence: a
  teacher that grows sure of itself while it unlearns the labels sinks below 1.
  A teacher that is sure of nothing yet has 1.
  'variety' is the share of the unlabelled examples that are not read as the
  commonest reading; 0 is a collapse. 'labelled_share' is the labelled part of
  all characters (of all images, for classes) that the loss weighs. The data
  tells the truth of the share 'truth_known' of the unlabelled examples, and
  'right' is the share of them that it tells and the teacher reads; the loss
  depends on neither. Over steps, only the ratio of their means is meaningful,
  because few files of a user's folder have a label. 'scarcest' is found over
  wanted share of the class that the teacher reads too rarely most.

  Args:
    encoder: module from images to `(batch, d)` or `(batch, time, d)`.
    head: module from features to logits.
    criterion: how logits and labels are compared; see `losses.Criterion`.
    views: `(key, images, index, widths) -> views`, one pair of (images,
      columns). None trains on plain images.
    momentum: EMA decay of the teacher per optimizer step.
    align: whether the teacher's readings are aligned with `shares`.
    shares: the share of each class among all characters of the labels, of the
      blank 0. Without shares above 0 nothing is aligned.
    axis_name: the axis of the devices that share a batch.
  """
  learner = Learner({'encoder': encoder, 'head': head})
  wanted = np.asarray(shares, np.float32)
  aligned = align and bool((wanted > 0).any())

  def init(key, batch):
    params, state = learner.init(key, batch)
    target = {'params': params, **state}
    state = state | {'target': jax.tree.map(jnp.copy, target)}
    if aligned:
      state['alignment'] = _alignment.init(wanted)
    return params, state

  def taught(method_state, batch):
    """Label and confidence that the teacher gives to each plain image."""
    teacher = method_state['target']
    images = plain(batch['image'])
    shown = learner.shown(images, batch.get('width'))
    outputs, _ = learner.outputs(
      teacher['params'], teacher['batch_stats'], images, shown, train=False
    )
    if aligned:
      outputs = outputs + method_state['alignment']['bias']
    return jax.lax.stop_gradient(criterion.guess(outputs, shown))

  def loss(params, method_state, batch, key, step):
    del step
    labelled = batch['labelled']
    guesses, confidence = taught(method_state, batch)
    truth = criterion.widened(batch['label'], guesses)
    guesses = criterion.widened(guesses, truth)
    wide = labelled.reshape(-1, *[1] * (guesses.ndim - 1))
    labels = jnp.where(wide, truth, guesses)
    images, shown = seen(learner, views, key, batch)
    outputs, statistics = learner.outputs(
      params, method_state['batch_stats'], images, shown, train=True
    )
    values, possible = criterion.values(outputs, labels, shown)
    weights = possible * jnp.where(labelled, 1.0, confidence)
    # Selected rather than multiplied by 0, because an impossible label has a
    # huge value.
    value = jnp.where(weights > 0, weights * values, 0).mean()
    metrics = telemetry(labelled, truth, guesses, confidence)
    sizes = criterion.counts(labels, outputs.shape[-1]).sum(axis=1)
    metrics['labelled_share'] = mean(labelled, weights * sizes)
    metrics['infeasible'] = 1 - possible.mean()
    state = method_state | {'batch_stats': statistics}
    if aligned:
      read = criterion.counts(guesses, len(wanted)) * ~labelled[:, None]
      read = parallel.mean(read.sum(axis=0), axis_name)
      state['alignment'] = _alignment.update(state['alignment'], wanted, read)
      metrics['scarcest'] = scarcest(state['alignment']['found'])
    return value, (state, metrics)

  def scarcest(found):
    ratio = found / jnp.maximum(wanted, 1e-6)
    return jnp.where(wanted > 0, ratio, jnp.inf).min()

  def mean(values, weights):
    return losses.weighted_mean(
      values.astype(jnp.float32), weights.astype(jnp.float32), axis_name
    )

  def telemetry(labelled, truth, guesses, confidence):
    right = criterion.same(guesses, truth)
    known = criterion.known(truth)
    sure, agreement = mean(confidence, ~labelled), mean(right, labelled)
    whole = parallel.mean((sure, agreement), axis_name)
    return {
      'confidence': sure,
      'agreement': agreement,
      'trust': (whole[1] + UNSURE) / (whole[0] + UNSURE),
      'variety': variety(guesses, ~labelled),
      'right': mean(right & known, ~labelled),
      'truth_known': mean(known, ~labelled),
    }

  def variety(guesses, unlabelled):
    guesses = parallel.gather(guesses, axis_name)
    unlabelled = parallel.gather(unlabelled, axis_name)
    alike = criterion.same(guesses[:, None], guesses[None]) & unlabelled
    commonest = jnp.where(unlabelled, alike.sum(axis=1), 0).max()
    return 1 - commonest / jnp.maximum(unlabelled.sum(), 1)

  def after_step(params, method_state, step):
    del step
    online = {'params': params, 'batch_stats': method_state['batch_stats']}
    # The step size of optax is the share of the new value, 1 - momentum.
    moved = optax.incremental_update(
      online, method_state['target'], 1 - momentum
    )
    return method_state | {'target': moved}

  return Method(
    init=init,
    loss=loss,
    encode=encoding(encoder),
    predict=learner.predict,
    after_step=after_step,
    labelled=True,
    summed=True,
  )
