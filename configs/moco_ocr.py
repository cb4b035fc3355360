"""MoCo v2 on text lines, then reading with a few labels.

Papers: MoCo, arXiv 1911.05722; MoCo v2, arXiv 2003.04297.
For: contrasting with more instances than a batch holds. A queue keeps the
instances of the last `queue_steps` steps; padded instances have no weight. Keys
see the views without inversion.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, other views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/moco_ocr.py:laptop
"""

from configs import text

MOCO = {
  'name': 'moco',
  'temperature': 0.1,
  'momentum': 0.99,
  'queue_steps': 8,
  # The projector's BatchNorm is split into as many groups, whatever the number
  # of devices. The encoder has no BatchNorm.
  'groups': 4,
  'symmetric': False,
}
# Queries are inverted and keys are not. Only a query has a gradient: if keys
# were inverted, the network would turn away from what tells their polarity, the
# target would follow it, and the loss would rise.
VIEWS = text.PRETRAIN_VIEWS | {'inversion': (0.5, 0.0)}


def stages(scale: str) -> dict:
  """A longer queue and a slower target where there are more steps."""
  long = scale in ('gpu', 'article')
  changes = {'queue_steps': 64, 'momentum': 0.999} if long else {}
  return text.stages(scale, MOCO | changes, VIEWS)


def get_config(arg=None):
  """`--config=configs/moco_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'MoCo', stages)
