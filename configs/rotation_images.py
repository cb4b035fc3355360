"""Rotation as a pretext task on images, and what its features are worth.

Paper: RotNet, arXiv 1803.07728. Which of four turns an image stands in. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/rotation_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/rotation_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'rotation')
