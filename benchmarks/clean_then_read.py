"""Is text read better after it has been cleaned?

  python benchmarks/clean_then_read.py RUN STAGE WORKDIR [DATA_DIR]
  python benchmarks/clean_then_read.py --smoke    on a tiny run, in seconds

STAGE is a stage of the run folder RUN that makes pictures of images: pix2pix,
CycleGAN or a denoising autoencoder. Its network cleans all images of RUN's data
set; then readers are trained from scratch on the labelled ones, for the same
steps as the recipe's supervised stage and with the same views: one on the
images as they are, one on the cleaned ones. Prints the edit-distance accuracy
of both on the test images, by layout. Three minutes on 2 CPU cores.
"""

import csv
import pathlib
import sys
import tempfile

import _smoke
import jax
import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from configs import supervised_ocr
from ssljax import build, evals, stage, tasks, train
from ssljax.checkpoint import read
from ssljax.data import datasets, sources
from ssljax.process import keep_heap
from ssljax.records import read_json
from ssljax.reports.tables import table

BATCH = 500


def in_batches(function, images) -> np.ndarray:
  """What a function makes of all images, a few at a time."""
  starts = range(0, len(images), BATCH)
  parts = [np.asarray(function(images[x : x + BATCH])) for x in starts]
  return np.concatenate(parts)


class Cleaned:
  """A data set whose images have been through a network."""

  def __init__(self, dataset, clean):
    self.splits = [split for split in dataset.splits if split != 'unlabeled']
    self._dataset, self._clean = dataset, clean

  def files(self, split):
    return self._dataset.files(split)

  def open(self, split):
    source = self._dataset.open(split)
    columns = source.gather(range(len(source)))
    columns['image'] = in_batches(self._clean, columns['image'])
    return sources.MemorySource(columns, source.layouts)


def cleaner(run: pathlib.Path, name: str):
  """uint8 images to uint8 images, by the trained stage."""
  config = read_json(run / 'config.json')
  task = tasks.make(config)
  networks = build.networks(config)
  method = build.method(
    config[name], networks=networks, task=task, steps=1, examples=1
  )
  state = read(run / name / 'checkpoints', 'params', 'method_state').state
  predict = jax.jit(method.predict)

  def clean(images):
    made = predict(state['params'], state['method_state'], images)
    return np.rint(127.5 * (np.asarray(made) + 1)).astype(np.uint8)

  return clean


def accuracies(folder: pathlib.Path) -> dict[str, float]:
  """Edit-distance accuracy on `test`, and on each layout of it."""
  with (folder / 'predictions.csv').open() as file:
    rows = [row for row in csv.DictReader(file) if row['split'] == 'test']
  groups = {'test': rows}
  for row in rows:
    groups.setdefault(row['layout'], []).append(row)
  return {
    name: evals.edit_distance_accuracy(
      [row['prediction'] for row in group], [row['label'] for row in group]
    )
    for name, group in groups.items()
  }


def main(
  run: str,
  drawing: str,
  workdir: str,
  data_dir: str = '~/.cache/ssljax',
  config=None,
) -> None:
  """Prints the table; `config` has the readers' stage, laptop's by default."""
  keep_heap()
  run, workdir = pathlib.Path(run), pathlib.Path(workdir)
  if config is None:
    config = supervised_ocr.get_config('laptop')
    config.supervised.data.count = 500
  config.data = ConfigDict(read_json(run / 'config.json')).data
  config.recipe = ('supervised',)
  data_dir = str(pathlib.Path(data_dir).expanduser())
  dataset = datasets.open_dataset(config.data.to_dict(), data_dir=data_dir)
  found = {}
  for name, data in (
    ('as they are', dataset),
    (f'cleaned by {drawing}', Cleaned(dataset, cleaner(run, drawing))),
  ):
    folder = workdir / name.replace(' ', '_')
    task = tasks.make(config)
    recipe = stage.resolve(config, folder=folder, task=task, dataset=data)
    for each in recipe.stages:
      train.run_stage(each, task=task, dataset=data, stop=lambda: False)
    found[name] = accuracies(folder / 'supervised')
  names = list(found['as they are'])
  rows = [(name, *(each[x] for x in names)) for name, each in found.items()]
  print(table(rows, ('images', *names)))


def smoke() -> None:
  config = supervised_ocr.get_config('smoke')
  config.supervised.update(batch_size=8, steps=2)
  config.supervised.data.count = _smoke.COUNT
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    run, data = folder / 'run', folder / 'data'
    _smoke.run_that_draws(run, data)
    main(run, _smoke.DRAWING, folder / 'readers', str(data), config)


if __name__ == '__main__':
  smoke() if sys.argv[1:] == ['--smoke'] else main(*sys.argv[1:])
