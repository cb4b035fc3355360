"""What clusters have to do with classes, from epoch to epoch.

  python benchmarks/cluster_course.py FILE.png

Trains SwAV and both DeepClusters for 30 epochs on scikit-learn's digits, which
see no label, and draws at the beginning of each epoch: the purity of the
clusters (the share of images whose class is the most frequent in their
cluster), the entropy of the classes in a cluster as a share of that of all, and
how many clusters are in use (the perplexity of their sizes). The figures are
printed too. A few minutes on 2 CPU cores.
"""

import functools
import pathlib
import sys
import tempfile

import jax
import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from configs import deepcluster_images, swav_images
from ssljax import core, feed
from ssljax.data import datasets, pipeline
from ssljax.evaluate import encode_all
from ssljax.plan import AXIS, plan

EPOCHS = 30
RECIPES = {
  'SwAV': (swav_images, 'dataset=digits'),
  'DeepCluster v1': (deepcluster_images, 'dataset=digits,version=1'),
  'DeepCluster v2': (deepcluster_images, 'dataset=digits'),
}


def clusters_of(method, state, source) -> np.ndarray:
  """The cluster of each image: as assigned, or the nearest prototype."""
  if 'assignments' in state.method_state:
    return np.atleast_2d(state.method_state['assignments'])[0]
  predict = jax.jit(method.predict)
  found = [
    np.asarray(predict(state.params, state.method_state, batch['image']))[
      batch['valid']
    ]
    for batch in pipeline.evaluation_batches(source, 500)
  ]
  return np.concatenate(found).argmax(axis=1)


def figures(clusters, labels) -> tuple[float, float, float]:
  """(purity, entropy as a share, clusters in use)."""
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


def course(module, arg: str) -> np.ndarray:
  """(epochs, 3) figures of a run."""
  config = module.get_config(arg)
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='')
  config.data.update(dataset.resolved)
  config.pretrain.probe = False
  config.pretrain.epochs, config.pretrain.steps = EPOCHS, None
  with tempfile.TemporaryDirectory() as folder:
    stage = plan(
      config, 'pretrain', workdir=pathlib.Path(folder), dataset=dataset
    )
  parts = {'method': stage.method, 'optimizer': stage.optimizer}
  state = jax.jit(functools.partial(core.create_state, **parts))(
    jax.random.key(0), stage.example
  )
  step = functools.partial(core.train_step, **parts)
  call = feed.compile_call(step, stage, config, axis_name=AXIS)
  features = functools.partial(encode_all, stage.method, stage.source)
  found, done = [], 0
  for batch, count in feed.chunks(stage, config, start=0):
    if done % stage.epoch == 0:
      state = core.begin_epoch(state, features, **parts)
      clusters = clusters_of(stage.method, state, stage.source)
      found.append(figures(clusters, stage.source.labels))
    state, _ = call(state, batch)
    done += count
  return np.array(found)


def main(path: str) -> None:
  figure = Figure(figsize=(10, 3.2), layout='constrained')
  axes = figure.subplots(1, 3)
  titles = ('purity', 'entropy of classes in a cluster', 'clusters in use')
  for axis, title in zip(axes, titles, strict=True):
    axis.set(title=title, xlabel='epoch')
  for name, recipe in RECIPES.items():
    found = course(*recipe)
    for axis, values in zip(axes, found.T, strict=True):
      axis.plot(values, label=name)
    for epoch in (0, 1, EPOCHS // 2, EPOCHS - 1):
      print(name, 'epoch', epoch, *(f'{value:.3f}' for value in found[epoch]))
  axes[0].legend()
  figure.savefig(path, dpi=100)


if __name__ == '__main__':
  main(sys.argv[1])
