"""Colourisation as a pretext task on text lines, then reading with a few labels.

Paper: Zhang et al., arXiv 1603.08511. Which colours a gray line had. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/colorization_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/colorization_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'colorization')
