"""MoCo v2 on text lines, then reading with a few labels.

Papers: MoCo, arXiv 1911.05722; MoCo v2, arXiv 2003.04297.
For: contrasting with more instances than a batch holds. A queue keeps the
instances of the last `queue_steps` steps; padded instances have no weight.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

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


def stages(scale: str) -> dict:
  """A longer queue and a slower target where there are more steps."""
  long = scale in ('gpu', 'article')
  changes = {'queue_steps': 64, 'momentum': 0.999} if long else {}
  return text.stages(scale, MOCO | changes)


def get_config(arg=None):
  """`--config=configs/moco_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'MoCo', stages)
