"""SwAV on text lines, then reading with a few labels.

Paper: SwAV, arXiv 2006.09882.
For: clusters that are learned online, with small crops beside the large ones. A
small crop is a window of half the line; its instances are matched with those of
the whole line by the source x that they show.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/swav_ocr.py:laptop
"""

from configs import text

SWAV = {
  'name': 'swav',
  'prototypes': 128,
  # With the paper's 0.05 the codes of lines are so soft that the loss stays at
  # ln K: two views of a line share little beside whether they are inverted.
  'epsilon': 0.01,
  'queue_steps': 0,
  'queue_from': 0,
}


def stages(scale: str) -> dict:
  """Small crops, and prototypes that wait for the twentieth of the warm-up.

  The views of `article` are aligned, so that they have no windows.
  """
  made = text.stages(scale, SWAV)
  if scale != 'article':
    made['pretrain'].views.update(small=2, small_share=0.5)
    steps = made['pretrain'].steps
    made['pretrain'].optimizer.hold = {'prototypes': steps // 20}
  return made


def get_config(arg=None):
  """`--config=configs/swav_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'SwAV', stages)
