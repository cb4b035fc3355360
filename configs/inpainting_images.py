"""Inpainting as a pretext task on images, and what its features are worth.

Paper: context encoder, arXiv 1604.07379. What stood in a hole. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/inpainting_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/inpainting_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'inpainting')
