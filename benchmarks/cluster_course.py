"""What clusters have to do with classes, from epoch to epoch.

  python benchmarks/cluster_course.py FILE.png
  python benchmarks/cluster_course.py --smoke    two epochs, in seconds

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
from ssljax import core, optim, parallel
from ssljax.augment.policies import policy_views
from ssljax.data import datasets, pipeline
from ssljax.methods.deepcluster import deepcluster
from ssljax.methods.deepcluster_v2 import deepcluster_v2
from ssljax.methods.swav import swav
from ssljax.models import heads, instances
from ssljax.models.convnet import ConvNet

EPOCHS = 30
RECIPES = {
  'SwAV': (swav, swav_images, ''),
  'DeepCluster v1': (deepcluster, deepcluster_images, ',version=1'),
  'DeepCluster v2': (deepcluster_v2, deepcluster_images, ''),
}


def options_of(settings, *left_out) -> dict:
  """The options of a config's block as arguments, without the named ones."""
  options = settings.to_dict()
  return {key: options[key] for key in options if key not in left_out}


def parts_of(factory, config, *, examples: int, steps: int) -> dict:
  """The method and the optimizer that the config describes."""
  stage = config.pretrain
  size, policy = config.data.size, stage.views.policy
  modules = [ConvNet(**options_of(config.encoder, 'name'))]
  if 'projector' in stage.method:
    modules.append(heads.Mlp(**options_of(stage.method.projector, 'name')))
  options = options_of(stage.method, 'name', 'projector', 'instances')
  if factory is not swav:
    options['examples'] = examples  # it remembers something of each
  method = factory(
    *modules,
    views=policy_views(policy, size=size, **options_of(stage.views, 'policy')),
    instances=instances.identity(),
    **options,
  )
  optimizer = optim.optimizer(
    **options_of(stage.optimizer, 'warmup_share'),
    steps=steps,
    warmup=round(stage.optimizer.warmup_share * steps),
  )
  return {'method': method, 'optimizer': optimizer}


def of_all(function, source, params, method_state) -> np.ndarray:
  """What a method's function makes of all images, in their order."""
  compiled = jax.jit(function)
  return np.concatenate(
    [
      np.asarray(compiled(params, method_state, batch['image']))[batch['valid']]
      for batch in pipeline.evaluation_batches(source, 500)
    ]
  )


def clusters_of(method, state, source) -> np.ndarray:
  """The cluster of each image: as assigned, or the nearest prototype."""
  if 'assignments' in state.method_state:
    return np.atleast_2d(state.method_state['assignments'])[0]
  scores = of_all(method.predict, source, state.params, state.method_state)
  return scores.argmax(axis=1)


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


def course(factory, config, epochs: int) -> np.ndarray:
  """(epochs, 3) figures of a run."""
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir='')
  source, size = dataset.open('train'), config.pretrain.batch_size
  epoch = len(source) // size
  steps = epochs * epoch
  parts = parts_of(factory, config, examples=len(source), steps=steps)
  batches = pipeline.batches(
    source,
    batch_size=size,
    seed=config.seed,
    steps=steps,
    transform=lambda batch: {key: batch[key] for key in ('image', 'index')},
  )
  step = parallel.compile_step(
    functools.partial(core.train_step, **parts), mapping='jit'
  )
  features = functools.partial(of_all, parts['method'].encode, source)
  create = jax.jit(functools.partial(core.create_state, **parts))
  found, state = [], None
  for number, batch in enumerate(batches):
    if state is None:
      state = create(jax.random.key(0), batch)
    if number % epoch == 0:
      state = core.begin_epoch(state, features, **parts)
      clusters = clusters_of(parts['method'], state, source)
      found.append(figures(clusters, source.labels))
    state, _ = step(state, batch)
  return np.array(found)


def main(path: str, scale: str = 'laptop', epochs: int = EPOCHS) -> None:
  figure = Figure(figsize=(10, 3.2), layout='constrained')
  axes = figure.subplots(1, 3)
  titles = ('purity', 'entropy of classes in a cluster', 'clusters in use')
  for axis, title in zip(axes, titles, strict=True):
    axis.set(title=title, xlabel='epoch')
  for name, (factory, module, arg) in RECIPES.items():
    config = module.get_config(f'{scale},dataset=digits{arg}')
    found = course(factory, config, epochs)
    for axis, values in zip(axes, found.T, strict=True):
      axis.plot(values, label=name)
    for epoch in sorted({0, 1, epochs // 2, epochs - 1}):
      print(name, 'epoch', epoch, *(f'{value:.3f}' for value in found[epoch]))
  axes[0].legend()
  figure.savefig(path, dpi=100)


def smoke() -> None:
  with tempfile.TemporaryDirectory() as folder:
    main(f'{folder}/course.png', 'smoke', epochs=2)


if __name__ == '__main__':
  smoke() if sys.argv[1:] == ['--smoke'] else main(sys.argv[1])
