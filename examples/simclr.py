"""Trains SimCLR on an array of images, with the library alone.

  python examples/simclr.py
  python examples/simclr.py --images FILE.npy --views cifar --out features.npy

FILE.npy holds uint8 (count, height, width, 3), of square images. Without it the
program learns from scikit-learn's digits, and their labels test the features
before and after training: about a minute on 2 CPU cores.

Paper: SimCLR, arXiv 2002.05709.
"""

import argparse
import functools
import sys
from collections.abc import Callable

import jax
import numpy as np

from ssljax import evals
from ssljax.augment.pixels import plain
from ssljax.augment.policies import POLICIES, policy_views
from ssljax.core import TrainState, create_state, train_step
from ssljax.data.image_sets import open_images
from ssljax.data.image_sources import ImageSource
from ssljax.data.pipeline import batches, evaluation_batches
from ssljax.methods.simclr import simclr
from ssljax.models.convnet import ConvNet
from ssljax.models.heads import Mlp
from ssljax.models.instances import identity
from ssljax.optim import optimizer
from ssljax.parallel import compile_step

parser = argparse.ArgumentParser(description='Trains SimCLR on images.')
parser.add_argument('--images', metavar='FILE.npy', help='default: digits')
parser.add_argument('--views', choices=POLICIES, default='characters')
parser.add_argument('--steps', type=int, default=400)
parser.add_argument('--batch_size', type=int, default=128)
parser.add_argument('--out', metavar='FILE.npy', help='gets the features')
args = parser.parse_args()

# The images to learn from, and labelled images that test the features.
if args.images:
  images = np.load(args.images)
  if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
    sys.exit(
      f'Found {images.dtype} {images.shape} in {args.images}; expected uint8 '
      '(count, height, width, 3).'
    )
  train, test = ImageSource(images, labels=[-1] * len(images)), None
else:
  digits = open_images(name='digits', data_dir='', size=16)
  train, test = digits.open('train'), digits.open('test')
example = train.gather(range(2))  # for its shapes

# A method is an objective: from networks and views to a loss, as pure functions
# of the parameters. Each device has a part of the batch. BatchNorm and the loss
# look at the whole batch, so they are told the name that the devices have.
method = simclr(
  encoder=ConvNet(channels=(32, 64), grid=4, width=128),
  projector=Mlp(widths=(128, 64), axis_name='devices'),
  # No view is a negative, because all digits are light on dark.
  views=policy_views(args.views, size=example['image'].shape[1], inversion=0.0),
  instances=identity(),  # whole images are compared, not parts of a line
  contrast='nt_xent',
  temperature=0.2,
  axis_name='devices',
)
adamw = optimizer('adamw', learning_rate=2e-3, steps=args.steps)
parts = {'method': method, 'optimizer': adamw}
create = jax.jit(functools.partial(create_state, **parts))
step = compile_step(functools.partial(train_step, **parts), axis_name='devices')
encode = jax.jit(method.encode)


def encoder(state: TrainState) -> Callable[[np.ndarray], jax.Array]:
  """The trained network: uint8 images to float32 (count, 128)."""
  return functools.partial(encode, state.params, state.method_state)


def features(function, source: ImageSource) -> np.ndarray:
  """What a function of uint8 images makes of all images of a source."""
  return evals.outputs(function, evaluation_batches(source, 500))


def print_knn(name: str, function) -> None:
  """The accuracy of nearest neighbours, if the images have labels."""
  if test is not None:
    bank, queries = features(function, train), features(function, test)
    found = evals.knn(bank, train.labels, queries, classes=len(test.classes))
    print(f'{name}: kNN accuracy {np.mean(found == test.labels):.3f}')


print_knn('raw pixels', lambda images: plain(images).reshape(len(images), -1))
state = create(jax.random.key(0), example)
print_knn('before training', encoder(state))
order = batches(train, batch_size=args.batch_size, seed=0, steps=args.steps)
for done, batch in enumerate(order, start=1):
  state, metrics = step(state, batch)
  if done == 1 or done % 20 == 0 or done == args.steps:
    # A view has to find the other view of its image among 2N - 1 candidates.
    chance = f'ln {2 * args.batch_size - 1} = {metrics["loss_at_chance"]:.3f}'
    print(f'step {done}: loss {metrics["loss"]:.3f}; at chance {chance}')
print_knn('after training', encoder(state))
if args.out:
  np.save(args.out, features(encoder(state), train))
