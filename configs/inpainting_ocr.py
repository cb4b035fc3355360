"""Inpainting as a pretext task on text lines, then reading with a few labels.

Paper: context encoder, arXiv 1604.07379. What stood in a hole of a line. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/inpainting_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/inpainting_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'inpainting')
