"""Super-resolution as a pretext task on text lines, then reading with a few labels.

Paper: SRGAN, arXiv 1609.04802. What a line showed before it was made small. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/super_resolution_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/super_resolution_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'super_resolution')
