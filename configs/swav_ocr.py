"""SwAV on text lines, then reading with a few labels.

Paper: SwAV, arXiv 2006.09882. Scales, stages, views, costs and options are
those of `simclr_ocr.py`; expected: `docs/text_methods.md`. The small crops are
windows of half the line: their instances are matched with those of the whole
line by the source x that they show. Prototypes are frozen for the first
twentieth of the steps, which is the warm-up. At `article`, whose views are
aligned and so have no windows, there are none.

  python -m ssljax.main --config=configs/swav_ocr.py:laptop
"""

from configs import simclr_ocr

SWAV = {
  'name': 'swav',
  'prototypes': 128,
  # With 0.05 the codes of lines are so soft that the loss stays at ln K: what
  # two views of a line share is little beside whether they are inverted.
  'epsilon': 0.01,
  'queue_steps': 0,
  'queue_from': 0,
}


def stages(scale: str) -> dict:
  """Those of `simclr_ocr`, with small crops and prototypes that wait."""
  made = simclr_ocr.stages(scale, SWAV)
  if scale != 'article':
    made['pretrain'].views.update(small=2, small_share=0.5)
    steps = made['pretrain'].steps
    made['pretrain'].optimizer.hold = {'prototypes': steps // 20}
  return made


def get_config(arg=None):
  """`--config=configs/swav_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return simclr_ocr.recipe(arg, 'SwAV', stages)
