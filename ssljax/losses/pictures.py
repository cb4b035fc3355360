"""Distances between pictures, and the losses of critics and classifiers."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ssljax.errors import check_known


def psnr(
  a: Float[Array, 'b ...'], b: Float[Array, 'b ...'], *, span: float = 2.0
) -> Float[Array, 'b']:
  """Peak signal-to-noise ratio of each picture in dB, 10 log10(span² / MSE).

  The mean squared error counts as at least 1e-10 · span², so that two equal
  pictures have 100 dB.

  Args:
    a: pictures.
    b: the pictures to compare them with.
    span: the largest possible value minus the smallest; 2 for [-1, 1].
  """
  error = jnp.mean(jnp.square(a - b), axis=range(1, a.ndim)) / span**2
  return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def compared(
  given: Float[Array, 'b h w c'],
  made: Float[Array, 'b h w c'],
  target: Float[Array, 'b h w c'],
) -> tuple[dict[str, Float[Array, 'b']], dict[str, Float[Array, 'b h w c']]]:
  """Figures and pictures of a task that makes pictures; see `core.Method`.

  Args:
    given: the input pictures of the task, in [-1, 1].
    made: the pictures that the task made of `given`.
    target: the pictures that it should have made.

  Returns:
    The figures, all in dB: 'psnr' of `made`; 'psnr_of_input' of `given`; and
    'psnr_of_flat' of the target's mean colour, which is the best that a picture
    of a single colour can reach. Then the three pictures, in [0, 1].
  """
  made = jnp.clip(made, -1, 1)
  flat = target.mean(axis=(1, 2), keepdims=True)
  figures = {
    'psnr': psnr(made, target),
    'psnr_of_input': psnr(given, target),
    'psnr_of_flat': psnr(flat, target),
  }
  pictures = {'input': given, 'output': made, 'target': target}
  return figures, {name: (each + 1) / 2 for name, each in pictures.items()}


def adversarial(
  logits: Float[Array, 'b ...'], *, real: bool, kind: str = 'cross_entropy'
) -> Float[Array, '']:
  """The loss of a critic for judging pictures as real, or as made.

  Args:
    logits: the critic's output.
    real: whether the logits should say that the pictures are real.
    kind: 'cross_entropy' (GAN, arXiv 1406.2661, eq. 1; with `real=True` on made
      pictures, the generator's non-saturating form) or 'least_squares' (arXiv
      1611.04076, eq. 9).
  """
  check_known('kind of critic', kind, ('cross_entropy', 'least_squares'))
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  if kind == 'least_squares':
    return jnp.mean(jnp.square(logits - real))
  target = jnp.full_like(logits, float(real))
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target))


def two_players(
  fooled: Float[Array, 'b ...'],
  made: Float[Array, 'b ...'],
  real: Float[Array, 'b ...'],
  *,
  weight: float = 1.0,
  kind: str = 'cross_entropy',
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """The losses of generator and critic as one scalar, and the critic's figures.

  The gradient of the scalar is, for each player, the gradient of that player's
  own loss, provided that the caller stops the gradients between the players.

  Args:
    fooled: logits of made pictures that train the generator and not the critic.
    made: logits of made pictures that train the critic and not the generator.
    real: logits of real pictures.
    weight: the weight of the generator's loss; the critic's weight is 1.
    kind: the kind of loss, as for `adversarial`.
  """
  critic = adversarial(real, real=True, kind=kind) / 2
  critic += adversarial(made, real=False, kind=kind) / 2
  middle = 0.5 if kind == 'least_squares' else 0.0
  right = jnp.mean(real > middle) / 2 + jnp.mean(made <= middle) / 2
  metrics = {'critic_loss': critic, 'critic_accuracy': right}
  value = weight * adversarial(fooled, real=True, kind=kind) + critic
  return value, metrics


def classification(
  logits: Float[Array, 'rows classes'], labels: Int[Array, 'rows']
) -> tuple[Float[Array, 'rows'], Float[Array, 'rows']]:
  """Each row's cross-entropy, and 1 where its best class is right, else 0."""
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  values = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  hits = (logits.argmax(axis=-1) == labels).astype(jnp.float32)
  return values, hits
