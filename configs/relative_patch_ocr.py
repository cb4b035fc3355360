"""Relative patch position as a pretext task on text lines, then reading with a few labels.

Paper: Doersch et al., arXiv 1505.05192. Whether a window of a line is left or right of the middle one. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/relative_patch_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/relative_patch_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'relative_patch')
