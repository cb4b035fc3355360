"""Does a classifier of domains take the outputs of a cleaner for print?

  python benchmarks/domain_classifier.py RUN STAGE [DATA_DIR]
  python benchmarks/domain_classifier.py --smoke    on a tiny run, in seconds

STAGE is a stage of the run folder RUN that makes print of noisy images, as
CycleGAN's. A small network learns to tell images of RUN's training split from
prints of other images, is frozen, and judges the test split: the images, their
prints, and what the stage makes of the images. Prints the share of each that it
takes for print, with its 95 % interval. Two minutes on 2 CPU cores.
"""

import pathlib
import sys
import tempfile

import _smoke
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clean_then_read import cleaner, in_batches
from ml_collections import ConfigDict

from ssljax import evals
from ssljax.augment.pixels import plain
from ssljax.data import datasets
from ssljax.data.clean import Cleaned
from ssljax.models.convnet import ConvNet
from ssljax.process import keep_heap
from ssljax.records import read_json
from ssljax.reports.tables import table

STEPS, PAIRS, RATE = 300, 32, 1e-3


class Classifier(nn.Module):
  """A logit of an image: print, or not."""

  @nn.compact
  def __call__(self, images):
    return nn.Dense(1)(ConvNet((16, 32, 64))(images))[:, 0]


def sides(dataset, split: str):
  """uint8 images and their prints."""
  source = Cleaned(dataset.open(split), dataset.masks(split))
  examples = source.gather(range(len(source)))
  return examples['image'], examples['clean']


def train(images, prints, steps: int):
  """Logits by uint8 images, of a network that is not trained any further."""
  network, rng = Classifier(), np.random.default_rng(0)
  params = network.init(jax.random.key(0), plain(images[:2]))
  optimizer = optax.adam(RATE)
  target = jnp.repeat(jnp.arange(2.0), PAIRS)

  def loss(params, shown):
    logits = network.apply(params, plain(shown))
    return optax.sigmoid_binary_cross_entropy(logits, target).mean()

  @jax.jit
  def step(params, state, shown):
    value, gradient = jax.value_and_grad(loss)(params, shown)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value

  state = optimizer.init(params)
  for number in range(steps):
    rows = rng.integers(len(images), size=(2, PAIRS))
    shown = np.concatenate([images[rows[0]], prints[rows[1]]])
    params, state, value = step(params, state, shown)
    if number % 50 == 49:
      print(f'step {number + 1} of {steps}: loss {value:.4f}', file=sys.stderr)
  return jax.jit(lambda images: network.apply(params, plain(images)))


def main(
  run: str, stage: str, data_dir: str = '~/.cache/ssljax', steps: int = STEPS
) -> None:
  keep_heap()
  run = pathlib.Path(run)
  config = ConfigDict(read_json(run / 'config.json'))
  data_dir = str(pathlib.Path(data_dir).expanduser())
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir=data_dir)
  judge = train(*sides(dataset, 'train'), steps)
  images, prints = sides(dataset, 'test')

  def taken(pictures) -> str:
    found = evals.proportion(in_batches(judge, pictures) > 0, {})
    return '{value:.3f} [{low:.3f}, {high:.3f}]'.format(**found)

  cleaned = in_batches(cleaner(run, stage), images)
  rows = [
    ('the images', taken(images), len(images)),
    ('their prints', taken(prints), len(prints)),
    (f'the images through {stage}', taken(cleaned), len(cleaned)),
  ]
  print(table(rows, ('given', 'taken for print', 'count')))


def smoke() -> None:
  with tempfile.TemporaryDirectory() as folder:
    run, data = (pathlib.Path(folder) / name for name in ('run', 'data'))
    _smoke.run_that_draws(run, data)
    main(str(run), _smoke.DRAWING, str(data), steps=2)


if __name__ == '__main__':
  smoke() if sys.argv[1:] == ['--smoke'] else main(*sys.argv[1:])
