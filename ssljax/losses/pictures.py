"""How far a picture is from another, and whether a critic takes it for real."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ssljax.errors import check_known


def psnr(
  a: Float[Array, 'b ...'], b: Float[Array, 'b ...'], *, span: float = 2.0
) -> Float[Array, 'b']:
  """Peak signal-to-noise ratio in dB of each picture, 10 log10(span² / MSE).

  Args:
    a: pictures.
    b: pictures.
    span: between the largest and the smallest value; 2 for [-1, 1].

  The error is at least 1e-10 of span², so that equal pictures have 100 dB.
  """
  error = jnp.mean(jnp.square(a - b), axis=range(1, a.ndim)) / span**2
  return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def compared(
  given: Float[Array, 'b h w c'],
  made: Float[Array, 'b h w c'],
  target: Float[Array, 'b h w c'],
) -> tuple[dict, dict]:
  """Figures and pictures of a task that makes pictures; see `core.Method`.

  Args:
    given: what the task began with, in [-1, 1].
    made: what it made of it.
    target: what it should have made.

  Returns:
    In dB 'psnr', 'psnr_of_input', and 'psnr_of_flat' of the target's own mean
    colour, which no picture without any content exceeds; and the three pictures
    in [0, 1].
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
  """What a critic loses by taking pictures for `real` or for made.

  Args:
    logits: of the critic.
    real: what they should say.
    kind: 'cross_entropy' (GAN, arXiv 1406.2661, eq. 1; with `real=True` on made
      pictures the generator's non-saturating form) or 'least_squares' (arXiv
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
) -> tuple[Float[Array, ''], dict]:
  """Generator's and critic's losses as one scalar, and the critic's figures.

  Its gradient is that of either loss for its own player, if the caller stops
  the gradient where the other one's begins.

  Args:
    fooled: logits of made pictures, by a critic that is not trained by them.
    made: logits of made pictures that are not trained by the critic.
    real: logits of real pictures.
    weight: of the generator's part; the critic's is 1.
    kind: as for `adversarial`.
  """
  critic = adversarial(real, real=True, kind=kind) / 2
  critic += adversarial(made, real=False, kind=kind) / 2
  middle = 0.5 if kind == 'least_squares' else 0.0
  right = jnp.mean(real > middle) / 2 + jnp.mean(made <= middle) / 2
  metrics = {'critic_loss': critic, 'critic_accuracy': right}
  value = weight * adversarial(fooled, real=True, kind=kind) + critic
  return value, metrics


def classification(
  logits: Float[Array, 'rows classes'], labels
) -> tuple[Float[Array, 'rows'], Float[Array, 'rows']]:
  """Cross-entropy and whether the guess is right (1 or 0), of each row."""
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  values = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  hits = (logits.argmax(axis=-1) == labels).astype(jnp.float32)
  return values, hits
