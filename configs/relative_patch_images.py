"""Relative patch position as a pretext task on images, and what its features are worth.

Paper: Doersch et al., arXiv 1505.05192. Which neighbour of the middle patch another one is. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/relative_patch_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/relative_patch_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'relative_patch')
