"""Denoising autoencoder as a pretext task on text lines, then reading with a few labels.

Paper: Vincent et al. 2010. The plain print behind a noisy line. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/autoencoder_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/autoencoder_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'autoencoder')
