"""CycleGAN as a pretext task on images, and what its features are worth.

Paper: arXiv 1703.10593. The plain print behind a noisy image, learnt without pairs. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`. Only rendered
images have a print, so `dataset=glyphs` is what it runs on.

  python -m ssljax.main --config=configs/cyclegan_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/cyclegan_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'cyclegan')
