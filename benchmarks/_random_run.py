"""A run with random weights, which reads nonsense as fast as a trained run."""

import pathlib

import jax
import numpy as np

from configs import supervised_ocr
from ssljax import build, tasks
from ssljax.checkpoint import Checkpoints
from ssljax.records import write_json
from ssljax.text import BLANK

STAGE = 'supervised'
CHARACTERS = 6  # that its readings have, about


def make(folder: pathlib.Path, scale: str, height: int, width: int) -> None:
  """Writes the folder of a run of the network of a scale."""
  config = supervised_ocr.get_config(scale)
  config.data.height, config.data.width = height, width
  task = tasks.make(config)
  method = build.method(
    config[STAGE].to_dict(), networks=build.networks(config), task=task
  )
  noise = np.random.default_rng(0)
  images = noise.integers(0, 256, (16, height, width, 3), np.uint8)
  batch = {
    'image': images,
    'index': np.arange(16, dtype=np.int32),
    'label': np.ones((16, CHARACTERS), np.int32),
  }
  params, state = jax.tree.map(
    np.array, jax.jit(method.init)(jax.random.key(0), batch)
  )
  logits = np.asarray(jax.jit(method.predict)(params, state, images))
  # A text of random weights would have a character in nearly every frame.
  above = np.delete(logits, BLANK, axis=2).max(axis=2) - logits[..., BLANK]
  share = CHARACTERS / logits.shape[1]
  params['head']['Dense_1']['bias'][BLANK] += np.quantile(above, 1 - share)
  metadata = {'config': config.to_dict(), **task.metadata, 'stage': STAGE}
  path = folder / STAGE / 'checkpoints'
  with Checkpoints(path, metadata=metadata) as saved:
    saved.save(1, {'params': params, 'method_state': state})
  write_json(folder / 'config.json', config.to_dict())
  facts = {'steps': 0, 'examples': 0, 'labels': 0, 'flops': 0.0}
  write_json(folder / STAGE / 'stage.json', facts)
