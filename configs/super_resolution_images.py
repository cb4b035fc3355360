"""Super-resolution as a pretext task on images, and what its features are worth.

Paper: SRGAN, arXiv 1609.04802. What an image showed before it was made small. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/super_resolution_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/super_resolution_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'super_resolution')
