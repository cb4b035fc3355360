"""Rotation as a pretext task on text lines, then reading with a few labels.

Paper: RotNet, arXiv 1803.07728. Whether a line stands upright or upside down. Scales, stages, costs and options are those of
`simclr_ocr.py`; expected: `docs/pretext.md`.

  python -m ssljax.main --config=configs/rotation_ocr.py:laptop
"""

from configs import pretext


def get_config(arg=None):
  """`--config=configs/rotation_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return pretext.text(arg, 'rotation')
