"""CycleGAN as a pretext task on text lines, then reading with a few labels.

Paper: arXiv 1703.10593. The plain print behind a noisy line, learnt without pairs. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/cyclegan_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/cyclegan_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'cyclegan')
