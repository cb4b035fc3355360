"""Denoising autoencoder as a pretext task on images, and what its features are worth.

Paper: Vincent et al. 2010. The image before noise was added. Data sets, recipes, commands, costs and evaluation are
those of `simclr_images.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/autoencoder_images.py
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/autoencoder_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return pretext.images(arg, 'autoencoder')
