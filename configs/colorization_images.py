"""Colourisation as a pretext task on images, and what its features are worth.

Paper: Zhang et al., arXiv 1603.08511. Which colours a gray image had. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/colorization_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/colorization_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'colorization')
