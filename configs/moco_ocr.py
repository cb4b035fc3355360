"""MoCo v2 on text lines, then reading with a few labels.

Papers: MoCo, arXiv 1911.05722; MoCo v2, arXiv 2003.04297. Scales, stages,
views, costs and options are those of `simclr_ocr.py`; expected:
`docs/text_methods.md`. The queue holds the instances of the last `queue_steps`
steps; padded ones are in it without weight. BatchNorm of the projector is split
into 4 groups, whatever the devices; the encoder has none.

  python -m ssljax.main --config=configs/moco_ocr.py:laptop
"""

from configs import simclr_ocr

MOCO = {
  'name': 'moco',
  'temperature': 0.1,
  'momentum': 0.99,
  'queue_steps': 8,
  'groups': 4,
  'symmetric': False,
}


def stages(scale: str) -> dict:
  """Those of `simclr_ocr`, with a longer queue at the article's scale."""
  steps = 64 if scale in ('gpu', 'article') else 8
  momentum = 0.999 if scale in ('gpu', 'article') else 0.99
  method = MOCO | {'queue_steps': steps, 'momentum': momentum}
  return simclr_ocr.stages(scale, method)


def get_config(arg=None):
  """`--config=configs/moco_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return simclr_ocr.recipe(arg, 'MoCo', stages)
