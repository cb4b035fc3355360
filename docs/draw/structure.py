"""Measures how the code is cut: python docs/draw/structure.py

Prints a figure a line: where configs travel, who asks whether a run is about
text, what is written twice, how long the way to the mathematics of a step is,
how many public functions say their types, and how long configs are.
"""

import ast
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
# What somebody reads, in this order, who follows a step of SimCLR on text from
# the command to the mathematics. Evaluation, logs, checkpoints, the reading of
# images from the disk and the network's layers are not on the way.
WAY = (
  'ssljax/main.py',
  'configs/simclr_ocr.py',
  'configs/text.py',
  'configs/common.py',
  'ssljax/tasks/__init__.py',
  'ssljax/tasks/task.py',
  'ssljax/tasks/text.py',
  'ssljax/stage.py',
  'ssljax/examples.py',
  'ssljax/build.py',
  'ssljax/train.py',
  'ssljax/feed.py',
  'ssljax/parallel.py',
  'ssljax/core.py',
  'ssljax/methods/simclr.py',
  'ssljax/methods/_inference.py',
  'ssljax/models/networks.py',
  'ssljax/models/instances.py',
  'ssljax/losses/contrastive.py',
)
