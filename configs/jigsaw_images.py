"""Jigsaw as a pretext task on images, and what its features are worth.

Paper: Noroozi and Favaro, arXiv 1603.09246. In which of 64 orders nine patches were laid. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/jigsaw_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/jigsaw_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'jigsaw')
