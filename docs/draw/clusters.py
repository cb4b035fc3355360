"""Draws what clusters have to do with classes: docs/clusters.png.

  python docs/draw/clusters.py OUT.png
  python docs/draw/clusters.py OUT.png smoke   one epoch, to try it

SwAV and both DeepClusters learn from scikit-learn's digits without a label for
30 epochs. The picture shows three figures at the beginning of each epoch, which
are printed too. Purity is the share of images whose class is the most frequent
one in their cluster. The entropy of the classes in a cluster is given as a
share of the entropy of all classes. The number of clusters in use is the
perplexity of their sizes. It takes a few minutes on 2 CPU cores.
"""

import functools
import pathlib
import sys

import jax
import numpy as np
from matplotlib.figure import Figure

sys.path.append(str(pathlib.Path(__file__).parents[2]))  # configs

from configs import deepcluster_images, swav_images
from ssljax import core, evals, feed, tasks
from ssljax.data import datasets, pipeline
from ssljax.stage import Stage, resolve
from ssljax.train import encode_all

EPOCHS = 30
RECIPES = {
  'SwAV': (swav_images, ''),
  'DeepCluster v1': (deepcluster_images, ',version=1'),
  'DeepCluster v2': (deepcluster_images, ',version=2'),
}


def stage_of(module, options: str, scale: str) -> Stage:
  """The pretraining of a config, without the probe that watches."""
  config = module.get_config(f'{scale},dataset=digits{options}')
  config.recipe = ('pretrain',)
  config.pretrain.probe = False
  config.pretrain.epochs = 1 if scale == 'smoke' else EPOCHS
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='')
  config.data.update(dataset.resolved)
  folder = pathlib.Path()  # nothing is written
  task = tasks.make(config)
  recipe = resolve(config, folder=folder, task=task, dataset=dataset)
  (stage,) = recipe.stages
  return stage


def clusters_of(stage: Stage, state: core.TrainState) -> np.ndarray:
  """The cluster of each image: as assigned, or the nearest prototype."""
  if 'assignments' in state.method_state:
    return np.atleast_2d(state.method_state['assignments'])[0]
  predict = jax.jit(stage.method.predict)
  scores = evals.outputs(
    functools.partial(predict, state.params, state.method_state),
    pipeline.evaluation_batches(stage.source, 500),
  )
  return scores.argmax(axis=1)


def figures(clusters, labels) -> tuple[float, float, float]:
  """Purity, entropy as a share, clusters in use."""
  counts = np.zeros((clusters.max() + 1, labels.max() + 1))
  np.add.at(counts, (clusters, labels), 1)
  sizes = counts.sum(axis=1)
  purity = counts.max(axis=1).sum() / sizes.sum()

  def entropy(shares):
    shares = shares[shares > 0]
    return -(shares * np.log(shares)).sum()

  within = sum(
    size / sizes.sum() * entropy(row / size)
    for row, size in zip(counts, sizes, strict=True)
    if size
  )
  whole = entropy(counts.sum(axis=0) / sizes.sum())
  return purity, within / whole, np.exp(entropy(sizes / sizes.sum()))


def course(stage: Stage) -> np.ndarray:
  """Trains a stage; the figures of each epoch, float (epochs, 3)."""
  parts = {'method': stage.method, 'optimizer': stage.optimizer}
  create = jax.jit(functools.partial(core.create_state, **parts))
  state = create(jax.random.key(0), stage.example)
  call = feed.compile_call(functools.partial(core.train_step, **parts), stage)
  features = functools.partial(encode_all, stage)
  found, done = [], 0
  for batch, count in feed.chunks(stage, start=0):
    if done % stage.epoch == 0:
      state = core.begin_epoch(state, features, **parts)
      found.append(figures(clusters_of(stage, state), stage.source.labels))
    state, _ = call(state, batch)
    done += count
  return np.array(found)


def main(path: str, scale: str = 'laptop') -> None:
  figure = Figure(figsize=(10, 3.2), layout='constrained')
  axes = figure.subplots(1, 3)
  titles = ('purity', 'entropy of classes in a cluster', 'clusters in use')
  for axis, title in zip(axes, titles, strict=True):
    axis.set(title=title, xlabel='epoch')
  for name, recipe in RECIPES.items():
    found = course(stage_of(*recipe, scale))
    for axis, values in zip(axes, found.T, strict=True):
      axis.plot(values, label=name)
    for epoch in (0, 1, EPOCHS // 2, EPOCHS - 1):
      if epoch < len(found):
        print(name, 'epoch', epoch, *(f'{x:.3f}' for x in found[epoch]))
  axes[0].legend()
  figure.savefig(path, dpi=100)


if __name__ == '__main__':
  main(*sys.argv[1:])
