"""Jigsaw as a pretext task on text lines, then reading with a few labels.

Paper: Noroozi and Favaro, arXiv 1603.09246. In which order four windows of a line were laid. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/jigsaw_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/jigsaw_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'jigsaw')
